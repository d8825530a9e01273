"""The memory twin of the SQLite store, for simulations with hundreds of nodes in a process."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from blake3 import blake3

from aiplatform.mesh_ide.model.ids import short
from aiplatform.mesh_ide.ports.errors import (
    BlobMissingError,
    StorageFullError,
    StorageReadOnlyError,
)
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES, PutBlob, PutEntries, PutRecord
from aiplatform.mesh_ide.storage.codec import check_entry, chunk_count, corrupt_blob
from aiplatform.mesh_ide.storage.errors import (
    SimulatedDeathError,
    StateInUseError,
    StoreClosedError,
)
from aiplatform.mesh_ide.storage.intake import check_write, take_entries
from aiplatform.mesh_ide.storage.memory_disk import (
    DiskFault,
    MemoryDisk,
    StoredBlob,
    StoredChunk,
    take_back,
)
from aiplatform.mesh_ide.storage.memory_tables import MemoryEntries, MemorySlices
from aiplatform.mesh_ide.storage.slicing import slices_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef, FileVector, KnownEntry
    from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId, SessionId
    from aiplatform.mesh_ide.ports.store import PutChunk, RecordKind, Write
    from aiplatform.mesh_ide.storage.memory_disk import Journal

T = TypeVar("T")


class MemoryStore:
    """A ``Store`` whose disk is a ``MemoryDisk``; see ``ports.store.Store`` for the promises.

    Opening takes back what a dying predecessor left half written. ``close`` syncs; a crash is
    ``MemoryDisk.crash`` (after which this object raises ``StoreClosedError``) and a new
    ``MemoryStore`` on the same disk.

    Raises:
        StateInUseError: another store has the disk open.
    """

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        disk = MemoryDisk() if disk is None else disk
        if disk.owner is not None:
            message = "Another store of this process has this memory disk open; close it first."
            raise StateInUseError(message)
        self._all = disk
        disk.owner = self
        disk.recover()

    def commit(self, writes: Sequence[Write]) -> tuple[EntryRef, ...]:
        """See ``Store.commit``; also meets the disk's injected faults.

        Raises:
            BadWriteError: a write contradicts itself; nothing was stored.
            SimulatedDeathError: an injected fault ended the process.
        """
        for write in writes:
            check_write(write)
        return self._transact(lambda journal: self._apply(writes, journal))

    def entries_of(self, file: FileId, after: FileVector = ()) -> Iterator[KnownEntry]:
        """See ``Store.entries_of``."""
        disk = self._disk
        known_up_to = dict(after)
        for number in list(disk.by_file.get(file, ())):
            known = disk.entries[number].known
            if known.ref.sequence > known_up_to.get(known.ref.session, 0):
                check_entry(known.encoded, known.ref.id)
                yield known

    def entry(self, entry: EntryId) -> KnownEntry | None:
        """See ``Store.entry``."""
        number = self._disk.by_id.get(entry)
        if number is None:
            return None
        known = self._disk.entries[number].known
        check_entry(known.encoded, entry)
        return known

    def slices(
        self, wanted: Sequence[tuple[FileId, FileVector]], entries_max: int = 256
    ) -> Iterator[BatchSlice]:
        """See ``Store.slices``."""
        return slices_from(MemorySlices(self._disk), wanted, entries_max)

    def dots(self, dots: Iterable[tuple[SessionId, int]]) -> dict[tuple[SessionId, int], EntryId]:
        """See ``Store.dots``."""
        disk = self._disk
        return {
            dot: disk.entries[disk.by_dot[dot]].known.ref.id for dot in dots if dot in disk.by_dot
        }

    def record(self, kind: RecordKind, key: bytes) -> bytes | None:
        """See ``Store.record``."""
        return self._disk.records.get(kind, {}).get(key)

    def records(self, kind: RecordKind) -> Iterator[tuple[bytes, bytes]]:
        """See ``Store.records``."""
        return iter(sorted(self._disk.records.get(kind, {}).items()))

    def held_blobs(self, blobs: Iterable[BlobHash]) -> set[BlobHash]:
        """See ``Store.held_blobs``."""
        return {blob for blob in blobs if self._whole(blob) is not None}

    def blob_size(self, blob: BlobHash) -> int | None:
        """See ``Store.blob_size``."""
        stored = self._whole(blob)
        return None if stored is None else stored.size

    def blob_chunks(self, blob: BlobHash, first: int = 0) -> Iterator[bytes]:
        """See ``Store.blob_chunks``."""
        stored = self._whole(blob)
        if stored is None:
            message = f"Blob {short(blob)} is not archived here; ask another member for it."
            raise BlobMissingError(message)
        return self._checked_chunks(blob, range(first, len(stored.chunks)))

    def missing_chunks(self, blob: BlobHash, size: int) -> tuple[int, ...]:
        """See ``Store.missing_chunks``."""
        stored = self._disk.blobs.get(blob)
        if self._whole(blob) is not None:
            return ()
        held = stored.chunks if stored is not None and stored.size == size else {}
        return tuple(index for index in range(chunk_count(size)) if index not in held)

    def verify_blob(self, blob: BlobHash) -> bool:
        """Return whether the blob is held whole and its bytes are what its name says."""
        stored = self._whole(blob)
        if stored is None:
            return False
        digest = blake3()
        for index in range(len(stored.chunks)):
            digest.update(stored.chunks[index].content)
        return digest.digest() == blob

    def erase_blob(self, blob: BlobHash) -> None:
        """See ``Store.erase_blob``."""
        self._transact(lambda journal: self._all.drop(self._all.blobs, blob, journal))

    def close(self) -> None:
        """Sync and let go of the disk; idempotent."""
        if self._all.owner is self:
            self._all.sync()
            self._all.owner = None

    @property
    def _disk(self) -> MemoryDisk:
        if self._all.owner is not self:
            message = "This store was closed, or its process died; open it again."
            raise StoreClosedError(message)
        return self._all

    def _transact(self, apply: Callable[[Journal], T]) -> T:
        disk = self._disk
        fault = disk.take_fault()
        if fault is DiskFault.FULL:
            message = "The memory disk is full; nothing of this change was stored."
            raise StorageFullError(message)
        if fault is DiskFault.READ_ONLY:
            message = "The memory disk cannot be written; nothing of this change was stored."
            raise StorageReadOnlyError(message)
        journal: Journal = []
        try:
            result = apply(journal)
        except BaseException:
            take_back(journal)
            raise
        if fault is None:
            disk.end_commit(journal)
            return result
        if fault is DiskFault.TORN:
            half = len(journal) // 2
            take_back(journal[half:])
            del journal[half:]
        disk.die(journal)
        message = f"The simulated process died during a commit ({fault.value})."
        raise SimulatedDeathError(message)

    def _apply(self, writes: Sequence[Write], journal: Journal) -> tuple[EntryRef, ...]:
        disk = self._all
        refused: list[EntryRef] = []
        for write in writes:
            if isinstance(write, PutEntries):
                refused.extend(take_entries(MemoryEntries(disk, journal), write))
            elif isinstance(write, PutRecord):
                if write.kind not in disk.records:
                    disk.put(disk.records, write.kind, {}, journal)
                table = disk.records[write.kind]
                if write.value is None:
                    disk.drop(table, write.key, journal)
                else:
                    disk.put(table, write.key, write.value, journal)
            elif isinstance(write, PutBlob):
                self._put_blob(write, journal)
            else:
                self._put_chunk(write, journal)
        return tuple(refused)

    def _put_blob(self, write: PutBlob, journal: Journal) -> None:
        if self._whole(write.blob) is not None:
            return
        content = write.content
        chunks = {
            index: _chunk(content[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES])
            for index in range(chunk_count(len(content)))
        }
        disk = self._all
        disk.put(disk.blobs, write.blob, StoredBlob(len(content), chunks), journal)

    def _put_chunk(self, write: PutChunk, journal: Journal) -> None:
        if self._whole(write.blob) is not None:
            return
        disk = self._all
        stored = disk.blobs.get(write.blob)
        if stored is None or stored.size != write.size:
            stored = StoredBlob(write.size, {})
            disk.put(disk.blobs, write.blob, stored, journal)
        if write.index not in stored.chunks:
            disk.put(stored.chunks, write.index, _chunk(write.content), journal)

    def _whole(self, blob: BlobHash) -> StoredBlob | None:
        stored = self._disk.blobs.get(blob)
        if stored is None or len(stored.chunks) < chunk_count(stored.size):
            return None
        return stored

    def _checked_chunks(self, blob: BlobHash, indexes: range) -> Iterator[bytes]:
        for index in indexes:
            stored = self._whole(blob)
            if stored is None:
                message = f"Blob {short(blob)} was erased while it was read."
                raise BlobMissingError(message)
            chunk = stored.chunks[index]
            if blake3(chunk.content).digest() != chunk.hash:
                raise corrupt_blob(blob, f"chunk {index} does not match its hash")
            yield chunk.content


def _chunk(content: bytes) -> StoredChunk:
    return StoredChunk(blake3(content).digest(), content)
