"""The real folder, attacked and denied: what only a real disk can do to us."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.ports.filetree import (
    FileWrite,
    SkipReason,
)
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step
from tests.unit.workspace.local_tree_kit import (
    APPLIED,
    FAILED,
    NOBODY,
    UNEXPECTED,
    Cache,
    blob_of,
    place,
    scan,
)

# --- nothing outside the root ----------------------------------------------------------------


@pytest.mark.parametrize("step", [Step.PREPARED, Step.TAKEN_OUT])
def test_a_folder_swapped_for_a_link_leads_nowhere(
    root: Path, cache: Cache, tmp_path: Path, step: Step
) -> None:
    """The attack: a link to outside is planted between our check and our rename."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"untouched")
    (root / "d").mkdir()
    (root / "d/a").write_bytes(b"1")

    class Attacked(LocalFileTree):
        def _on_step(self, at: Step, path: str) -> None:
            if at is step and (root / "d").is_dir() and not (root / "d").is_symlink():
                (root / "d").rename(tmp_path / "moved-away")
                (root / "d").symlink_to(outside)

    with Attacked(root, cache) as tree:
        tree.apply([place(cache, "d/a", b"evil", b"1")], cache)
        (later,) = tree.apply([place(cache, "d/new", b"evil")], cache)
    assert later.outcome is FAILED
    assert {p.name: p.read_bytes() for p in outside.iterdir()} == {"a": b"untouched"}


def test_a_planted_link_is_neither_walked_nor_written_through(
    root: Path, cache: Cache, tree: LocalFileTree, tmp_path: Path
) -> None:
    """A link to a folder outside is an entry, not a way."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(b"not yours")
    (root / "d").symlink_to(outside)
    batch = scan(tree)
    assert batch.observations == ()
    assert [(s.path, s.reason) for s in batch.skipped] == [("d", SkipReason.OUTSIDE_LINK)]
    assert tree.observe(["d/secret.txt"], {}).observations == ()
    write, removal = tree.apply(
        [
            place(cache, "d/new", b"evil"),
            FileWrite("d/secret.txt", None, FileMode.REGULAR, blob_of(b"not yours")),
        ],
        cache,
    )
    assert write.outcome is FAILED
    assert removal.outcome is APPLIED, "nothing of ours stands there"
    assert [p.name for p in outside.iterdir()] == ["secret.txt"]


def test_a_planted_temporary_folder_is_not_followed(
    root: Path, cache: Cache, tree: LocalFileTree, tmp_path: Path
) -> None:
    """A link called .mesh-tmp would take our contents outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / ".mesh-tmp").symlink_to(outside)
    (result,) = tree.apply([place(cache, "a", b"1")], cache)
    assert result.outcome is FAILED
    assert list(outside.iterdir()) == []


def test_names_that_are_not_utf8_are_skipped_in_a_form_to_show(
    root: Path, tree: LocalFileTree
) -> None:
    """Files and folders; the others are looked at."""
    for name in (b"bad-\xff", b"fine"):
        fd = os.open(os.fsencode(root) + b"/" + name, os.O_CREAT | os.O_WRONLY)
        os.close(fd)
    (root / os.fsdecode(b"dir-\xfe")).mkdir()
    batch = scan(tree)
    assert [o.path for o in batch.observations] == ["fine"]
    assert {(s.path, s.reason) for s in batch.skipped} == {
        ("bad-\\xff", SkipReason.NAME_NOT_UTF8),
        ("dir-\\xfe", SkipReason.NAME_NOT_UTF8),
    }


@pytest.mark.parametrize("path", ["\udcff", "a/b\udcff"])
def test_a_name_that_is_not_utf8_is_told_while_it_is_there(
    root: Path, tree: LocalFileTree, path: str
) -> None:
    """Renamed or removed, it is nobody's business any more."""
    (root / "a").mkdir()
    (root / path).write_bytes(b"1")
    (skipped,) = tree.observe([path], {}).skipped
    assert skipped.reason is SkipReason.NAME_NOT_UTF8
    (root / path).unlink()
    batch = tree.observe([path], {})
    assert (batch.observations, batch.skipped) == ((), ())
    assert len(tree.observe(["\udcff\0"], {}).skipped) == 1


def test_sockets_and_devices_are_skipped(root: Path, tree: LocalFileTree) -> None:
    """By their kind, without opening them."""
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(root)
    try:
        listener.bind("s")
    finally:
        os.chdir(here)
    os.mkfifo(root / "p")
    reasons = {s.path: s.reason for s in scan(tree).skipped}
    listener.close()
    assert reasons == {"s": SkipReason.SPECIAL, "p": SkipReason.SPECIAL}


# --- the disk says no ------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte. Needs the right to mount: without it the test fails, not skips."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    subprocess.run(command, check=True, timeout=10, capture_output=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True, timeout=10)


def test_a_full_disk_changes_nothing(small_disk: Path, cache: Cache) -> None:
    """The write that does not fit fails and leaves nothing; a small one and a removal go on."""
    (small_disk / "a").write_bytes(b"old")
    (small_disk / "b").write_bytes(b"old")
    with LocalFileTree(small_disk, cache) as tree:
        large, small, removal = tree.apply(
            [
                place(cache, "a", os.urandom(2 * 2**20), b"old"),
                place(cache, "c", b"small"),
                FileWrite("b", None, FileMode.REGULAR, blob_of(b"old")),
            ],
            cache,
        )
    assert (large.outcome, small.outcome, removal.outcome) == (FAILED, APPLIED, APPLIED)
    assert large.problem is not None
    assert "full" in large.problem
    left = {p.name: p.read_bytes() for p in small_disk.iterdir()}
    assert left == {"a": b"old", "c": b"small"}


