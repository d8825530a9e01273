"""The two file trees under one interface, so that one test asks both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.errors import CorruptContentError
from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    FileTree,
    FileWrite,
    Observation,
    ScanBatch,
    Skipped,
    SkipReason,
    WriteOutcome,
    WriteResult,
)
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.memory_disk import DiskFault, MemoryDisk
from aiplatform.mesh_ide.workspace.adapters.memory_tree import (
    MemoryFileTree,
)
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step

REGULAR, EXECUTABLE, SYMLINK = FileMode.REGULAR, FileMode.EXECUTABLE, FileMode.SYMLINK
APPLIED, UNEXPECTED, FAILED = WriteOutcome.APPLIED, WriteOutcome.UNEXPECTED, WriteOutcome.FAILED


def blob_of(content: bytes) -> BlobHash:
    """Return the content's hash."""
    return BlobHash(blake3(content).digest())


class Cache:
    """Contents in memory; ``corrupt`` ones fail at their end as the port says."""

    def __init__(self) -> None:
        self.held: dict[BlobHash, bytes] = {}
        self.kept: list[BlobHash] = []
        self.corrupt: set[BlobHash] = set()

    def add(self, content: bytes) -> BlobHash:
        blob = blob_of(content)
        self.held[blob] = content
        return blob

    def keep(self, blob: BlobHash, content: bytes) -> None:
        assert blob == blob_of(content)
        self.held[blob] = content
        self.kept.append(blob)

    def forget(self, blob: BlobHash) -> None:
        self.held.pop(blob, None)

    def at_hand(self, blob: BlobHash) -> bytes | None:
        return self.held.get(blob)

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        return self.held.get(blob)

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        return self._chunks(blob) if blob in self.held else None

    def _chunks(self, blob: BlobHash) -> Iterator[bytes]:
        content = self.held[blob]
        for start in range(0, len(content), 1024 * 1024):
            yield content[start : start + 1024 * 1024]
        if blob in self.corrupt:
            raise CorruptContentError("these bytes are not the blob")


class Rig:
    """A tree, its contents, and another program that works in the same folder."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.at_step: dict[Step, Callable[[], object]] = {}

    @property
    def tree(self) -> FileTree:
        raise NotImplementedError

    def write(self, path: str, content: bytes, mode: FileMode = REGULAR) -> None:
        raise NotImplementedError

    def write_by_rename(self, path: str, content: bytes) -> None:
        raise NotImplementedError

    def remove(self, path: str) -> None:
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        raise NotImplementedError

    def make_special(self, path: str) -> None:
        raise NotImplementedError

    def lose_root(self) -> None:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        raise NotImplementedError

    def versions(self) -> set[bytes]:
        """Return every content that stands in the folder or was put aside there."""
        raise NotImplementedError

    def on_step(self, step: Step) -> None:
        """Let the other program act once."""
        action = self.at_step.pop(step, None)
        if action is not None:
            action()

    # --- what tests say ----------------------------------------------------------------------

    def place(  # noqa: PLR0913 - a write has as many facts
        self,
        path: str,
        content: bytes | None,
        expected: bytes | None = None,
        mode: FileMode = REGULAR,
        expected_mode: FileMode | None = None,
        moved_from: str | None = None,
    ) -> FileWrite:
        """Return a write whose content is at hand."""
        return FileWrite(
            path,
            None if content is None else self.cache.add(content),
            mode,
            None if expected is None else blob_of(expected),
            expected_mode,
            moved_from,
        )

    def apply(self, *writes: FileWrite) -> tuple[WriteResult, ...]:
        return self.tree.apply(writes, self.cache)

    def apply_one(self, write: FileWrite) -> WriteResult:
        (result,) = self.apply(write)
        return result

    def scan(self, known: dict[str, FileStat] | None = None) -> ScanBatch:
        return joined(list(self.tree.scan(known or {})))

    def known(self) -> dict[str, FileStat]:
        return {o.path: o.stat for o in self.scan().observations if o.stat is not None}


class LocalRig(Rig):
    """On a real disk."""

    def __init__(self, root: Path, *, can_exchange: bool = True) -> None:
        super().__init__()
        self.root = root
        self._tree = HookedLocalTree(self, root, can_exchange=can_exchange)

    @property
    def tree(self) -> LocalFileTree:
        return self._tree

    def write(self, path: str, content: bytes, mode: FileMode = REGULAR) -> None:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        if mode is SYMLINK:
            full.symlink_to(content.decode())
            return
        full.write_bytes(content)
        full.chmod(0o755 if mode is EXECUTABLE else 0o644)

    def write_by_rename(self, path: str, content: bytes) -> None:
        beside = self.root / (path + ".new~")
        beside.write_bytes(content)
        beside.replace(self.root / path)

    def remove(self, path: str) -> None:
        full = self.root / path
        full.unlink()
        for above in full.parents:
            if above == self.root or any(above.iterdir()):
                break
            above.rmdir()

    def rename(self, old: str, new: str) -> None:
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        (self.root / old).rename(self.root / new)

    def make_special(self, path: str) -> None:
        os.mkfifo(self.root / path)

    def lose_root(self) -> None:
        self.root.rename(self.root.with_name("elsewhere"))
        self.root.mkdir()

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): _content(path)
            for path in sorted(self.root.rglob("*"))
            if ".mesh-tmp" not in path.parts and (path.is_symlink() or path.is_file())
        }

    def versions(self) -> set[bytes]:
        aside = {_content(p) for p in (self.root / ".mesh-tmp").glob("rescued-*")}
        return set(self.files().values()) | aside


class HookedLocalTree(LocalFileTree):
    """Lets the rig's other program act between two system calls."""

    def __init__(self, rig: Rig, root: Path, *, can_exchange: bool) -> None:
        super().__init__(root, rig.cache, can_exchange=can_exchange)
        self._rig = rig

    def _on_step(self, step: Step, path: str) -> None:
        self._rig.on_step(step)


