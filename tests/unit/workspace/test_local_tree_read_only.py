"""The real folder on a disk that becomes read-only, between two calls or in the middle of one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.ports.filetree import Contents, FileWrite, WriteResult
from aiplatform.mesh_ide.workspace.adapters import applying
from aiplatform.mesh_ide.workspace.adapters.applying import Batch
from aiplatform.mesh_ide.workspace.adapters.folder_table import FolderTable
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step
from aiplatform.mesh_ide.workspace.adapters.reading import FolderReader
from aiplatform.mesh_ide.workspace.adapters.temporary import TempFolder
from tests.unit.workspace.local_tree_kit import APPLIED, FAILED, Cache, blob_of, place


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, mounted for writing; mounting needs root."""
    at = tmp_path / "disk"
    at.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(at)], check=True)
    yield at
    subprocess.run(["umount", "-l", str(at)], check=True)


def remount(disk: Path, word: str) -> None:
    """Make a disk ``ro`` or ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{word}", str(disk)], check=True)


def moved(path: str, new: str, content: bytes) -> FileWrite:
    """Return a rename."""
    return FileWrite(new, blob_of(content), FileMode.REGULAR, None, moved_from=path)


def removed(path: str, content: bytes) -> FileWrite:
    """Return a removal."""
    return FileWrite(path, None, FileMode.REGULAR, blob_of(content))


def changes(disk: Path, cache: Cache) -> list[FileWrite]:
    """Prepare one file for each kind of change, and return the changes."""
    (disk / "d").mkdir()
    for name in ("replaced", "removed", "d/removed", "moved"):
        (disk / name).write_bytes(name.encode())
    return [
        place(cache, "new/a", b"new"),
        place(cache, "replaced", b"by a peer", b"replaced"),
        removed("removed", b"removed"),
        removed("d/removed", b"d/removed"),
        moved("moved", "e/moved", b"moved"),
    ]


def contents(disk: Path) -> dict[str, bytes]:
    """Return every file outside of the temporary folder."""
    return {
        path.relative_to(disk).as_posix(): path.read_bytes()
        for path in disk.rglob("*")
        if path.is_file() and ".mesh-tmp" not in path.parts
    }


DONE = {"new/a": b"new", "replaced": b"by a peer", "e/moved": b"moved"}


@pytest.mark.parametrize("has_temporary", [True, False])
@pytest.mark.parametrize("kind", range(6))
def test_every_refused_change_is_a_result_and_succeeds_later(
    disk: Path, cache: Cache, kind: int, has_temporary: bool
) -> None:
    """Each alone, and all together: an exception would end the node."""
    writes = changes(disk, cache)
    chosen = writes if kind == len(writes) else [writes[kind]]
    with LocalFileTree(disk, cache) as tree:
        if has_temporary:
            tree.apply([place(cache, "before", b"before")], cache)
            (disk / "before").unlink()
        remount(disk, "ro")
        before = contents(disk)
        refused = tree.apply(chosen, cache)
        assert [result.outcome for result in refused] == [FAILED] * len(chosen)
        assert all("read-only" in str(result.problem) for result in refused)
        assert contents(disk) == before
        remount(disk, "rw")
        assert {result.outcome for result in tree.apply(writes, cache)} == {APPLIED}
    assert contents(disk) == DONE
    assert not (disk / ".mesh-tmp").exists()
    assert not (disk / "d").exists()


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("step", [Step.PREPARED, Step.TAKEN_OUT])
@pytest.mark.parametrize("kind", range(5))
def test_a_disk_that_becomes_read_only_in_the_middle_ends_nothing(
    disk: Path, cache: Cache, kind: int, step: Step, can_exchange: bool
) -> None:
    """What took place did, the rest is refused; the next start leaves no trace of it."""
    write = changes(disk, cache)[kind]
    wanted = contents(disk)
    wanted.pop(write.moved_from or write.path, None)
    if write.blob is not None:
        wanted[write.path] = DONE[write.path]
    asked: list[Step] = []

    class Turning(LocalFileTree):
        def _on_step(self, at: Step, path: str) -> None:
            asked.append(at)
            if at is step:
                remount(disk, "ro")

    with Turning(disk, cache, can_exchange=can_exchange) as turning:
        (result,) = turning.apply([write], cache)
        assert asked
        assert result.outcome in {APPLIED, FAILED}
    remount(disk, "rw")
    with LocalFileTree(disk, cache) as tree:
        tree.recover()
        if result.outcome is FAILED:
            (again,) = tree.apply([write], cache)
            found = None if again.found is None else again.found.blob
            assert again.outcome is APPLIED or found == write.blob, "done now, or it was already"
        assert contents(disk) == wanted
        assert tree.rescued() == ()
    assert not (disk / ".mesh-tmp").exists()


class Unmindful(Batch):
    """Planted: forgets that somebody's bytes are still in the temporary folder."""

    def _clear(self, write: FileWrite, temp: str) -> None:
        super()._clear(write, temp)
        self._is_unsettled = False


