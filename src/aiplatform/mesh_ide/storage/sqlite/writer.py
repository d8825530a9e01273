"""One commit: what changes, in one transaction on the one write connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.ports.store import PutBlob, PutEntries, PutRecord
from aiplatform.mesh_ide.storage.intake import StoredDot, take_entries
from aiplatform.mesh_ide.storage.sqlite.blobs import BlobTable
from aiplatform.mesh_ide.storage.sqlite.connections import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import apsw

    from aiplatform.mesh_ide.model.entries import BatchHeader, EntryRef, KnownEntry
    from aiplatform.mesh_ide.model.ids import SessionId
    from aiplatform.mesh_ide.ports.store import RecordKind, Write
    from aiplatform.mesh_ide.storage.intake import FreshEntry

_SESSIONS_REMEMBERED_MAX: Final = 1024
"""Session numbers kept in memory: those that speak now, not all there ever were."""


class Writer:
    """Applies writes to the tables; the caller holds a transaction around each call.

    Invariant: ``_sessions`` holds only numbers that are committed or belong to the transaction
    under way; ``forget`` is called when that is rolled back.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        """Write through this connection."""
        self._connection = connection
        self._entries = EntryTable(connection)
        self._blobs = BlobTable(connection)

    def apply(self, writes: Sequence[Write]) -> tuple[EntryRef, ...]:
        """Apply writes in order and return the refused entries.

        Records are gathered and written last: no other write reads or changes them, so only their
        order among themselves counts, and there the last value of a key wins.
        """
        refused: list[EntryRef] = []
        records: dict[tuple[RecordKind, bytes], bytes | None] = {}
        for write in writes:
            if isinstance(write, PutRecord):
                records[write.kind, write.key] = write.value
            elif isinstance(write, PutEntries):
                refused.extend(take_entries(self._entries, write))
            elif isinstance(write, PutBlob):
                self._blobs.put_whole(write)
            else:
                self._blobs.put_chunk(write)
        self._put_records(records)
        return tuple(refused)

    def forget(self) -> None:
        """Drop what was remembered of a transaction that was rolled back."""
        self._entries.forget()

    def _put_records(self, records: Mapping[tuple[RecordKind, bytes], bytes | None]) -> None:
        self._connection.executemany(
            "INSERT INTO records (kind, key, value) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
            [
                (int(kind), key, value)
                for (kind, key), value in records.items()
                if value is not None
            ],
        )
        self._connection.executemany(
            "DELETE FROM records WHERE kind = ? AND key = ?",
            [(int(kind), key) for (kind, key), value in records.items() if value is None],
        )


class EntryTable:
    """The entry tables during a commit (``intake.EntryTable``)."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Write through this connection."""
        self._connection = connection
        self._sessions: dict[SessionId, int] = {}

    def forget(self) -> None:
        """Drop remembered session numbers."""
        self._sessions.clear()

    def batch_number(self, header: BatchHeader) -> int:
        """Return the number of a batch, storing its header if it is new."""
        session = self._session_number(header.session)
        rows = fetch(
            self._connection,
            "SELECT number, count, root FROM batches WHERE session = ? AND first_sequence = ?",
            (session, header.first_sequence),
        )
        for number, count, root in rows:
            if count == header.count and root == header.root:
                return int(number)
        self._connection.execute(
            "INSERT INTO batches (session, first_sequence, count, root, signature)"
            " VALUES (?, ?, ?, ?, ?)",
            (session, header.first_sequence, header.count, header.root, header.signature),
        )
        return self._connection.last_insert_rowid()

    def stored_dots(self, session: SessionId, first: int, last: int) -> Mapping[int, StoredDot]:
        """Return what is stored under the session's sequences ``first`` to ``last``."""
        rows = fetch(
            self._connection,
            "SELECT sequence, number, id, batch FROM entries"
            " WHERE session = ? AND sequence BETWEEN ? AND ?",
            (self._session_number(session), first, last),
        )
        return {
            sequence: StoredDot(number, stored, batch) for sequence, number, stored, batch in rows
        }

    def stored_bytes(self, number: int) -> bytes:
        """Return the bytes of a stored entry, unchecked."""
        rows = fetch(self._connection, "SELECT encoded FROM entries WHERE number = ?", (number,))
        return bytes(rows[0][0])

    def mend(self, number: int, known: KnownEntry) -> None:
        """Replace a rotten entry's id and bytes."""
        self._connection.execute(
            "UPDATE entries SET id = ?, encoded = ? WHERE number = ?",
            (known.ref.id, known.encoded, number),
        )

    def insert(self, batch: int, entries: Sequence[FreshEntry]) -> None:
        """Store new entries, in order."""
        session = self._session_number(entries[0].known.ref.session)
        self._connection.executemany(
            "INSERT INTO entries (session, sequence, batch, file, id, proof, encoded)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    session,
                    known.ref.sequence,
                    batch,
                    known.entry.file,
                    known.ref.id,
                    None if proof is None else b"".join(proof),
                    known.encoded,
                )
                for known, proof in entries
            ],
        )

    def _session_number(self, session: SessionId) -> int:
        number = self._sessions.get(session)
        if number is None:
            number = self._stored_session_number(session)
            if len(self._sessions) >= _SESSIONS_REMEMBERED_MAX:
                self._sessions.clear()
            self._sessions[session] = number
        return number

    def _stored_session_number(self, session: SessionId) -> int:
        rows = fetch(self._connection, "SELECT number FROM sessions WHERE session = ?", (session,))
        if rows:
            return int(rows[0][0])
        self._connection.execute("INSERT INTO sessions (session) VALUES (?)", (session,))
        return self._connection.last_insert_rowid()