class HookedMemoryTree(MemoryFileTree):
    """As HookedLocalTree."""

    def __init__(self, rig: Rig, disk: MemoryDisk) -> None:
        super().__init__(disk, rig.cache)
        self._rig = rig

    def _on_step(self, step: Step, path: str) -> None:
        self._rig.on_step(step)


class MemoryRig(Rig):
    """On a simulated disk."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self._tree = HookedMemoryTree(self, self.disk)

    @property
    def tree(self) -> MemoryFileTree:
        return self._tree

    def write(self, path: str, content: bytes, mode: FileMode = REGULAR) -> None:
        self.disk.write(path, content, mode)

    def write_by_rename(self, path: str, content: bytes) -> None:
        self.disk.write_by_rename(path, content)

    def remove(self, path: str) -> None:
        self.disk.remove(path)

    def rename(self, old: str, new: str) -> None:
        self.disk.rename(old, new)

    def make_special(self, path: str) -> None:
        self.disk.write_special(path)

    def lose_root(self) -> None:
        self.disk.faults.add(DiskFault.ROOT_MISSING)

    def files(self) -> dict[str, bytes]:
        return self.disk.files()

    def versions(self) -> set[bytes]:
        return set(self.files().values()) | {content for _, content in self.disk.kept}


def _content(path: Path) -> bytes:
    return str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()


def joined(batches: list[ScanBatch]) -> ScanBatch:
    """Return all batches of a scan as one."""
    return ScanBatch(
        tuple(o for b in batches for o in b.observations),
        tuple(u for b in batches for u in b.unchanged),
        tuple(s for b in batches for s in b.skipped),
    )


def paths(observations: tuple[Observation, ...]) -> set[str]:
    """Return the observed paths."""
    return {o.path for o in observations}


def gone(batch: ScanBatch) -> set[str]:
    """Return the paths at which nothing stands any more."""
    return {o.path for o in batch.observations if o.stat is None and o.problem is None}


def reasons(skipped: tuple[Skipped, ...]) -> dict[str, SkipReason]:
    """Return why each path was skipped."""
    return {s.path: s.reason for s in skipped}
