"""Reading entries back: the queries, and how slicing sees the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiplatform.mesh_ide.model.entries import BatchHeader
from aiplatform.mesh_ide.model.ids import HASH_BYTES, EntryId, FileId
from aiplatform.mesh_ide.storage.codec import read_entry
from aiplatform.mesh_ide.storage.slicing import BatchRow, ContentRow, WantedRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from aiplatform.mesh_ide.model.entries import FileVector, KnownEntry
    from aiplatform.mesh_ide.model.ids import SessionId
    from aiplatform.mesh_ide.storage.sqlite.connections import ReaderPool


class EntryReader:
    """Reads entries through the pool; also what ``slicing.SliceSource`` asks for."""

    def __init__(self, pool: ReaderPool) -> None:
        """Read through this pool."""
        self._pool = pool

    def entries_of(self, file: FileId, after: FileVector) -> Iterator[KnownEntry]:
        """Yield the file's entries beyond ``after`` in the order of storing."""
        known_up_to = dict(after)
        number = 0
        while True:
            page = self._pool.page(
                "SELECT number, id, encoded FROM entries WHERE file = ? AND number > ?"
                " ORDER BY number",
                (file, number),
                size_column=2,
            )
            for number, entry_id, encoded in page:  # noqa: B007 - the next page begins after it
                known = read_entry(encoded, EntryId(entry_id))
                if known.ref.sequence > known_up_to.get(known.ref.session, 0):
                    yield known
            if not page:
                return

    def entry(self, entry: EntryId) -> KnownEntry | None:
        """Return one entry by its id."""
        rows = self._pool.rows(
            "SELECT encoded FROM entries WHERE substr(id, 1, 8) = ? AND id = ?", (entry[:8], entry)
        )
        return read_entry(rows[0][0], entry) if rows else None

    def file_of(self, entry: EntryId) -> FileId | None:
        """Return the file in whose history an entry stands, without looking at its bytes."""
        rows = self._pool.rows(
            "SELECT file FROM entries WHERE substr(id, 1, 8) = ? AND id = ?", (entry[:8], entry)
        )
        return FileId(rows[0][0]) if rows else None

    def dots(self, dots: Iterable[tuple[SessionId, int]]) -> dict[tuple[SessionId, int], EntryId]:
        """Return the ids stored under these dots."""
        asked = list(dots)
        numbers = self._session_numbers(session for session, _ in asked)
        known = [dot for dot in asked if dot[0] in numbers]
        found = self._pool.rows_of_each(
            "SELECT id FROM entries WHERE session = ? AND sequence = ?",
            [(numbers[session], sequence) for session, sequence in known],
        )
        return {dot: EntryId(rows[0][0]) for dot, rows in zip(known, found, strict=True) if rows}

    def wanted_rows(self, file: FileId, after: FileVector) -> Sequence[WantedRow]:
        """Return the file's entries beyond a vector."""
        known_up_to: dict[int, int] = {}
        if after:
            numbers = self._session_numbers(session for session, _ in after)
            known_up_to = {
                numbers[session]: sequence for session, sequence in after if session in numbers
            }
        rows = self._pool.rows(
            "SELECT number, batch, session, sequence FROM entries WHERE file = ?", (file,)
        )
        return [
            WantedRow(number, batch)
            for number, batch, session, sequence in rows
            if sequence > known_up_to.get(session, 0)
        ]

    def batch_header(self, batch: int) -> BatchHeader:
        """Return the header under which entries were stored."""
        rows = self._pool.rows(
            "SELECT sessions.session, first_sequence, count, root, signature FROM batches"
            " JOIN sessions ON sessions.number = batches.session WHERE batches.number = ?",
            (batch,),
        )
        return BatchHeader(*rows[0])

    def batch_rows(self, batch: int) -> Sequence[BatchRow]:
        """Return all entries stored under a batch, by sequence."""
        rows = self._pool.rows(
            "SELECT entries.number, sequence, id, length(encoded) FROM batches"
            " JOIN entries ON entries.session = batches.session"
            " AND sequence BETWEEN first_sequence AND first_sequence + count - 1"
            " WHERE batches.number = ? AND batch = batches.number ORDER BY sequence",
            (batch,),
        )
        return [BatchRow(number, sequence, stored, size) for number, sequence, stored, size in rows]

    def contents(self, rows: Sequence[BatchRow]) -> Sequence[ContentRow]:
        """Return the bytes of these entries, in the order given."""
        found = self._pool.rows_of_each(
            "SELECT encoded, proof FROM entries WHERE number = ?", [(row.number,) for row in rows]
        )
        return [ContentRow(one[0][0], _split(one[0][1])) for one in found]

    def entry_bytes(self, numbers: Sequence[int]) -> Sequence[tuple[EntryId, bytes]]:
        """Return ids and bytes of these entries, in the order given."""
        found = self._pool.rows_of_each(
            "SELECT id, encoded FROM entries WHERE number = ?", [(number,) for number in numbers]
        )
        return [(EntryId(one[0][0]), one[0][1]) for one in found]

    def _session_numbers(self, sessions: Iterable[SessionId]) -> dict[SessionId, int]:
        asked = sorted(set(sessions))
        found = self._pool.rows_of_each(
            "SELECT number FROM sessions WHERE session = ?", [(session,) for session in asked]
        )
        return {
            session: int(rows[0][0]) for session, rows in zip(asked, found, strict=True) if rows
        }


def _split(proof: bytes | None) -> tuple[bytes, ...] | None:
    if proof is None:
        return None
    return tuple(proof[at : at + HASH_BYTES] for at in range(0, len(proof), HASH_BYTES))
