"""Disks that fail on purpose, one for each store, behind one interface."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import apsw

from aiplatform.mesh_ide.model.ids import BlobHash, EntryId
from aiplatform.mesh_ide.ports.store import Store
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.memory_disk import DiskFault, MemoryDisk
from aiplatform.mesh_ide.storage.sqlite.connections import DATABASE_NAME
from aiplatform.mesh_ide.storage.sqlite.schema import CHUNK_BITS
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore

_NUMBERS = itertools.count(1)


class Verified(Store, Protocol):
    """What both stores can beyond the port."""

    def verify_blob(self, blob: BlobHash) -> bool:
        """Return whether the blob is held whole and right."""


class Bench(Protocol):
    """A store on a disk that a test may damage."""

    store: Verified

    def fail_next(self, fault: DiskFault) -> None:
        """Let the next commit meet this fault."""

    def cut_power(self) -> Verified:
        """Lose whatever was not synced; return (and keep) a store opened on the rest."""

    def open_again(self) -> Verified:
        """Open a second store on the same disk."""

    def rot_entry(self, entry: EntryId) -> None:
        """Flip bits of a stored entry."""

    def rot_chunk(self, blob: BlobHash, index: int) -> None:
        """Flip bits of a stored chunk."""

    def close(self) -> None:
        """Let go of everything."""


class MemoryBench:
    """A memory store on its disk."""

    def __init__(
        self,
        disk: MemoryDisk | None = None,
        opener: Callable[[MemoryDisk], MemoryStore] = MemoryStore,
    ) -> None:
        """Open a store (or a broken variant of it) on a disk (or a broken variant of it)."""
        self.disk = MemoryDisk() if disk is None else disk
        self._opener = opener
        self.store: Verified = opener(self.disk)

    def fail_next(self, fault: DiskFault) -> None:
        """Let the next commit meet this fault."""
        self.disk.inject(fault)

    def cut_power(self) -> Verified:
        """Lose whatever was not synced; return (and keep) a store opened on the rest."""
        self.disk.crash()
        self.store = self._opener(self.disk)
        return self.store

    def open_again(self) -> Verified:
        """Open a second store on the same disk."""
        return self._opener(self.disk)

    def rot_entry(self, entry: EntryId) -> None:
        """Flip bits of a stored entry."""
        self.disk.rot_entry(entry)

    def rot_chunk(self, blob: BlobHash, index: int) -> None:
        """Flip bits of a stored chunk."""
        self.disk.rot_chunk(blob, index)

    def close(self) -> None:
        """Let go of everything."""
        self.store.close()


class SqliteBench:
    """A SQLite store whose file layer remembers what was synced and fails on demand."""

    def __init__(
        self,
        folder: Path,
        opener: Callable[[Path, str], SqliteStore] = lambda directory, vfs: SqliteStore.open(
            directory, vfs=vfs
        ),
    ) -> None:
        """Open a store (or a broken variant of it) in a folder."""
        self._folder = folder
        self._opener = opener
        self._opened: list[SqliteStore] = []
        self._open(folder / "state")

    def fail_next(self, fault: DiskFault) -> None:
        """Let the next commit meet this fault."""
        self.layer.fault = fault

    def cut_power(self) -> Verified:
        """Lose whatever was not synced; return (and keep) a store opened on the rest."""
        directory = self._folder / f"after-cut-{next(_NUMBERS)}"
        directory.mkdir()
        for name, content in self.layer.synced.items():
            (directory / name).write_bytes(content)
        self.layer.is_dead = True
        self._open(directory)
        return self.store

    def open_again(self) -> Verified:
        """Open a second store on the same disk."""
        return self._opener(self.directory, self.layer.name)

    def rot_entry(self, entry: EntryId) -> None:
        """Flip bits of a stored entry."""
        connection = apsw.Connection(str(self.directory / DATABASE_NAME))
        connection.execute("UPDATE entries SET encoded = zeroblob(9) WHERE id = ?", (entry,))
        connection.close()

    def rot_chunk(self, blob: BlobHash, index: int) -> None:
        """Flip bits of a stored chunk."""
        connection = apsw.Connection(str(self.directory / DATABASE_NAME))
        connection.execute(
            "UPDATE chunks SET content = zeroblob(length(content)) WHERE place ="
            " (SELECT number << ? | ? FROM blobs WHERE blob = ?)",
            (CHUNK_BITS, index, blob),
        )
        connection.close()

    def close(self) -> None:
        """Let go of everything."""
        for store in self._opened:
            store.close()

    def _open(self, directory: Path) -> None:
        self.directory = directory
        self.layer = FailingLayer(f"failing-{next(_NUMBERS)}")
        opened = self._opener(directory, self.layer.name)
        self._opened.append(opened)
        self.store: Verified = opened


STORES: Final = ("memory", "sqlite")
"""Both adapters, by the names of their tests."""


def make_bench(kind: str, folder: Path) -> Bench:
    """Return a fresh store of a kind."""
    return MemoryBench() if kind == "memory" else SqliteBench(folder)


class FailingLayer(apsw.VFS):
    """SQLite's file layer over real files, with an image of what was synced of each."""

    def __init__(self, name: str) -> None:
        """Register under a name."""
        self.name = name
        self.synced: dict[str, bytes] = {}
        self.fault: DiskFault | None = None
        self.fault_after_syncs = 0
        self.fails_next_sync = False
        self.is_dead = False
        super().__init__(name, "")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> FailingFile:
        """Open a file whose writes and syncs are seen."""
        return FailingFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        """Erase a file, and its image with it, unless the power is off."""
        self.check_alive()
        super().xDelete(filename, syncdir)
        self.synced.pop(Path(filename).name, None)

    def check_alive(self) -> None:
        """Fail once the power is off."""
        if self.is_dead:
            message = "the power is off"
            raise apsw.IOError(message)


class FailingFile(apsw.VFSFile):
    """A file that meets the layer's fault."""

    def __init__(
        self, layer: FailingLayer, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        """Open it below."""
        self._layer = layer
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._path = None if path is None else Path(path)
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write, unless the fault says otherwise."""
        layer = self._layer
        layer.check_alive()
        if layer.fault is DiskFault.FULL:
            layer.fault = None
            message = "no space left"
            raise apsw.FullError(message)
        if layer.fault is DiskFault.READ_ONLY:
            layer.fault = None
            message = "read-only file system"
            raise apsw.ReadOnlyError(message)
        if layer.fault is DiskFault.TORN and self._is_log() and offset > 0:
            # Half of one write reaches the disk, and that half is even synced.
            data = bytes(data)
            super().xWrite(data[: len(data) // 2], offset)
            self._remember()
            layer.is_dead = True
            layer.check_alive()
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        """Cut, unless the power is off."""
        self._layer.check_alive()
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync and remember, unless the fault says otherwise."""
        layer = self._layer
        layer.check_alive()
        if layer.fault is DiskFault.LOST and self._is_log():
            if layer.fault_after_syncs == 0:
                layer.is_dead = True
                layer.check_alive()
            layer.fault_after_syncs -= 1
        if layer.fails_next_sync:
            layer.fails_next_sync = False
            message = "the disk failed in a sync"
            raise apsw.IOError(message)
        super().xSync(flags)
        self._remember()

    def _is_log(self) -> bool:
        return self._path is not None and self._path.name.endswith("-wal")

    def _remember(self) -> None:
        if self._path is not None:
            self._layer.synced[self._path.name] = self._path.read_bytes()
