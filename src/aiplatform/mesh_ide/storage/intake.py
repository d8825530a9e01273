"""What happens to a write before it is stored: the rules that both stores share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from aiplatform.mesh_ide.identity.merkle import inclusion_proof
from aiplatform.mesh_ide.model.entries import ENTRIES_PER_BATCH_MAX
from aiplatform.mesh_ide.model.ids import short
from aiplatform.mesh_ide.ports.store import PutChunk, PutEntries
from aiplatform.mesh_ide.storage.codec import chunk_count, chunk_size, is_sound
from aiplatform.mesh_ide.storage.errors import BadWriteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiplatform.mesh_ide.model.entries import BatchHeader, EntryRef, KnownEntry
    from aiplatform.mesh_ide.model.ids import EntryId, SessionId
    from aiplatform.mesh_ide.ports.store import Write


class StoredDot(NamedTuple):
    """What is stored under one (session, sequence)."""

    number: int
    id: EntryId
    batch: int


class FreshEntry(NamedTuple):
    """An entry to insert, with the proof that it needs once its batch is not whole here."""

    known: KnownEntry
    proof: tuple[bytes, ...] | None


class EntryTable(Protocol):
    """The entries of a store, during a commit."""

    def batch_number(self, header: BatchHeader) -> int:
        """Return the number of a batch, storing its header if it is new."""

    def stored_dots(self, session: SessionId, first: int, last: int) -> Mapping[int, StoredDot]:
        """Return what is stored under the session's sequences ``first`` to ``last``."""

    def stored_bytes(self, number: int) -> bytes:
        """Return the bytes of a stored entry, unchecked."""

    def mend(self, number: int, known: KnownEntry) -> None:
        """Replace a rotten entry's id and bytes."""

    def insert(self, batch: int, entries: Sequence[FreshEntry]) -> None:
        """Store new entries, in order."""


def check_write(write: Write) -> None:
    """Refuse a write that contradicts itself, before anything of its commit is stored.

    Raises:
        BadWriteError: names what is wrong.
    """
    if isinstance(write, PutEntries):
        _check_slice(write)
    elif isinstance(write, PutChunk):
        _check_chunk(write)


def _check_slice(write: PutEntries) -> None:
    header, indexes, proofs = write.slice.header, write.slice.indexes, write.slice.proofs
    if not indexes or not len(indexes) == len(write.slice.entries) == len(write.known):
        message = "A slice's indexes, entries and decoded entries differ in number, or are none."
        raise BadWriteError(message)
    if len(proofs) != (len(indexes) if proofs else 0) or (
        not proofs and len(indexes) != header.count
    ):
        message = "A part of a batch needs one proof for each of its entries."
        raise BadWriteError(message)
    if not 1 <= header.count <= ENTRIES_PER_BATCH_MAX:
        message = f"A batch cannot have {header.count} entries."
        raise BadWriteError(message)
    if list(indexes) != sorted(set(indexes)) or not 0 <= indexes[0] <= indexes[-1] < header.count:
        message = "A slice's indexes are not ascending positions of its batch."
        raise BadWriteError(message)
    for index, encoded, known in zip(indexes, write.slice.entries, write.known, strict=True):
        ref = known.ref
        if (
            ref.session != header.session
            or ref.sequence != header.first_sequence + index
            or encoded != known.encoded
        ):
            message = f"Entry {short(ref.id)} does not stand where its batch says."
            raise BadWriteError(message)


def _check_chunk(write: PutChunk) -> None:
    is_inside = 0 <= write.index < chunk_count(write.size)
    if not is_inside or len(write.content) != chunk_size(write.size, write.index):
        message = (
            f"Chunk {write.index} of {len(write.content)} bytes does not belong to a blob "
            f"of {write.size} bytes ({short(write.blob)})."
        )
        raise BadWriteError(message)


def take_entries(table: EntryTable, write: PutEntries) -> list[EntryRef]:
    """Store a slice's new entries and return those that contradict stored ones.

    Entries stored already are skipped, unless their stored bytes rotted: those are mended, so
    that fetching again from a peer heals. A rotten entry is never taken as proof of equivocation.

    Invariant: an entry without a stored proof belongs to a batch that is wholly stored under its
    own header, so its proof can be derived. A whole batch of which some entry stands elsewhere
    (refused, or stored under another batch of the session) therefore gets proofs here.
    """
    header = write.slice.header
    batch = table.batch_number(header)
    last = header.first_sequence + header.count - 1
    stored_dots = table.stored_dots(header.session, header.first_sequence, last)
    fresh: list[int] = []
    refused: list[EntryRef] = []
    is_whole_here = not write.slice.proofs
    for place, known in enumerate(write.known):
        stored = stored_dots.get(known.ref.sequence)
        if stored is None:
            fresh.append(place)
            continue
        if _contradicts(table, stored, known):
            refused.append(known.ref)
            is_whole_here = False
        elif stored.batch != batch:
            is_whole_here = False
    if fresh:
        table.insert(batch, _with_proofs(write, fresh, is_whole_here=is_whole_here))
    return refused


def _contradicts(table: EntryTable, stored: StoredDot, known: KnownEntry) -> bool:
    stored_bytes = table.stored_bytes(stored.number)
    if stored.id == known.ref.id:
        if stored_bytes != known.encoded:
            table.mend(stored.number, known)
        return False
    if is_sound(stored_bytes, stored.id):
        return True
    table.mend(stored.number, known)
    return False


def _with_proofs(
    write: PutEntries, places: Sequence[int], *, is_whole_here: bool
) -> list[FreshEntry]:
    proofs = write.slice.proofs
    if is_whole_here:
        return [FreshEntry(write.known[place], None) for place in places]
    if proofs:
        return [FreshEntry(write.known[place], proofs[place]) for place in places]
    leaves = [known.ref.id for known in write.known]
    return [FreshEntry(write.known[place], inclusion_proof(leaves, place)) for place in places]
