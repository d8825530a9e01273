"""The blob tables: whole blobs and those that are still arriving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from blake3 import blake3

from aiplatform.mesh_ide.model.ids import short
from aiplatform.mesh_ide.ports.errors import BlobMissingError
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES
from aiplatform.mesh_ide.storage.codec import chunk_count, corrupt_blob
from aiplatform.mesh_ide.storage.sqlite.connections import fetch
from aiplatform.mesh_ide.storage.sqlite.schema import CHUNK_BITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import apsw

    from aiplatform.mesh_ide.model.ids import BlobHash
    from aiplatform.mesh_ide.ports.store import PutBlob, PutChunk
    from aiplatform.mesh_ide.storage.sqlite.connections import ReaderPool


_FIND: Final = "SELECT number, size, missing FROM blobs WHERE blob = ?"


class BlobRow(NamedTuple):
    """What the table says of a blob."""

    number: int
    size: int
    missing: int


class BlobTable:
    """Changes blobs during a transaction that the caller holds."""

    def __init__(self, connection: apsw.Connection) -> None:
        """Write through this connection."""
        self._connection = connection

    def put_whole(self, write: PutBlob) -> None:
        """Store a whole blob; what arrived of it before gives way."""
        row = self._row(write.blob)
        if row is not None:
            if row.missing == 0:
                return
            self._erase(row.number)
        size = len(write.content)
        count = chunk_count(size)
        number = self._insert(write.blob, size, missing=0)
        pieces = (
            [write.content]
            if count == 1
            else [write.content[at : at + CHUNK_BYTES] for at in range(0, size, CHUNK_BYTES)]
        )
        # The only chunk of a blob has the blob's own hash, which need not be computed again.
        hashes = [bytes(write.blob)] if count == 1 else [blake3(each).digest() for each in pieces]
        self._connection.executemany(
            "INSERT INTO chunks (place, hash, content) VALUES (?, ?, ?)",
            [
                (chunk_place(number, index), digest, piece)
                for index, (digest, piece) in enumerate(zip(hashes, pieces, strict=True))
            ],
        )

    def put_chunk(self, write: PutChunk) -> None:
        """Store one chunk. Another size than before begins anew: one of the two was a lie."""
        row = self._row(write.blob)
        if row is not None and row.missing == 0:
            return
        if row is not None and row.size != write.size:
            self._erase(row.number)
            row = None
        count = chunk_count(write.size)
        number = self._insert(write.blob, write.size, count) if row is None else row.number
        self._connection.execute(
            "INSERT INTO chunks (place, hash, content) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (chunk_place(number, write.index), blake3(write.content).digest(), write.content),
        )
        if self._connection.changes():
            self._connection.execute(
                "UPDATE blobs SET missing = missing - 1 WHERE number = ?", (number,)
            )

    def erase(self, blob: BlobHash) -> None:
        """Forget a blob, whole or partial; absent: nothing happens."""
        row = self._row(blob)
        if row is not None:
            self._erase(row.number)

    def _row(self, blob: BlobHash) -> BlobRow | None:
        rows = fetch(self._connection, _FIND, (blob,))
        return BlobRow(*rows[0]) if rows else None

    def _insert(self, blob: BlobHash, size: int, missing: int) -> int:
        self._connection.execute(
            "INSERT INTO blobs (blob, size, missing) VALUES (?, ?, ?)", (blob, size, missing)
        )
        return self._connection.last_insert_rowid()

    def _erase(self, number: int) -> None:
        self._connection.execute(
            "DELETE FROM chunks WHERE place BETWEEN ? AND ?",
            (chunk_place(number, 0), chunk_place(number + 1, 0) - 1),
        )
        self._connection.execute("DELETE FROM blobs WHERE number = ?", (number,))


class BlobReader:
    """Reads blobs through the pool."""

    def __init__(self, pool: ReaderPool) -> None:
        """Read through this pool."""
        self._pool = pool

    def held(self, blobs: Iterable[BlobHash]) -> set[BlobHash]:
        """Return which of these are whole."""
        asked = list(blobs)
        found = self._pool.rows_of_each(
            "SELECT 1 FROM blobs WHERE blob = ? AND missing = 0", [(blob,) for blob in asked]
        )
        return {blob for blob, rows in zip(asked, found, strict=True) if rows}

    def size(self, blob: BlobHash) -> int | None:
        """Return the size of a whole blob."""
        row = self._row(blob)
        return row.size if row is not None and row.missing == 0 else None

    def chunks(self, blob: BlobHash, first: int) -> Iterator[bytes]:
        """Yield a whole blob's checked chunks; see ``Store.blob_chunks``."""
        row = self._row(blob)
        if row is None or row.missing:
            message = f"Blob {short(blob)} is not archived here; ask another member for it."
            raise BlobMissingError(message)
        return self._checked_chunks(blob, row, first)

    def missing_chunks(self, blob: BlobHash, size: int) -> tuple[int, ...]:
        """Return what is not stored yet; a partial blob of another size counts as nothing."""
        row = self._row(blob)
        if row is not None and row.missing == 0:
            return ()
        held: set[int] = set()
        if row is not None and row.size == size:
            held = set(self._chunk_indexes(row))
        return tuple(index for index in range(chunk_count(size)) if index not in held)

    def verify(self, blob: BlobHash) -> bool:
        """Return whether the blob is held whole and its bytes are what its name says."""
        row = self._row(blob)
        if row is None or row.missing:
            return False
        digest = blake3()
        for index in range(chunk_count(row.size)):
            chunk = self._chunk(row, index)
            if chunk is None:
                return False
            digest.update(chunk[1])
        return digest.digest() == blob

    def _row(self, blob: BlobHash) -> BlobRow | None:
        rows = self._pool.rows(_FIND, (blob,))
        return BlobRow(*rows[0]) if rows else None

    def _chunk(self, row: BlobRow, index: int) -> tuple[bytes, bytes] | None:
        rows = self._pool.rows(
            "SELECT hash, content FROM chunks WHERE place = ?", (chunk_place(row.number, index),)
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def _chunk_indexes(self, row: BlobRow) -> list[int]:
        start = chunk_place(row.number, 0)
        rows = self._pool.rows(
            "SELECT place - ? FROM chunks WHERE place BETWEEN ? AND ?",
            (start, start, chunk_place(row.number + 1, 0) - 1),
        )
        return [index for (index,) in rows]

    def _checked_chunks(self, blob: BlobHash, row: BlobRow, first: int) -> Iterator[bytes]:
        for index in range(first, chunk_count(row.size)):
            chunk = self._chunk(row, index)
            if chunk is None:
                message = f"Blob {short(blob)} was erased while it was read."
                raise BlobMissingError(message)
            if blake3(chunk[1]).digest() != chunk[0]:
                raise corrupt_blob(blob, f"chunk {index} does not match its hash")
            yield chunk[1]


def chunk_place(number: int, index: int) -> int:
    """Return the key of a blob's chunk."""
    return number << CHUNK_BITS | index
