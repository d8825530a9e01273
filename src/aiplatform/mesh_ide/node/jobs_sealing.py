"""Jobs of signing and checking entries."""

from __future__ import annotations

from aiplatform.mesh_ide.identity.batches import BadBatchError, open_slice, seal
from aiplatform.mesh_ide.identity.equivocation import signed_place
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.model.entries import (
    ENTRIES_PER_BATCH_MAX,
    BatchSlice,
    KnownEntry,
)
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import NO_ENTRY, EntryId, WorkspaceId
from aiplatform.mesh_ide.model.messages import SignedPlace
from aiplatform.mesh_ide.ports.engine import TextEngine
from aiplatform.mesh_ide.ports.errors import (
    BadUpdateError,
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.jobs import (
    EntriesSealed,
    SealEntries,
    SliceFault,
    SlicesVerified,
    VerifySlices,
)
from aiplatform.mesh_ide.ports.store import Store


class SealingJobs:
    """Signs this session's entries, numbering them, and checks those of others."""

    def __init__(
        self, workspace: WorkspaceId, key: SigningKey, store: Store, texts: TextEngine
    ) -> None:
        self._workspace = workspace
        self._key = key
        self._store = store
        self._texts = texts
        self._next_sequence = 1
        self._previous: EntryId = NO_ENTRY

    def seal(self, job: SealEntries) -> EntriesSealed:
        """Sign drafts in batches; numbering goes on where the last seal ended."""
        slices: list[BatchSlice] = []
        sealed: list[KnownEntry] = []
        for first in range(0, len(job.drafts), ENTRIES_PER_BATCH_MAX):
            piece, known = seal(
                job.drafts[first : first + ENTRIES_PER_BATCH_MAX],
                key=self._key,
                workspace=self._workspace,
                first_sequence=self._next_sequence,
                previous=self._previous,
                time_ms=job.time_ms,
            )
            self._next_sequence += len(known)
            self._previous = known[-1].ref.id
            slices.append(piece)
            sealed.extend(known)
        return EntriesSealed(tuple(slices), tuple(sealed))

    def verify(self, job: VerifySlices) -> SlicesVerified:
        """Check what a peer sent; refuse what contradicts what is stored."""
        good: list[tuple[BatchSlice, tuple[KnownEntry, ...]]] = []
        faults: list[SliceFault] = []
        for piece in job.slices:
            try:
                known = open_slice(piece, self._workspace)
                for entry in known:
                    if entry.entry.kind is EntryKind.UPDATE and entry.entry.payload:
                        self._texts.check_payload(entry)
            except (BadBatchError, BadUpdateError) as error:
                faults.append(SliceFault(piece, str(error)))
                continue
            good_or_fault = self._equivocation(piece, known)
            if good_or_fault is None:
                good.append((piece, known))
            else:
                faults.append(good_or_fault)
        return SlicesVerified(job.peer, tuple(good), tuple(faults))

    def _equivocation(self, piece: BatchSlice, known: tuple[KnownEntry, ...]) -> SliceFault | None:
        """Return the fault of a slice that contradicts what is stored, with the proof of it."""
        stored = self._store.dots((k.ref.session, k.ref.sequence) for k in known)
        for position, entry in enumerate(known):
            held = stored.get((entry.ref.session, entry.ref.sequence))
            if held is None or held == entry.ref.id:
                continue
            reason = f"two entries with sequence number {entry.ref.sequence} of one session"
            first = self._signed_place_of(held)
            if first is None:
                # What is stored cannot be read any more: no proof that anybody else would take.
                return SliceFault(piece, f"{reason}; the stored one is damaged")
            return SliceFault(piece, reason, (first, signed_place(piece, known, position)))
        return None

    def _signed_place_of(self, entry: EntryId) -> SignedPlace | None:
        """Return how its session signed a stored entry; ``None``: it is damaged."""
        try:
            known = self._store.entry(entry)
            if known is None:
                return None
            before = ((known.ref.session, known.ref.sequence - 1),)
            for piece in self._store.slices([(known.entry.file, before)]):
                if piece.header.session != known.ref.session:
                    continue
                index = known.ref.sequence - piece.header.first_sequence
                if index in piece.indexes:
                    opened = open_slice(piece, self._workspace)
                    return signed_place(piece, opened, piece.indexes.index(index))
        except (CorruptRecordError, BadBatchError):
            return None
        return None
