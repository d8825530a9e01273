"""The real folder, read and written: large files, clocks, permissions and crashes."""

from __future__ import annotations

import errno
import os
import signal
import stat
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.errors import RootMissingError
from aiplatform.mesh_ide.ports.filetree import (
    FileWrite,
    Observation,
)
from aiplatform.mesh_ide.workspace.adapters.local_folder import Freshness
from aiplatform.mesh_ide.workspace.adapters.local_tree import TICK_NS, LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.opened import ALWAYS_LOOK
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step
from aiplatform.mesh_ide.workspace.adapters.temporary import RESCUED_MAX, TempFolder
from tests.unit.workspace.local_tree_kit import (
    APPLIED,
    FAILED,
    Cache,
    blob_of,
    place,
    scan,
)

# --- reading ---------------------------------------------------------------------------------


def test_a_large_file_is_read_and_written_in_pieces(
    root: Path, cache: Cache, tree: LocalFileTree
) -> None:
    """64 MB through a buffer of one; nothing of it is kept."""
    block = os.urandom(2**20)
    hasher = blake3()
    with (root / "big").open("wb") as file:
        for _ in range(64):
            file.write(block)
            hasher.update(block)
    expected = BlobHash(hasher.digest())

    class Streamed(Cache):
        def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
            return (block for _ in range(64))

    tracemalloc.start()
    batch = scan(tree)
    (written,) = tree.apply([FileWrite("copy", expected, FileMode.REGULAR, None)], Streamed())
    (seen,) = tree.observe(["copy"], {}).observations
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [(o.path, o.blob, o.is_text) for o in batch.observations] == [("big", expected, False)]
    assert (written.outcome, seen.blob) == (APPLIED, expected)
    assert peak_bytes < 4 * 2**20
    assert cache == {}


def test_a_file_that_keeps_changing_is_left_for_the_next_look(root: Path, cache: Cache) -> None:
    """It is told as being written, and its stat makes the next look read it."""
    path = root / "log"
    path.write_bytes(b"x" * (3 * 2**20))

    reads = 0
    original = os.readv

    def growing(fd: int, buffers: list[bytearray]) -> int:
        nonlocal reads
        reads += 1
        with path.open("ab") as file:
            file.write(b"more")
        return original(fd, buffers)

    with LocalFileTree(root, cache) as tree, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "readv", growing)  # the other program, in step with our reads
        (seen,) = tree.observe(["log"], {}).observations
    assert reads >= 3
    assert (seen.blob, seen.problem) == (None, "still being written")
    assert seen.stat is not None
    assert seen.stat.ctime_ns == ALWAYS_LOOK


def test_a_change_within_one_tick_of_a_coarse_clock_is_found(root: Path, cache: Cache) -> None:
    """Racily clean: same size, same timestamps, other content."""
    path = root / "a"
    with LocalFileTree(root, cache) as tree:
        tree._freshness.tick_ns = TICK_NS  # as on a filesystem with coarse timestamps
        path.write_bytes(b"one")
        (first,) = tree.observe(["a"], {}).observations
        assert first.stat is not None
        stamp = path.stat().st_mtime_ns
        path.write_bytes(b"two")
        os.utime(path, ns=(stamp, stamp))
        (second,) = tree.observe(["a"], {"a": first.stat}).observations
    assert second.blob == blob_of(b"two")


def test_an_old_file_is_not_marked_on_a_coarse_clock() -> None:
    """Only what changed within the tick is read again (a long tick: this machine may be slow)."""
    freshness = Freshness(60 * 1_000_000_000)
    now = Path("/proc/self/stat").stat()
    old = freshness.record(Path("/usr/bin").stat(), FileMode.REGULAR)
    young = freshness.record(now, FileMode.REGULAR)
    assert old.ctime_ns != ALWAYS_LOOK
    assert young.ctime_ns == ALWAYS_LOOK


# --- writing ---------------------------------------------------------------------------------


def test_permissions_and_umask_are_respected(root: Path, cache: Cache, tree: LocalFileTree) -> None:
    """A private file stays private; a new one is as the umask says; executable follows read."""
    (root / "private").write_bytes(b"1")
    (root / "private").chmod(0o600)
    umask = os.umask(0o027)
    try:
        results = tree.apply(
            [
                place(cache, "private", b"2", b"1"),
                place(cache, "new", b"3"),
                FileWrite("run", cache.add(b"4"), FileMode.EXECUTABLE, None),
            ],
            cache,
        )
        tree.apply([FileWrite("private", blob_of(b"2"), FileMode.EXECUTABLE, blob_of(b"2"))], cache)
    finally:
        os.umask(umask)
    assert [r.outcome for r in results] == [APPLIED] * 3
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in root.iterdir() if p.is_file()}
    assert modes == {"private": 0o700, "new": 0o640, "run": 0o750}


