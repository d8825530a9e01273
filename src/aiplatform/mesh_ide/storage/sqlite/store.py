"""The store on a real disk."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING, TypeVar

import apsw

from aiplatform.mesh_ide.storage.errors import CorruptStateError, StoreClosedError
from aiplatform.mesh_ide.storage.intake import check_write
from aiplatform.mesh_ide.storage.slicing import slices_from
from aiplatform.mesh_ide.storage.sqlite.blobs import BlobReader, BlobTable
from aiplatform.mesh_ide.storage.sqlite.connections import DATABASE_NAME, ReaderPool, open_writer
from aiplatform.mesh_ide.storage.sqlite.failures import storage_failure, translated
from aiplatform.mesh_ide.storage.sqlite.lock import DirectoryLock
from aiplatform.mesh_ide.storage.sqlite.reader import EntryReader
from aiplatform.mesh_ide.storage.sqlite.schema import MIGRATIONS, upgrade
from aiplatform.mesh_ide.storage.sqlite.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef, FileVector, KnownEntry
    from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId, SessionId
    from aiplatform.mesh_ide.ports.store import RecordKind, Write

T = TypeVar("T")


class SqliteStore:
    """A ``Store`` in a state directory; see ``ports.store.Store`` for the promises.

    A commit that returned survives ``kill -9`` and, as far as the disk keeps its word about
    syncing, a power cut. A commit that raised is rolled back. One case is weaker: when the disk
    fails in the very sync of a commit and the process then dies before its next commit, the
    failed commit may stand whole after reopening (never half of it).

    Invariants:
        1. While open, ``_lock`` is held: no other store has this directory.
        2. Only ``_transact`` writes, under ``_guard``, all or nothing.
    """

    def __init__(
        self,
        directory: Path,
        lock: DirectoryLock,
        connection: apsw.Connection,
        pool: ReaderPool,
    ) -> None:
        """Join the parts; use ``open``."""
        self._directory = directory
        self._lock = lock
        self._connection = connection
        self._pool = pool
        self._guard = threading.Lock()
        self._is_open = True
        self._writer = Writer(connection)
        self._blobs = BlobTable(connection)
        self._entries = EntryReader(pool)
        self._archive = BlobReader(pool)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        migrations: Sequence[str] = MIGRATIONS,
        vfs: str | None = None,
    ) -> SqliteStore:
        """Open the store of a state directory, creating or upgrading it as needed.

        Args:
            directory: where; created (mode 0700) if absent.
            migrations: the schema's steps; others than the program's own only in tests.
            vfs: SQLite's file layer by name, for fault injection.

        Raises:
            StateInUseError: another store has it open (says which process).
            NewerStateError: a newer program wrote it.
            ForeignStateError: another program wrote it.
            StorageFullError: the disk is full.
            StorageReadOnlyError: the disk cannot be written.
            CorruptStateError: the database is damaged.
        """
        lock = DirectoryLock(directory)
        try:
            with translated(directory):
                connection = open_writer(directory / DATABASE_NAME, vfs)
            try:
                with translated(directory, connection):
                    upgrade(connection, directory, migrations)
                _sync_directory(directory)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            lock.release()
            raise
        return cls(directory, lock, connection, ReaderPool(directory, vfs))

    def commit(self, writes: Sequence[Write]) -> tuple[EntryRef, ...]:
        """See ``Store.commit``. Safe from several threads, one at a time.

        Raises:
            BadWriteError: a write contradicts itself; nothing was stored.
        """
        for write in writes:
            check_write(write)
        return self._transact(lambda: self._writer.apply(writes))

    def entries_of(self, file: FileId, after: FileVector = ()) -> Iterator[KnownEntry]:
        """See ``Store.entries_of``."""
        return self._entries.entries_of(file, after)

    def entry(self, entry: EntryId) -> KnownEntry | None:
        """See ``Store.entry``."""
        return self._entries.entry(entry)

    def file_of(self, entry: EntryId) -> FileId | None:
        """Return the file of a stored entry, also of one whose bytes rotted."""
        return self._entries.file_of(entry)

    def slices(
        self, wanted: Sequence[tuple[FileId, FileVector]], entries_max: int = 256
    ) -> Iterator[BatchSlice]:
        """See ``Store.slices``."""
        return slices_from(self._entries, wanted, entries_max)

    def dots(self, dots: Iterable[tuple[SessionId, int]]) -> dict[tuple[SessionId, int], EntryId]:
        """See ``Store.dots``."""
        return self._entries.dots(dots)

    def record(self, kind: RecordKind, key: bytes) -> bytes | None:
        """See ``Store.record``."""
        rows = self._pool.rows(
            "SELECT value FROM records WHERE kind = ? AND key = ?", (int(kind), key)
        )
        return rows[0][0] if rows else None

    def records(self, kind: RecordKind) -> Iterator[tuple[bytes, bytes]]:
        """See ``Store.records``; a commit during the iteration may be seen in part of it."""
        query = "SELECT key, value FROM records WHERE kind = ? ORDER BY key"
        page = self._pool.page(query, (int(kind),), size_column=1)
        query = "SELECT key, value FROM records WHERE kind = ? AND key > ? ORDER BY key"
        while page:
            yield from page
            page = self._pool.page(query, (int(kind), page[-1][0]), size_column=1)

    def held_blobs(self, blobs: Iterable[BlobHash]) -> set[BlobHash]:
        """See ``Store.held_blobs``."""
        return self._archive.held(blobs)

    def blob_size(self, blob: BlobHash) -> int | None:
        """See ``Store.blob_size``."""
        return self._archive.size(blob)

    def blob_chunks(self, blob: BlobHash, first: int = 0) -> Iterator[bytes]:
        """See ``Store.blob_chunks``."""
        return self._archive.chunks(blob, first)

    def missing_chunks(self, blob: BlobHash, size: int) -> tuple[int, ...]:
        """See ``Store.missing_chunks``."""
        return self._archive.missing_chunks(blob, size)

    def verify_blob(self, blob: BlobHash) -> bool:
        """Return whether the blob is held whole and its bytes are what its name says."""
        return self._archive.verify(blob)

    def erase_blob(self, blob: BlobHash) -> None:
        """See ``Store.erase_blob``."""
        self._transact(lambda: self._blobs.erase(blob))

    def check_integrity(self) -> tuple[str, ...]:
        """Return what SQLite finds wrong with the database; cost: reads all of it.

        Source: https://sqlite.org/pragma.html#pragma_integrity_check
        """
        try:
            rows = self._pool.rows("PRAGMA integrity_check")
        except CorruptStateError as error:
            # Damage where the check itself has to read.
            return (str(error),)
        return tuple(str(row[0]) for row in rows if row[0] != "ok")

    def close(self) -> None:
        """Release the files; idempotent. Durability does not depend on it."""
        with self._guard:
            if not self._is_open:
                return
            self._is_open = False
            self._pool.close()
            # Closing moves the log into the database; on a full disk it stays a log.
            with contextlib.suppress(apsw.Error):
                self._connection.close()
            self._lock.release()

    def _transact(self, apply: Callable[[], T]) -> T:
        with self._guard:
            if not self._is_open:
                message = f"The store in {self._directory} is closed; open it again."
                raise StoreClosedError(message)
            with translated(self._directory, self._connection):
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                    result = apply()
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise
            return result

    def _roll_back(self) -> None:
        self._writer.forget()
        # Some failures end the transaction by themselves (https://sqlite.org/lang_transaction.html).
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _sync_directory(directory: Path) -> None:
    """Make the names of new files durable: SQLite syncs what is in them (fsync(2))."""
    for folder in (directory, directory.parent):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            # A folder that we may pass but not list: its owner made it long before.
            continue
        try:
            os.fsync(descriptor)
        except OSError as error:
            # Some file systems cannot sync a folder and say EINVAL: nothing more can be done.
            if error.errno != errno.EINVAL:
                raise storage_failure(directory, error) from error
        finally:
            os.close(descriptor)