def test_a_read_only_disk_changes_nothing_and_can_be_read(small_disk: Path, cache: Cache) -> None:
    """Every write fails with its reason."""
    (small_disk / "a").write_bytes(b"old")
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True, timeout=10, capture_output=True)
    with LocalFileTree(small_disk, cache) as tree:
        results = tree.apply([place(cache, "a", b"new", b"old"), place(cache, "b", b"new")], cache)
        seen = [o.path for o in scan(tree).observations]
    assert [r.outcome for r in results] == [FAILED, FAILED]
    assert "read-only" in str(results[0].problem)
    assert (seen, (small_disk / "a").read_bytes()) == (["a"], b"old")


def test_another_disk_below_the_root_is_written_too(tmp_path: Path, cache: Cache) -> None:
    """A rename across a mount point is impossible: it is prepared over there."""
    root = tmp_path / "root"
    disk = root / "mounted"
    disk.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    subprocess.run(command, check=True, timeout=10, capture_output=True)
    try:
        (disk / "a").write_bytes(b"1")
        (disk / "b").write_bytes(b"a person's")
        with LocalFileTree(root, cache) as tree:
            results = tree.apply(
                [
                    place(cache, "mounted/a", b"2", b"1"),
                    place(cache, "mounted/b", b"2", b"1"),
                    place(cache, "mounted/new/c", b"3"),
                    FileWrite("mounted/a", None, FileMode.REGULAR, blob_of(b"2")),
                ],
                cache,
            )
        left = {p.name: p.read_bytes() for p in disk.rglob("*") if p.is_file()}
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)
    assert [r.outcome for r in results] == [APPLIED, UNEXPECTED, APPLIED, APPLIED]
    assert left == {"b": b"a person's", "c": b"3"}


@contextlib.contextmanager
def ordinary_user() -> Iterator[int]:
    """Be a user whom permissions bind (root may read everything), and return who."""
    if os.geteuid() != 0:
        yield os.geteuid()
        return
    os.seteuid(NOBODY)
    try:
        yield NOBODY
    finally:
        os.seteuid(0)


@pytest.fixture
def own_root() -> Iterator[Path]:
    """A folder of the ordinary user's; pytest's own can be entered by root only."""
    made = Path(tempfile.mkdtemp(prefix="mesh-tree-"))
    for path, content in (("locked/a", "a"), ("closed/b", "b"), ("c", "c"), ("d", "d")):
        (made / path).parent.mkdir(exist_ok=True)
        (made / path).write_text(content)
    if os.geteuid() == 0:
        for owned in (made, *made.rglob("*")):
            os.chown(owned, NOBODY, -1)
    yield made
    for folder in ("locked", "closed"):
        (made / folder).chmod(0o700)
    shutil.rmtree(made)


def test_a_folder_without_permission_is_told_and_nothing_below_is_gone(
    own_root: Path, cache: Cache
) -> None:
    """As an ordinary user: what cannot be looked at stays as it is known."""
    with ordinary_user(), LocalFileTree(own_root, cache) as tree:
        known = {o.path: o.stat for o in scan(tree).observations if o.stat is not None}
        assert set(known) == {"locked/a", "closed/b", "c", "d"}
        (own_root / "locked").chmod(0)
        (own_root / "c").write_text("changed")
        (own_root / "c").chmod(0)
        (own_root / "d").unlink()
        batch = scan(tree, known)
        observed = tree.observe(["locked/a", "locked"], known)
    told = [(o.path, o.stat, o.problem) for o in batch.observations]
    assert told == [("c", None, "permission denied"), ("d", None, None)]
    assert {(s.path, s.reason) for s in batch.skipped} == {
        ("c", SkipReason.UNREADABLE),
        ("locked", SkipReason.UNREADABLE),
    }
    assert observed.observations == ()
    assert {s.path for s in observed.skipped} == {"locked"}


def test_a_folder_without_permission_is_not_written(own_root: Path, cache: Cache) -> None:
    """Creating, replacing and removing fail with the reason; nothing is changed."""
    with ordinary_user(), LocalFileTree(own_root, cache) as tree:
        (own_root / "locked").chmod(0)
        (own_root / "closed").chmod(0o500)
        results = tree.apply(
            [
                place(cache, "locked/a", b"new"),
                place(cache, "closed/new", b"new"),
                place(cache, "closed/b", b"new", b"b"),
                FileWrite("closed/b", None, FileMode.REGULAR, blob_of(b"b")),
            ],
            cache,
        )
    assert [r.outcome for r in results] == [FAILED] * 4
    assert all("permission denied" in str(r.problem) for r in results)
    (own_root / "locked").chmod(0o700)
    left = {p.relative_to(own_root).as_posix() for p in own_root.rglob("*") if p.is_file()}
    assert left == {"locked/a", "closed/b", "c", "d"}
    assert (own_root / "closed/b").read_text() == "b"