def test_a_file_that_a_program_holds_open_for_writing_is_not_replaced(
    root: Path, cache: Cache, tree: LocalFileTree
) -> None:
    """What it writes next would go to a removed file."""
    (root / "log").write_bytes(b"1")
    with (root / "log").open("ab") as log:
        (replaced,) = tree.apply([place(cache, "log", b"by a peer", b"1")], cache)
        (removed,) = tree.apply([FileWrite("log", None, FileMode.REGULAR, blob_of(b"1"))], cache)
        log.write(b" more")
    assert (replaced.outcome, removed.outcome) == (FAILED, FAILED)
    assert "open for writing" in str(replaced.problem)
    assert (root / "log").read_bytes() == b"1 more"
    (result,) = tree.apply([place(cache, "log", b"by a peer", b"1 more")], cache)
    assert result.outcome is APPLIED


def test_a_reader_does_not_hinder(root: Path, cache: Cache, tree: LocalFileTree) -> None:
    """It goes on reading what it opened."""
    (root / "a").write_bytes(b"1")
    with (root / "a").open("rb") as reader:
        (result,) = tree.apply([place(cache, "a", b"2", b"1")], cache)
        assert (result.outcome, reader.read()) == (APPLIED, b"1")


def test_asking_for_writers_survives_a_broken_lease() -> None:
    """The signal of a broken lease is one that is ignored."""
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    os.kill(os.getpid(), signal.SIGURG)  # ends no process by default (signal(7))


def test_closing_leaves_nothing_of_ours(root: Path, cache: Cache) -> None:
    """The temporary folder goes when it is empty, and git never offers what is in it."""
    with LocalFileTree(root, cache) as tree:
        tree.apply([place(cache, "a", b"1")], cache)
        assert (root / ".mesh-tmp/.gitignore").read_bytes() == b"*\n"
    assert [p.name for p in root.iterdir()] == ["a"]


def test_a_folder_that_is_not_there_cannot_be_opened(tmp_path: Path, cache: Cache) -> None:
    """The message names it and says what to do."""
    with pytest.raises(RootMissingError, match=r"no-such.*mesh down"):
        LocalFileTree(tmp_path / "no-such", cache)


# --- after a crash ---------------------------------------------------------------------------


class CrashError(BaseException):
    """The process ended here."""


class Crashing(LocalFileTree):
    """Ends at a step, leaving the disk as it is."""

    crash_at = Step.TAKEN_OUT

    def _on_step(self, step: Step, path: str) -> None:
        if step is self.crash_at:
            raise CrashError


def crash(root: Path, write: FileWrite, cache: Cache, **options: bool) -> None:
    """End the process in the middle of a write."""
    tree = Crashing(root, cache, **options)
    with pytest.raises(CrashError):
        tree.apply([write], cache)
    os.close(tree._fd)


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("is_removal", [True, False])
def test_somebodys_bytes_come_back_after_a_crash(
    root: Path, cache: Cache, can_exchange: bool, is_removal: bool
) -> None:
    """They had just come out when the process ended."""
    (root / "d").mkdir()
    (root / "d/a").write_bytes(b"a save")
    write = place(cache, "d/a", b"by a peer", b"base")
    if is_removal:
        write = FileWrite("d/a", None, FileMode.REGULAR, blob_of(b"base"))
    crash(root, write, cache, can_exchange=can_exchange)
    fresh = Cache()
    with LocalFileTree(root, fresh) as tree:
        restored = tree.recover()
        assert [(o.path, o.blob) for o in restored] == [("d/a", blob_of(b"a save"))]
        assert fresh[blob_of(b"a save")] == b"a save"
    assert (root / "d/a").read_bytes() == b"a save"
    assert [p.name for p in root.iterdir()] == ["d"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_replacement_cut_off_by_a_crash_is_there_or_not_at_all(
    root: Path, cache: Cache, can_exchange: bool
) -> None:
    """Never nothing: the old content or the new one stands at the path."""
    (root / "a").write_bytes(b"base")
    crash(root, place(cache, "a", b"new", b"base"), cache, can_exchange=can_exchange)
    with LocalFileTree(root, cache) as tree:
        tree.recover()
    assert (root / "a").read_bytes() == (b"new" if can_exchange else b"base")
    assert [p.name for p in root.iterdir()] == ["a"]


def test_what_was_replaced_goes_after_a_crash_also_if_its_path_changed_since(
    root: Path, cache: Cache
) -> None:
    """A batch removes it at its end; cut off before, the next start does, and undoes nothing."""
    (root / "a").write_bytes(b"base")
    (root / "b").write_bytes(b"a save")

    class CrashingAtB(LocalFileTree):
        def _on_step(self, step: Step, path: str) -> None:
            if step is Step.TAKEN_OUT and path == "b":
                raise CrashError

    tree = CrashingAtB(root, cache)
    with pytest.raises(CrashError):
        tree.apply([place(cache, name, b"by a peer", b"base") for name in "ab"], cache)
    os.close(tree._fd)
    left = {path.read_bytes() for path in (root / ".mesh-tmp").glob("w*")}
    assert left == {b"base", b"a save"}, "the removal of what was replaced is not put off"
    (root / "a").write_bytes(b"edited after the crash")
    with LocalFileTree(root, cache) as again:
        assert [seen.path for seen in again.recover()] == ["b"]
    assert (root / "a").read_bytes() == b"edited after the crash"
    assert (root / "b").read_bytes() == b"a save"
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]


