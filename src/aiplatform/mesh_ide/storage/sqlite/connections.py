"""Connections: how they are set up, and the pool that reads come from."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import apsw

from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.storage.errors import StoreClosedError
from aiplatform.mesh_ide.storage.sqlite.failures import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DATABASE_NAME: Final = "mesh.db"

Row = tuple[Any, ...]
"""A row as SQLite gives it: the one place where columns have no types yet."""

_BUSY_TIMEOUT_MS: Final = 5000
"""Nobody else has the database open (see ``lock``), so this only bounds a backup program."""

_WRITER_CACHE_KIB: Final = 4096
"""The indexes of 10,000 entries are 0.6 MB: their pages stay in, and little else does."""

_READER_CACHE_KIB: Final = 1024
_READERS_MAX: Final = 4
"""Reads last microseconds; more connections than that would only cost their caches."""

_LOG_BYTES_MAX: Final = 16 * 1024 * 1024
"""What the write-ahead log is cut back to after a burst of blobs."""

PAGE_ROWS_MAX: Final = 256
PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""One page of an iterator: bounds what a slow reader holds in memory."""


def open_writer(path: Path, vfs: str | None) -> apsw.Connection:
    """Open the one connection that writes, durable at every commit."""
    connection = _open(path, vfs, _WRITER_CACHE_KIB)
    connection.pragma("journal_mode", "wal")
    # FULL syncs the log at each commit. NORMAL, the usual advice for WAL, may lose the last
    # commits at a power cut (https://sqlite.org/pragma.html#pragma_synchronous).
    connection.pragma("synchronous", "full")
    connection.pragma("journal_size_limit", _LOG_BYTES_MAX)
    return connection


def _open(path: Path, vfs: str | None, cache_kib: int) -> apsw.Connection:
    connection = apsw.Connection(str(path), vfs=vfs)
    connection.set_busy_timeout(_BUSY_TIMEOUT_MS)
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("mmap_size", 0)
    connection.pragma("temp_store", "memory")
    connection.pragma("trusted_schema", "off")
    connection.pragma("cell_size_check", "on")
    return connection


def fetch(connection: apsw.Connection, query: str, bindings: tuple[object, ...] = ()) -> list[Row]:
    """Return all rows of a query."""
    return connection.execute(query, bindings).fetchall()


class ReaderPool:
    """At most four read connections, lent for one query at a time to whatever thread asks.

    Invariants:
        1. A query's rows are all taken before its connection goes back, so that no read
           transaction outlives a call.
        2. A query begins after it was asked for: it sees every commit that returned before.
    """

    def __init__(self, directory: Path, vfs: str | None) -> None:
        """Prepare to open connections to the database in ``directory`` when they are needed."""
        self._directory = directory
        self._vfs = vfs
        self._free_slots = threading.BoundedSemaphore(_READERS_MAX)
        self._guard = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._is_closed = False

    def rows(self, query: str, bindings: tuple[object, ...] = ()) -> list[Row]:
        """Return all rows of a query that has few."""
        with self._lent() as connection:
            return fetch(connection, query, bindings)

    def rows_of_each(self, query: str, bindings: Iterable[tuple[object, ...]]) -> list[list[Row]]:
        """Return the rows of one query for each of many bindings."""
        with self._lent() as connection:
            return [fetch(connection, query, each) for each in bindings]

    def page(self, query: str, bindings: tuple[object, ...], size_column: int) -> list[Row]:
        """Return the first rows of a query, ending at the bounds of a page.

        Args:
            query: what to ask, ordered.
            bindings: its values.
            size_column: the column whose length counts.
        """
        page: list[Row] = []
        size = 0
        with self._lent() as connection:
            cursor = connection.cursor()
            for row in cursor.execute(query, bindings):
                page.append(row)
                size += len(row[size_column])
                if len(page) >= PAGE_ROWS_MAX or size >= PAGE_BYTES_MAX:
                    break
            cursor.close(force=True)
        return page

    def close(self) -> None:
        """Close what is idle now and what is lent as soon as it comes back; idempotent."""
        with self._guard:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _lent(self) -> Iterator[apsw.Connection]:
        if not self._free_slots.acquire(timeout=_BUSY_TIMEOUT_MS / 1000):
            message = f"Too many reads of {self._directory} at once; try again."
            raise UnavailableError(message)
        try:
            connection = self._take()
            try:
                with translated(self._directory, connection):
                    yield connection
            finally:
                self._give_back(connection)
        finally:
            self._free_slots.release()

    def _take(self) -> apsw.Connection:
        with self._guard:
            if self._is_closed:
                message = f"The store in {self._directory} is closed; open it again."
                raise StoreClosedError(message)
            if self._idle:
                return self._idle.pop()
        with translated(self._directory):
            connection = _open(self._directory / DATABASE_NAME, self._vfs, _READER_CACHE_KIB)
            connection.pragma("query_only", "on")
        return connection

    def _give_back(self, connection: apsw.Connection) -> None:
        with self._guard:
            if not self._is_closed:
                self._idle.append(connection)
                return
        connection.close()
