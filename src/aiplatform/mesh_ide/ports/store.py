"""What a node keeps across a crash: entries, blobs and small records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Protocol

from msgspec import Struct

from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef, FileVector, KnownEntry
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId, SessionId

CHUNK_BYTES = 1024 * 1024
"""Blobs are stored, verified and resumed in chunks of this size (the last may be shorter)."""


class RecordKind(IntEnum):
    """The families of small keyed records. The values stand on disk: never renumber."""

    NODE = 1
    """Facts about this node: keys are ASCII words."""
    FILE = 2
    """A file's state by file id."""
    DISK = 3
    """What we believe stands in the folder, by path (UTF-8)."""
    CERTIFICATE = 4
    """Session certificates by session id."""
    ROSTER = 5
    """Signed roster records by their hash."""
    TICKET = 6
    """Tickets this node issued, by ticket id."""
    HOLD = 7
    """Local changes waiting for a person, by hold id."""
    SNAPSHOT = 8
    """Manifests by their hash."""
    DOCUMENT = 9
    """Cached CRDT snapshots: can be dropped at any time."""
    EQUIVOCATION = 10
    """Proof that a session said two different things."""


class PutEntries(Struct, frozen=True):
    """Store a verified slice; ``known`` are its entries, decoded, in the slice's order."""

    slice: BatchSlice
    known: tuple[KnownEntry, ...]


class PutRecord(Struct, frozen=True):
    """Store a record, or erase it with ``value=None``."""

    kind: RecordKind
    key: bytes
    value: bytes | None


class PutBlob(Struct, frozen=True):
    """Archive a whole small blob (at most a few chunks). The content is trusted to match."""

    blob: BlobHash
    content: bytes


class PutChunk(Struct, frozen=True):
    """Store one chunk of a large blob under way; the blob is *held* once all chunks are there."""

    blob: BlobHash
    size: int
    index: int
    content: bytes


Write = PutEntries | PutRecord | PutBlob | PutChunk


class Store(Protocol):
    """A node's memory. ``commit`` is called from one thread; reads from any.

    Order: a read sees every commit that returned before it began.
    """

    def commit(self, writes: Sequence[Write]) -> tuple[EntryRef, ...]:
        """Make all writes durable in one transaction, in order, and return only then.

        Entries already stored are skipped (idempotent).

        Returns:
            Entries refused because another entry with the same session and sequence is stored
            already (equivocation). Everything else of the call is stored.

        Raises:
            StorageFullError: the disk is full; nothing of the call was stored.
            StorageReadOnlyError: the disk cannot be written; nothing was stored.
        """

    def entries_of(self, file: FileId, after: FileVector = ()) -> Iterator[KnownEntry]:
        """Yield the file's entries beyond ``after``, parents before children.

        Raises:
            CorruptRecordError: an entry's bytes do not match its id (names it).
        """

    def entry(self, entry: EntryId) -> KnownEntry | None:
        """Return one entry by its id."""

    def slices(
        self, wanted: Sequence[tuple[FileId, FileVector]], entries_max: int = 256
    ) -> Iterator[BatchSlice]:
        """Yield what these files have beyond the vectors, parents before children.

        Slices are whole batches without proofs where everything of a batch is wanted, otherwise
        carry proofs. Each has at most ``entries_max`` entries.
        """

    def dots(self, dots: Iterable[tuple[SessionId, int]]) -> dict[tuple[SessionId, int], EntryId]:
        """Return the ids stored under these (session, sequence) pairs; absent ones are left out."""

    def record(self, kind: RecordKind, key: bytes) -> bytes | None:
        """Return one record's value."""

    def records(self, kind: RecordKind) -> Iterator[tuple[bytes, bytes]]:
        """Yield all records of a kind in key order."""

    def held_blobs(self, blobs: Iterable[BlobHash]) -> set[BlobHash]:
        """Return which of these are completely archived."""

    def blob_size(self, blob: BlobHash) -> int | None:
        """Return the size of a completely archived blob."""

    def blob_chunks(self, blob: BlobHash, first: int = 0) -> Iterator[bytes]:
        """Yield the archived chunks in order from index ``first``.

        Raises:
            BlobMissingError: the blob is not (completely) archived.
            CorruptRecordError: a chunk does not match the hash stored with it.
        """

    def missing_chunks(self, blob: BlobHash, size: int) -> tuple[int, ...]:
        """Return the chunk indexes that are not stored yet (for resuming)."""

    def erase_blob(self, blob: BlobHash) -> None:
        """Forget a blob, whole or partial (used when a chunk was found corrupt)."""

    def close(self) -> None:
        """Release the files; idempotent."""
