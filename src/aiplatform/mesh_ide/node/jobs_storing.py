"""Jobs of the store: commits, the archive, and blobs that come in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from blake3 import blake3

from aiplatform.mesh_ide.model.entries import (
    EntryRef,
)
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.model.messages import BlobPart
from aiplatform.mesh_ide.ports.errors import (
    CorruptContentError,
    CorruptRecordError,
    StorageFullError,
    StorageReadOnlyError,
)
from aiplatform.mesh_ide.ports.filetree import (
    Contents,
)
from aiplatform.mesh_ide.ports.jobs import (
    ArchiveBlobs,
    BlobsArchived,
    BlobSource,
    PartsReceived,
    Persist,
    Persisted,
    ReceiveParts,
)
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES, PutBlob, PutChunk, PutEntries, Store, Write
from aiplatform.mesh_ide.storage.codec import chunk_count, chunk_size

_CHUNKS_IN_MEMORY_MAX = 16
"""Archiving holds at most 16 MiB of one file in memory."""


class StoringJobs:
    """Everything that writes to the store goes through here: one commit at a time.

    Commits come from three lanes (store, folder, transfer); the lock keeps the store's rule that
    one thread at a time writes.
    """

    def __init__(
        self,
        store: Store,
        contents: Contents,
        report_damage: Callable[[CorruptRecordError], None],
    ) -> None:
        self._store = store
        self._contents = contents
        self._report_damage = report_damage
        self._commit_lock = threading.Lock()
        self._stuck: int | None = None

    def commit(self, writes: tuple[Write, ...]) -> tuple[EntryRef, ...]:
        """Write in one transaction; returns entries that were refused."""
        with self._commit_lock:
            return self._store.commit(writes)

    def _persist(self, job: Persist) -> Persisted:
        return self.persist_group([job])[0]

    def persist_group(self, jobs: Sequence[Persist]) -> list[Persisted]:
        """Commit several jobs in one transaction: one sync for all of them.

        Commits keep their order also when one fails: those behind it are refused until the same
        one was tried again. Otherwise its older records would one day overwrite newer ones.
        """
        if self._stuck is not None and jobs[0].ticket != self._stuck:
            place = next((i for i, job in enumerate(jobs) if job.ticket == self._stuck), len(jobs))
            problem = "an earlier change waits for the disk"
            refusals = [Persisted(job.ticket, problem=problem) for job in jobs[:place]]
            return refusals + (self.persist_group(jobs[place:]) if place < len(jobs) else [])
        try:
            refused = self.commit(tuple(write for job in jobs for write in job.writes))
        except (StorageFullError, StorageReadOnlyError) as error:
            self._stuck = jobs[0].ticket
            return [Persisted(job.ticket, problem=str(error)) for job in jobs]
        self._stuck = None
        if not refused:
            return [Persisted(job.ticket) for job in jobs]
        return [Persisted(job.ticket, _refused_of(job, refused)) for job in jobs]

    def archive(self, job: ArchiveBlobs) -> BlobsArchived:
        """Copy contents into the archive."""
        held = self._store.held_blobs(source.blob for source in job.sources)
        archived = [source.blob for source in job.sources if source.blob in held]
        missing: list[BlobHash] = []
        writes: list[Write] = []
        problem: str | None = None
        try:
            for source in job.sources:
                if source.blob in held:
                    continue
                put = self._archive_writes(source)
                if put is None:
                    missing.append(source.blob)
                else:
                    writes.extend(put)
                    archived.append(source.blob)
            if writes:
                self.commit(tuple(writes))
        except (StorageFullError, StorageReadOnlyError) as error:
            archived = [source.blob for source in job.sources if source.blob in held]
            problem = str(error)
        return BlobsArchived(tuple(archived), tuple(missing), problem)

    def _archive_writes(self, source: BlobSource) -> list[Write] | None:
        """Return the writes that archive a blob; a large one is committed on the way."""
        chunks = self._contents.chunks(source.blob, source.path)
        if chunks is None:
            return None
        pieces: list[bytes] = []
        try:
            for chunk in chunks:
                pieces.append(chunk)
                if len(pieces) > _CHUNKS_IN_MEMORY_MAX:
                    return self._archive_large(source)
        except CorruptContentError:
            return None
        return [PutBlob(source.blob, b"".join(pieces))]

    def _archive_large(self, source: BlobSource) -> list[Write] | None:
        size = sum(len(chunk) for chunk in self._contents.chunks(source.blob, source.path) or ())
        chunks = self._contents.chunks(source.blob, source.path)
        if chunks is None:
            return None
        try:
            for index, chunk in enumerate(chunks):
                self.commit((PutChunk(source.blob, size, index, chunk),))
        except CorruptContentError:
            self._store.erase_blob(source.blob)
            return None
        return []

    def receive(self, job: ReceiveParts) -> PartsReceived:
        """Check and keep chunks that a peer sent."""
        complete: list[BlobHash] = []
        corrupt: list[BlobHash] = []
        partial: dict[BlobHash, int] = {}
        problem: str | None = None
        for part in job.parts:
            if part.size <= CHUNK_BYTES and part.index == 0:
                is_blob = len(part.content) == part.size
                is_blob = is_blob and blake3(part.content).digest() == part.blob
                if is_blob:
                    self._contents.keep(part.blob, part.content)
                (complete if is_blob else corrupt).append(part.blob)
                continue
            if not _is_chunk(part):
                corrupt.append(part.blob)
                continue
            try:
                self.commit((PutChunk(part.blob, part.size, part.index, part.content),))
                missing = self._store.missing_chunks(part.blob, part.size)
                if missing:
                    partial[part.blob] = missing[0]
                else:
                    (complete if self._is_sound(part.blob) else corrupt).append(part.blob)
            except (StorageFullError, StorageReadOnlyError) as error:
                problem = str(error)
                corrupt.append(part.blob)
        for blob in (*complete, *corrupt):
            partial.pop(blob, None)
        return PartsReceived(
            job.peer, tuple(complete), tuple(corrupt), problem, tuple(partial.items())
        )

    def _is_sound(self, blob: BlobHash) -> bool:
        digest = blake3()
        try:
            for chunk in self._store.blob_chunks(blob):
                digest.update(chunk)
        except CorruptRecordError:
            self._store.erase_blob(blob)
            return False
        if digest.digest() != blob:
            self._store.erase_blob(blob)
            return False
        return True


def _is_chunk(part: BlobPart) -> bool:
    """Return whether a part fits the blob that it says it belongs to."""
    is_inside = 0 <= part.index < chunk_count(part.size)
    return is_inside and len(part.content) == chunk_size(part.size, part.index)


def _refused_of(job: Persist, refused: tuple[EntryRef, ...]) -> tuple[EntryRef, ...]:
    own = {k.ref for write in job.writes if isinstance(write, PutEntries) for k in write.known}
    return tuple(ref for ref in refused if ref in own)
