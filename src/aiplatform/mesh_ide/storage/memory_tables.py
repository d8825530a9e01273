"""The memory disk's entry tables, as ``intake`` writes and ``slicing`` reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiplatform.mesh_ide.storage.intake import StoredDot
from aiplatform.mesh_ide.storage.memory_disk import StoredEntry
from aiplatform.mesh_ide.storage.slicing import BatchRow, ContentRow, WantedRow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiplatform.mesh_ide.model.entries import BatchHeader, FileVector, KnownEntry
    from aiplatform.mesh_ide.model.ids import EntryId, FileId, SessionId
    from aiplatform.mesh_ide.storage.intake import FreshEntry
    from aiplatform.mesh_ide.storage.memory_disk import Journal, MemoryDisk


class MemoryEntries:
    """The entry tables during a commit (``intake.EntryTable``)."""

    def __init__(self, disk: MemoryDisk, journal: Journal) -> None:
        self._disk = disk
        self._journal = journal

    def batch_number(self, header: BatchHeader) -> int:
        """Return the number of a batch, storing its header if it is new."""
        disk = self._disk
        key = (header.session, header.first_sequence, header.count, header.root)
        number = disk.batch_numbers.get(key)
        if number is None:
            number = len(disk.batches) + 1
            disk.put(disk.batch_numbers, key, number, self._journal)
            disk.put(disk.batches, number, header, self._journal)
        return number

    def stored_dots(self, session: SessionId, first: int, last: int) -> Mapping[int, StoredDot]:
        """Return what is stored under the session's sequences ``first`` to ``last``."""
        disk = self._disk
        found: dict[int, StoredDot] = {}
        for sequence in range(first, last + 1):
            number = disk.by_dot.get((session, sequence))
            if number is not None:
                stored = disk.entries[number]
                found[sequence] = StoredDot(number, stored.known.ref.id, stored.batch)
        return found

    def stored_bytes(self, number: int) -> bytes:
        """Return the bytes of a stored entry, unchecked."""
        return self._disk.entries[number].known.encoded

    def mend(self, number: int, known: KnownEntry) -> None:
        """Replace a rotten entry's id and bytes."""
        disk = self._disk
        stored = disk.entries[number]
        disk.put(disk.entries, number, stored._replace(known=known), self._journal)
        disk.put(disk.by_id, known.ref.id, number, self._journal)

    def insert(self, batch: int, entries: Sequence[FreshEntry]) -> None:
        """Store new entries, in order."""
        disk, journal = self._disk, self._journal
        for known, proof in entries:
            number = len(disk.entries) + 1
            ref = known.ref
            disk.put(disk.entries, number, StoredEntry(known, batch, proof), journal)
            disk.put(disk.by_dot, (ref.session, ref.sequence), number, journal)
            disk.put(disk.by_id, ref.id, number, journal)
            numbers = disk.by_file.get(known.entry.file)
            if numbers is None:
                disk.put(disk.by_file, known.entry.file, [number], journal)
            else:
                numbers.append(number)
                journal.append(numbers.pop)


class MemorySlices:
    """The entry tables as ``slicing`` reads them (``slicing.SliceSource``)."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk = disk

    def wanted_rows(self, file: FileId, after: FileVector) -> Sequence[WantedRow]:
        """Return the file's entries beyond a vector."""
        known_up_to = dict(after)
        rows: list[WantedRow] = []
        for number in list(self._disk.by_file.get(file, ())):
            stored = self._disk.entries[number]
            ref = stored.known.ref
            if ref.sequence > known_up_to.get(ref.session, 0):
                rows.append(WantedRow(number, stored.batch))
        return rows

    def batch_header(self, batch: int) -> BatchHeader:
        """Return the header under which entries were stored."""
        return self._disk.batches[batch]

    def batch_rows(self, batch: int) -> Sequence[BatchRow]:
        """Return all entries stored under a batch, by sequence."""
        disk = self._disk
        header = disk.batches[batch]
        rows: list[BatchRow] = []
        for sequence in range(header.first_sequence, header.first_sequence + header.count):
            number = disk.by_dot.get((header.session, sequence))
            if number is not None and disk.entries[number].batch == batch:
                known = disk.entries[number].known
                rows.append(BatchRow(number, sequence, known.ref.id, len(known.encoded)))
        return rows

    def contents(self, rows: Sequence[BatchRow]) -> Sequence[ContentRow]:
        """Return the bytes of these entries, in the order given."""
        stored = [self._disk.entries[row.number] for row in rows]
        return [ContentRow(entry.known.encoded, entry.proof) for entry in stored]

    def entry_bytes(self, numbers: Sequence[int]) -> Sequence[tuple[EntryId, bytes]]:
        """Return ids and bytes of these entries, in the order given."""
        known = [self._disk.entries[number].known for number in numbers]
        return [(one.ref.id, one.encoded) for one in known]