def test_a_batch_leaves_nothing_of_what_it_replaced(root: Path, cache: Cache) -> None:
    """Neither the old contents nor its plan are in the temporary folder when it is done."""
    for name in "ab":
        (root / name).write_bytes(b"base")
    with LocalFileTree(root, cache) as tree:
        tree.apply([place(cache, name, b"by a peer", b"base") for name in "ab"], cache)
        assert [path.name for path in (root / ".mesh-tmp").iterdir()] == [".gitignore"]


def test_bytes_that_lost_their_path_to_newer_ones_stay_on_the_disk(
    root: Path, cache: Cache
) -> None:
    """After the crash somebody wrote at the path: that stands, the older save is put aside."""
    (root / "a").write_bytes(b"first save")
    crash(root, place(cache, "a", b"by a peer", b"base"), cache)
    (root / "a").write_bytes(b"second save")
    with LocalFileTree(root, cache) as tree:
        assert tree.recover() == ()
        (aside,) = tree.rescued()
        assert (root / aside).read_bytes() == b"first save"
        assert aside.endswith("-a")
    assert (root / "a").read_bytes() == b"second save"
    assert (root / aside).exists(), "closing does not remove it"


def test_what_is_put_aside_is_bounded(root: Path, cache: Cache, tree: LocalFileTree) -> None:
    """The newest stay."""
    tree.apply([place(cache, "a", b"1")], cache)
    temp = TempFolder.open(tree._fd, create=True)
    assert temp is not None
    for number in range(RESCUED_MAX + 3):
        temp.write("left", [b"%d" % number], 0o600)
        temp.rescue(temp.fd, "left", "d/a")
    temp.close()
    left = {(root / name).read_bytes() for name in tree.rescued()}
    assert left == {b"%d" % number for number in range(3, RESCUED_MAX + 3)}


def test_what_was_only_prepared_is_removed(root: Path, cache: Cache) -> None:
    """It is ours, and can be had again."""
    crashing = place(cache, "new", b"x" * 100)
    Crashing.crash_at = Step.PREPARED
    try:
        crash(root, crashing, cache)
    finally:
        Crashing.crash_at = Step.TAKEN_OUT
    assert len(list((root / ".mesh-tmp").iterdir())) == 2
    with LocalFileTree(root, cache) as tree:
        assert tree.recover() == ()
    assert list(root.iterdir()) == []


def test_errors_in_between_throw_nothing_of_a_person_away(root: Path, cache: Cache) -> None:
    """A call that fails after the exchange leaves the bytes, if not at the path, then aside."""
    (root / "a").write_bytes(b"a save")

    class Failing(LocalFileTree):
        def _on_step(self, step: Step, path: str) -> None:
            if step is Step.TAKEN_OUT:
                raise OSError(errno.EIO, "Input/output error")

    with Failing(root, cache) as tree:
        (result,) = tree.apply([place(cache, "a", b"by a peer", b"base")], cache)
        aside = [(root / name).read_bytes() for name in tree.rescued()]
    assert result.outcome is FAILED
    assert b"a save" in [(root / "a").read_bytes(), *aside]


def test_a_scan_of_a_moved_root_tells_nothing(root: Path, cache: Cache) -> None:
    """The folder is renamed while it is being walked: what was not seen is not gone."""
    for number in range(600):
        (root / f"f{number:03}").write_bytes(b"1")
    with LocalFileTree(root, cache) as tree:
        known = {o.path: o.stat for o in scan(tree).observations if o.stat is not None}
        batches = tree.scan(known)
        next(batches)
        root.rename(root.with_name("elsewhere"))
        told: list[Observation] = []
        with pytest.raises(RootMissingError):
            told.extend(o for batch in batches for o in batch.observations)
    assert told == []
