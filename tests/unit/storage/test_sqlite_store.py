"""The SQLite store beyond the port: schema versions, the lock, connections, a damaged file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.ports.errors import NewerStateError, StorageReadOnlyError
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind
from aiplatform.mesh_ide.storage.errors import (
    CorruptStateError,
    ForeignStateError,
    StateInUseError,
)
from aiplatform.mesh_ide.storage.sqlite.connections import DATABASE_NAME, fetch
from aiplatform.mesh_ide.storage.sqlite.schema import APPLICATION_ID, MIGRATIONS
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore
from tests.unit.storage.disks import SqliteBench
from tests.unit.storage.making import Author, blob_of, digest, file_id, put_blob

FROZEN_VERSION_1 = """
CREATE TABLE sessions (number INTEGER PRIMARY KEY, session BLOB NOT NULL UNIQUE) STRICT;
CREATE TABLE batches (number INTEGER PRIMARY KEY, session INTEGER NOT NULL,
    first_sequence INTEGER NOT NULL, count INTEGER NOT NULL, root BLOB NOT NULL,
    signature BLOB NOT NULL) STRICT;
CREATE INDEX batches_by_start ON batches (session, first_sequence);
CREATE TABLE entries (number INTEGER PRIMARY KEY, session INTEGER NOT NULL,
    sequence INTEGER NOT NULL, batch INTEGER NOT NULL, file BLOB NOT NULL, id BLOB NOT NULL,
    proof BLOB, encoded BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX entries_by_dot ON entries (session, sequence);
CREATE INDEX entries_by_file ON entries (file);
CREATE INDEX entries_by_id ON entries (substr(id, 1, 8));
CREATE TABLE records (kind INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID;
CREATE TABLE blobs (number INTEGER PRIMARY KEY, blob BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    missing INTEGER NOT NULL) STRICT;
CREATE TABLE chunks (place INTEGER PRIMARY KEY, hash BLOB NOT NULL, content BLOB NOT NULL) STRICT;
"""
"""Version 1 as it was released. This copy is never edited: it stands for old state directories."""


def build_version_1(directory: Path) -> Author:
    """Write a state directory as the first release did, with one of everything in it."""
    author = Author("old")
    batch = author.batch(file_id(1), file_id(2))
    header = batch.slice.header
    directory.mkdir()
    database = apsw.Connection(str(directory / DATABASE_NAME))
    database.execute(FROZEN_VERSION_1)
    database.pragma("application_id", APPLICATION_ID)
    database.pragma("user_version", 1)
    database.execute("INSERT INTO sessions VALUES (1, ?)", (author.session,))
    database.execute(
        "INSERT INTO batches VALUES (1, 1, 1, 2, ?, ?)", (header.root, header.signature)
    )
    for known in batch.known:
        database.execute(
            "INSERT INTO entries VALUES (NULL, 1, ?, 1, ?, ?, NULL, ?)",
            (known.ref.sequence, known.entry.file, known.ref.id, known.encoded),
        )
    database.execute("INSERT INTO records VALUES (1, ?, ?)", (b"name", b"old"))
    blob = blob_of(b"content")
    database.execute("INSERT INTO blobs VALUES (1, ?, 7, 0)", (blob,))
    database.execute("INSERT INTO chunks VALUES (?, ?, ?)", (1 << 24, blob, b"content"))
    database.close()
    return author


def test_a_state_directory_of_version_1_opens_with_all_its_content(tmp_path: Path) -> None:
    """What the first release wrote is read by this one, and goes on from there."""
    author = build_version_1(tmp_path / "state")
    store = SqliteStore.open(tmp_path / "state")
    expected = Author("old").batch(file_id(1), file_id(2))
    assert list(store.slices([(file_id(1), ()), (file_id(2), ())])) == [expected.slice]
    assert store.record(RecordKind.NODE, b"name") == b"old"
    assert list(store.blob_chunks(blob_of(b"content"))) == [b"content"]
    assert store.commit([author.batch(file_id(1))]) == ()
    assert len(list(store.entries_of(file_id(1)))) == 2
    store.close()
    database = apsw.Connection(str(tmp_path / "state" / DATABASE_NAME))
    assert database.pragma("user_version") == len(MIGRATIONS)
    database.close()


def test_migrations_run_in_order_each_once(tmp_path: Path) -> None:
    """From whatever version, only the missing steps."""
    build_version_1(tmp_path / "state")
    second = "CREATE TABLE steps (name TEXT) STRICT; INSERT INTO steps VALUES ('second')"
    third = "INSERT INTO steps VALUES ('third')"
    first = MIGRATIONS[:1]
    SqliteStore.open(tmp_path / "state", migrations=(*first, second)).close()
    SqliteStore.open(tmp_path / "state", migrations=(*first, second, third)).close()
    store = SqliteStore.open(tmp_path / "state", migrations=(*first, second, third))
    assert fetch(store._connection, "SELECT name FROM steps") == [("second",), ("third",)]
    assert store.record(RecordKind.NODE, b"name") == b"old"
    store.close()


def test_a_migration_that_fails_leaves_the_older_version_whole(tmp_path: Path) -> None:
    """The step is one transaction: the old program could still open it."""
    build_version_1(tmp_path / "state")
    broken = "CREATE TABLE half (name TEXT); INSERT INTO nowhere VALUES (1)"
    with pytest.raises(apsw.SQLError):
        SqliteStore.open(tmp_path / "state", migrations=(*MIGRATIONS[:1], broken))
    store = SqliteStore.open(tmp_path / "state", migrations=MIGRATIONS[:1])
    assert store.record(RecordKind.NODE, b"name") == b"old"
    assert fetch(store._connection, "SELECT 1 FROM sqlite_schema WHERE name = 'half'") == []
    store.close()


def test_a_newer_state_directory_is_refused_unchanged(tmp_path: Path) -> None:
    """The error names both versions; the newer program still finds its own."""
    newer = (*MIGRATIONS, "CREATE TABLE future (name TEXT) STRICT")
    SqliteStore.open(tmp_path, migrations=newer).close()
    with pytest.raises(
        NewerStateError, match=rf"version {len(newer)};.* up to {len(MIGRATIONS)}\."
    ):
        SqliteStore.open(tmp_path)
    SqliteStore.open(tmp_path, migrations=newer).close()


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """With or without a mark of its own."""
    for number, mark in enumerate((0, 77)):
        directory = tmp_path / str(number)
        directory.mkdir()
        database = apsw.Connection(str(directory / DATABASE_NAME))
        database.execute("CREATE TABLE theirs (x)")
        database.pragma("application_id", mark)
        database.close()
        with pytest.raises(ForeignStateError, match="another program"):
            SqliteStore.open(directory)


def test_a_damaged_database_says_what_to_do(tmp_path: Path) -> None:
    """Garbage instead of a database, and garbage within one."""
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / DATABASE_NAME).write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptStateError, match="join again"):
        SqliteStore.open(tmp_path / "garbage")
    state = tmp_path / "state"
    store = SqliteStore.open(state)
    store.commit([PutRecord(RecordKind.FILE, digest(n), bytes(200)) for n in range(2000)])
    store.close()
    database = state / DATABASE_NAME
    content = bytearray(database.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20_000] = b"\xff" * 20_000
    database.write_bytes(bytes(content))
    store = SqliteStore.open(state)
    with pytest.raises(CorruptStateError, match="damaged"):
        list(store.records(RecordKind.FILE))
    assert store.check_integrity() != ()
    store.close()


def test_another_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    """By its number; and the directory is free as soon as that process is dead."""
    program = (
        "import sys, pathlib\n"
        "from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore\n"
        "store = SqliteStore.open(pathlib.Path(sys.argv[1]))\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StateInUseError, match=f"in use by process {holder.pid}"):
            SqliteStore.open(tmp_path)
        holder.kill()
    SqliteStore.open(tmp_path).close()


def test_a_failed_opening_lets_go_of_the_directory(tmp_path: Path) -> None:
    """An error does not need a restart to be mended."""
    (tmp_path / DATABASE_NAME).write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptStateError):
        SqliteStore.open(tmp_path)
    (tmp_path / DATABASE_NAME).unlink()
    SqliteStore.open(tmp_path).close()


def test_a_path_that_is_no_directory_is_an_error_of_ours(tmp_path: Path) -> None:
    """With the path in it."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageReadOnlyError, match="file"):
        SqliteStore.open(tmp_path / "file")


def test_the_store_is_private_to_its_user(tmp_path: Path) -> None:
    """The directory that it creates is closed to others."""
    SqliteStore.open(tmp_path / "deep" / "state").close()
    assert os.stat(tmp_path / "deep" / "state").st_mode & 0o777 == 0o700  # noqa: PTH116


def test_iterators_hold_no_read_transaction(tmp_path: Path) -> None:
    """A forgotten iterator does not keep the log from being moved into the database."""
    store = SqliteStore.open(tmp_path)
    store.commit([PutRecord(RecordKind.FILE, digest(n), bytes(100)) for n in range(1000)])
    author = Author("a")
    store.commit([author.batch(*[file_id(1)] * 250)])
    records, entries = store.records(RecordKind.FILE), store.entries_of(file_id(1))
    next(records)
    next(entries)
    ((busy, in_log, moved),) = fetch(store._connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert (busy, in_log, moved) == (0, 0, 0)
    assert len(list(records)) == 999
    assert len(list(entries)) == 249
    store.close()


def test_readers_are_few_however_many_threads_read(tmp_path: Path) -> None:
    """Their connections are lent, not owned."""
    store = SqliteStore.open(tmp_path)
    store.commit([put_blob(b"content")])
    wrong: list[object] = []

    def read() -> None:
        for _ in range(50):
            try:
                found = list(store.blob_chunks(blob_of(b"content")))
            except MeshIDEError as error:
                wrong.append(error)
                return
            if found != [b"content"]:
                wrong.append(found)

    threads = [threading.Thread(target=read) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert wrong == []
    assert len(store._pool._idle) <= 4
    store.close()


def test_remembered_sessions_survive_a_rolled_back_commit(tmp_path: Path) -> None:
    """A session first met in a commit that failed is not known by a number that never was."""
    store = SqliteStore.open(tmp_path)
    store._connection.execute(
        "CREATE TRIGGER no BEFORE INSERT ON chunks BEGIN SELECT"
        " RAISE(ABORT, 'refused by the test'); END"
    )
    anna, bert = Author("anna").batch(file_id(1)), Author("bert").batch(file_id(2))
    with pytest.raises(apsw.ConstraintError):
        store.commit([anna, put_blob(b"x")])
    assert store.commit([bert]) == ()
    assert store.commit([anna]) == ()
    assert list(store.slices([(file_id(1), ()), (file_id(2), ())])) == [bert.slice, anna.slice]
    store.close()


def test_a_failed_sync_fails_its_commit_alone(tmp_path: Path) -> None:
    """The process goes on: nothing of the commit is seen, and the next one is durable."""
    bench = SqliteBench(tmp_path)
    bench.store.commit([PutRecord(RecordKind.NODE, b"counter", b"1")])
    bench.layer.fails_next_sync = True
    with pytest.raises(StorageReadOnlyError, match="failed in a sync"):
        bench.store.commit([PutRecord(RecordKind.NODE, b"counter", b"2"), put_blob(b"x")])
    assert bench.store.record(RecordKind.NODE, b"counter") == b"1"
    bench.store.commit([PutRecord(RecordKind.NODE, b"name", b"anna")])
    after = bench.cut_power()
    assert after.record(RecordKind.NODE, b"counter") == b"1"
    assert after.record(RecordKind.NODE, b"name") == b"anna"
    assert after.held_blobs([blob_of(b"x")]) == set()
    bench.close()


def test_ten_thousand_entries_stay_small_on_disk(tmp_path: Path) -> None:
    """At most 1.8 times their own bytes, indexes and batch headers included."""
    store, author = SqliteStore.open(tmp_path), Author("a")
    own_bytes = 0
    for first in range(0, 10_000, 250):
        batch = author.batch(*(file_id(first + number) for number in range(250)))
        own_bytes += sum(len(encoded) for encoded in batch.slice.entries)
        store.commit([batch])
    store.close()
    assert (tmp_path / DATABASE_NAME).stat().st_size <= 1.8 * own_bytes
