"""The simulator's disk: tables, a rollback journal, and faults on demand."""

from __future__ import annotations

from collections import deque
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from msgspec import structs

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiplatform.mesh_ide.model.entries import BatchHeader, KnownEntry
    from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId, SessionId
    from aiplatform.mesh_ide.ports.store import RecordKind

K = TypeVar("K")
V = TypeVar("V")


class DiskFault(Enum):
    """What the next commit meets."""

    FULL = "full"
    """It raises ``StorageFullError``; the process lives on."""
    READ_ONLY = "read-only"
    """It raises ``StorageReadOnlyError``; the process lives on."""
    LOST = "lost"
    """All of it was written, none synced, and the process died."""
    TORN = "torn"
    """Half of it was written, and the process died."""


class StoredEntry(NamedTuple):
    """An entry as it lies on the disk."""

    known: KnownEntry
    batch: int
    proof: tuple[bytes, ...] | None


class StoredChunk(NamedTuple):
    """A chunk with the hash that was stored with it."""

    hash: bytes
    content: bytes


class StoredBlob(NamedTuple):
    """A blob, whole or partial."""

    size: int
    chunks: dict[int, StoredChunk]


BatchKey = tuple["SessionId", int, int, bytes]
"""Session, first sequence, count, root."""

Journal = list["Callable[[], object]"]
"""How to take back one commit: to be called last to first."""


class MemoryDisk:
    """What is on a simulated disk. One store at a time uses it; it survives the store.

    With ``syncs_at_commit=False`` a commit that returned is not durable yet: the simulator calls
    ``sync`` when the virtual disk has come so far (and only then reports it as persisted), and
    ``crash`` loses the rest. The disk itself is deterministic: chance is the caller's.

    Invariants:
        1. ``unsynced`` takes back, last to first, exactly what was written since the last sync.
        2. After ``crash`` the tables hold whole commits only, a prefix of those returned.
    """

    def __init__(self, *, syncs_at_commit: bool = True) -> None:
        self.syncs_at_commit = syncs_at_commit
        self.owner: object | None = None
        self.entries: dict[int, StoredEntry] = {}
        self.by_dot: dict[tuple[SessionId, int], int] = {}
        self.by_id: dict[EntryId, int] = {}
        self.by_file: dict[FileId, list[int]] = {}
        self.batches: dict[int, BatchHeader] = {}
        self.batch_numbers: dict[BatchKey, int] = {}
        self.records: dict[RecordKind, dict[bytes, bytes]] = {}
        self.blobs: dict[BlobHash, StoredBlob] = {}
        self._unsynced: deque[Journal] = deque()
        self._torn: list[Journal] = []
        self._faults: deque[DiskFault] = deque()

    @property
    def unsynced_count(self) -> int:
        """How many returned commits a crash would lose now."""
        return len(self._unsynced)

    def inject(self, *faults: DiskFault) -> None:
        """Let the next commits meet these faults, one each, in order, behind earlier ones."""
        self._faults.extend(faults)

    def take_fault(self) -> DiskFault | None:
        """Return the fault that the commit now beginning meets."""
        return self._faults.popleft() if self._faults else None

    def put(self, table: dict[K, V], key: K, value: V, journal: Journal) -> None:
        """Set a key, noting in the journal what stood there."""
        if key in table:
            journal.append(partial(table.__setitem__, key, table[key]))
        else:
            journal.append(partial(table.__delitem__, key))
        table[key] = value

    def drop(self, table: dict[K, V], key: K, journal: Journal) -> None:
        """Erase a key, noting in the journal what stood there; absent: nothing happens."""
        if key in table:
            journal.append(partial(table.__setitem__, key, table[key]))
            del table[key]

    def end_commit(self, journal: Journal) -> None:
        """Take a whole commit: durable now, or at the next ``sync``."""
        if not self.syncs_at_commit:
            self._unsynced.append(journal)

    def die(self, journal: Journal) -> None:
        """Let the process die during a commit, with this much of it written."""
        self._torn.append(journal)
        self.owner = None

    def sync(self, commits_max: int | None = None) -> None:
        """Make the oldest unsynced commits durable, all of them unless bounded."""
        count = len(self._unsynced)
        for _ in range(count if commits_max is None else min(count, commits_max)):
            self._unsynced.popleft()

    def crash(self, *, kept_commits: int = 0) -> None:
        """Cut the power: the store is dead, and what was not synced is gone.

        Args:
            kept_commits: how many of the oldest unsynced commits had reached the disk anyway.
        """
        self.owner = None
        self.recover()
        while len(self._unsynced) > kept_commits:
            take_back(self._unsynced.pop())
        self._unsynced.clear()

    def recover(self) -> None:
        """Take back what a dying process left half written, as opening a store does."""
        while self._torn:
            take_back(self._torn.pop())

    def rot_entry(self, entry: EntryId) -> None:
        """Flip bits of a stored entry."""
        number = self.by_id[entry]
        stored = self.entries[number]
        rotten = structs.replace(stored.known, encoded=_flipped(stored.known.encoded))
        self.entries[number] = stored._replace(known=rotten)

    def rot_chunk(self, blob: BlobHash, index: int) -> None:
        """Flip bits of a stored chunk."""
        chunks = self.blobs[blob].chunks
        chunks[index] = chunks[index]._replace(content=_flipped(chunks[index].content))


def take_back(journal: Journal) -> None:
    """Undo what a journal noted, the latest first."""
    while journal:
        journal.pop()()


def _flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:] if content else b"\x00"
