"""Real small disks: full and read-only. They need root; without it these tests fail."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.ports.errors import StorageFullError, StorageReadOnlyError
from aiplatform.mesh_ide.ports.store import PutBlob, PutRecord, RecordKind
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore
from tests.unit.storage.making import Author, blob_of, file_id, put_blob

PIECE_BYTES = 200_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 4 MB and unmount it in the end."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    yield place
    # Lazy: a test that failed may have left files open, but never leaves a mount.
    subprocess.run(["umount", "--lazy", place], check=True)


def stuff(path: Path) -> None:
    """Write a file until there is no room for another byte."""
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 - the way to know it is full
                return


def piece(number: int) -> PutBlob:
    """Return a blob that takes its share of a small disk."""
    return put_blob(number.to_bytes(4, "big") * (PIECE_BYTES // 4))


def fill(store: SqliteStore, author: Author) -> int:
    """Commit entries with blobs until the disk is full; return how many commits returned."""
    for number in range(100):
        counter = PutRecord(RecordKind.NODE, b"counter", b"%d" % (number + 1))
        try:
            store.commit([author.batch(file_id(number)), piece(number), counter])
        except StorageFullError:
            return number
    pytest.fail("a disk of 4 MB took 20 MB")


def assert_holds(store: SqliteStore, count: int) -> None:
    """Check that exactly ``count`` commits are there, each whole."""
    assert store.record(RecordKind.NODE, b"counter") == b"%d" % count
    for number in range(count + 1):
        is_there = number < count
        assert len(list(store.entries_of(file_id(number)))) == is_there
        assert store.verify_blob(piece(number).blob) == is_there
    assert store.check_integrity() == ()


def test_a_full_disk_refuses_a_commit_and_loses_none(disk: Path) -> None:
    """What returned is there, what raised is not; with room again, it goes on."""
    filler = disk / "filler"
    filler.write_bytes(bytes(1_000_000))
    state = disk / "state"
    store, author = SqliteStore.open(state), Author("a")
    count = fill(store, author)
    assert count >= 3
    assert_holds(store, count)
    with pytest.raises(StorageFullError, match=f"{state} is full.*nothing of this change"):
        store.commit([piece(count), piece(count + 1), piece(count + 2)])
    filler.unlink()
    assert store.commit([piece(count)]) == ()
    store.erase_blob(piece(count).blob)
    assert_holds(store, count)
    store.close()
    store = SqliteStore.open(state)
    assert_holds(store, count)
    store.close()


def test_a_store_that_filled_its_disk_opens_again_and_is_read(disk: Path) -> None:
    """What was committed is in the log, which stays where it is until there is room."""
    store = SqliteStore.open(disk / "state")
    count = fill(store, Author("a"))
    store.close()
    stuff(disk / "filler")
    store = SqliteStore.open(disk / "state")
    assert_holds(store, count)
    with pytest.raises(StorageFullError):
        store.commit([piece(count)])
    store.close()
    (disk / "filler").unlink()
    store = SqliteStore.open(disk / "state")
    assert_holds(store, count)
    store.close()


def test_opening_on_a_disk_that_others_filled_says_so_and_harms_nothing(disk: Path) -> None:
    """SQLite needs 32 KB for the index of its log; with room again, everything is there."""
    store = SqliteStore.open(disk / "state")
    store.commit([piece(0)])
    store.close()
    stuff(disk / "filler")
    with pytest.raises(StorageFullError, match=str(disk / "state")):
        SqliteStore.open(disk / "state")
    (disk / "filler").unlink()
    store = SqliteStore.open(disk / "state")
    assert store.verify_blob(piece(0).blob)
    store.close()


def test_a_new_store_on_a_full_disk_says_so(disk: Path) -> None:
    """And is opened once there is room."""
    filler = disk / "filler"
    stuff(filler)
    with pytest.raises(StorageFullError, match=str(disk / "state")):
        SqliteStore.open(disk / "state")
    filler.unlink()
    SqliteStore.open(disk / "state").close()


def test_a_read_only_disk_says_so_and_keeps_everything(disk: Path) -> None:
    """An existing state and a new one; writable again, all is there."""
    store = SqliteStore.open(disk / "state")
    store.commit([put_blob(b"content")])
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for name in ("state", "new"):
        with pytest.raises(StorageReadOnlyError, match=f"{disk / name} cannot be written"):
            SqliteStore.open(disk / name)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    store = SqliteStore.open(disk / "state")
    assert store.verify_blob(blob_of(b"content"))
    store.close()
