"""One machine's disk: the node's store and its working folder, which outlive the node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.ports.errors import StorageFullError
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES, Write
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.memory_disk import MemoryDisk as StoreDisk
from aiplatform.mesh_ide.workspace.adapters.memory_disk import DiskFault as FolderFault
from aiplatform.mesh_ide.workspace.adapters.memory_disk import MemoryDisk as FolderDisk


class SimulatedDisk:
    """The two halves of a disk, and what may befall both."""

    def __init__(self) -> None:
        self.store = StoreDisk()
        self.folder = FolderDisk()
        self.is_full = False

    def open_store(self) -> MemoryStore:
        """Open the store, as a starting node does."""
        return FullableStore(self)

    def fill(self) -> None:
        """Let nothing more fit on the disk."""
        self.is_full = True
        self.folder.faults.add(FolderFault.FULL)

    def make_room(self) -> None:
        """Let things fit again."""
        self.is_full = False
        self.folder.faults.discard(FolderFault.FULL)

    def crash(self, random: Random) -> None:
        """Cut the power."""
        kept = random.randrange(self.store.unsynced_count + 1)
        self.store.crash(kept_commits=kept)

    def read(self, path: str) -> Iterator[bytes] | None:
        """Open a file of the folder, as ``storage.contents.FileReader`` does."""
        content = self.folder.read(path)
        if content is None:
            return None
        pieces = range(0, max(1, len(content)), CHUNK_BYTES)
        return iter([content[start : start + CHUNK_BYTES] for start in pieces])


class FullableStore(MemoryStore):
    """A memory store on a disk that may be full for a while."""

    def __init__(self, disk: SimulatedDisk) -> None:
        super().__init__(disk.store)
        self._machine = disk

    def commit(self, writes: Sequence[Write]) -> tuple[EntryRef, ...]:
        """See ``MemoryStore.commit``."""
        if self._machine.is_full:
            raise StorageFullError("The simulated disk is full; nothing was stored.")
        return super().commit(writes)