def caught_in_between(disk: Path, cache: Cache, kind: type[Batch]) -> dict[str, bytes]:
    """Return what stands after a save met a disk that was read-only for a moment."""

    class Unlucky(LocalFileTree):
        def _on_step(self, at: Step, path: str) -> None:
            if path == "a" and at is Step.PREPARED:
                (disk / "a").write_bytes(b"a save")
            if path == "a" and at is Step.TAKEN_OUT:
                remount(disk, "ro")
            if path == "b" and at is Step.PREPARED:
                remount(disk, "rw")

        def _batch(self, temp: TempFolder, contents: Contents) -> Batch:
            def observe(path: str) -> WriteResult:
                return self._observe_for_apply(path, contents)

            return kind(
                self._fd, temp, contents, self._freshness, observe, self._on_step,
                durable=True, can_exchange=True,
            )  # fmt: skip

    (disk / "a").write_bytes(b"base")
    (disk / "b").write_bytes(b"b")
    writes = [place(cache, "a", b"by a peer", b"base"), removed("b", b"b")]
    with Unlucky(disk, cache) as unlucky:
        assert [result.outcome for result in unlucky.apply(writes, cache)] == [FAILED, APPLIED]
    with LocalFileTree(disk, cache) as tree:
        tree.recover()
    return contents(disk)


def test_a_save_that_could_not_be_put_back_comes_back_with_the_next_start(
    disk: Path, cache: Cache
) -> None:
    """The plan that names whose bytes these are stays until they are settled."""
    assert caught_in_between(disk, cache, Batch) == {"a": b"a save"}


def test_planted_without_its_plan_that_save_is_lost(disk: Path, cache: Cache) -> None:
    """The next start takes it for something of ours."""
    assert caught_in_between(disk, cache, Unmindful) == {"a": b"by a peer"}


def test_what_a_crash_left_on_a_read_only_disk_is_named_before_anything_is_served(
    disk: Path, cache: Cache
) -> None:
    """Not a traceback; where nothing was left, a read-only folder is served."""
    with LocalFileTree(disk, cache) as tree:
        tree.apply([place(cache, "a", b"a")], cache)
        remount(disk, "ro")
        assert tree.recover() == ()
        remount(disk, "rw")
        (disk / ".mesh-tmp/w77").write_bytes(b"prepared")
        remount(disk, "ro")
        with pytest.raises(UnavailableError, match=r"\.mesh-tmp .*read-only.* `mesh up` again"):
            tree.recover()
        remount(disk, "rw")
        assert tree.recover() == ()
        assert not (disk / ".mesh-tmp/w77").exists()


def test_a_refusal_that_is_repeated_keeps_nothing_open(disk: Path, cache: Cache) -> None:
    """It is tried again and again, for as long as the disk stays as it is."""
    with LocalFileTree(disk, cache) as tree:
        (disk / ".mesh-tmp").mkdir()
        remount(disk, "ro")
        write = place(cache, "a", b"a")

        def is_open() -> int:
            assert tree.apply([write], cache)[0].outcome is FAILED
            return len(list(Path("/proc/self/fd").iterdir()))

        assert is_open() == is_open() == is_open()


def test_a_folder_that_cannot_be_reached_to_be_tidied_is_left(tmp_path: Path) -> None:
    """The writes took place; an empty folder more is no reason to fail."""
    root_fd = os.open(tmp_path, os.O_RDONLY)
    folders = FolderTable(root_fd)
    folders.prune_later(["a", "b"])
    os.close(root_fd)
    folders.close()


def test_a_disk_that_fails_at_the_very_end_is_told(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As something that can be tried again, never as a bare error of the system."""

    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error", str(fd))

    with LocalFileTree(tmp_path, cache) as tree:
        monkeypatch.setattr(applying, "sync_filesystem", refuse)
        # A removal prepares nothing that has to be synced first: what fails is the last sync.
        (result,) = tree.apply([place(cache, "a", b"a")], cache)
        assert result.outcome is FAILED
        calls: list[int] = []

        def refuse_later(fd: int) -> None:
            calls.append(fd)
            if len(calls) > 1:
                refuse(fd)

        monkeypatch.setattr(applying, "sync_filesystem", refuse_later)
        with pytest.raises(UnavailableError, match="looked at again"):
            tree.apply([place(cache, "a", b"a")], cache)
        monkeypatch.undo()
        assert tree.apply([place(cache, "a", b"a")], cache)[0].outcome is APPLIED


def reads(path: str) -> Callable[[], list[bytes]]:
    """Return what reads a file of this process."""
    return lambda: list(FolderReader(Path("/proc/self"))(path) or ())


def test_a_file_that_the_disk_cannot_read_is_as_good_as_none() -> None:
    """The hash tells; the memory of a process at address 0 reads as a broken disk does."""
    assert reads("mem")() == []
    assert reads("comm")() != []
