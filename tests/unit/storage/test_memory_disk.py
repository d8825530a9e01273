"""The simulator's disk: what it keeps and what it loses, to the commit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.ports.errors import StorageFullError, StorageReadOnlyError
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind
from aiplatform.mesh_ide.storage.errors import SimulatedDeathError, StoreClosedError
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.memory_disk import DiskFault, MemoryDisk
from tests.unit.storage.making import Author, blob_of, file_id, part, put_blob


def commits(store: MemoryStore, author: Author, number: int) -> Iterator[None]:
    """Make two commits that touch everything, pausing after each."""
    batch = author.batch(file_id(number % 3), file_id("shared"))
    store.commit(
        [
            batch if number % 2 else part(batch, 1),
            put_blob(b"content %d" % number),
            PutRecord(RecordKind.NODE, b"counter", str(number).encode()),
            PutRecord(RecordKind.FILE, str(number - 2).encode(), None),
            PutRecord(RecordKind.FILE, str(number).encode(), b"x"),
        ]
    )
    yield
    store.erase_blob(blob_of(b"content %d" % (number - 1)))
    yield


def image(disk: MemoryDisk) -> list[list[str]]:
    """Return all that is on a disk, for comparison."""
    kinds = {kind: sorted(table.items()) for kind, table in disk.records.items() if table}
    files = {file: numbers for file, numbers in disk.by_file.items() if numbers}
    tables = (disk.entries, disk.by_dot, disk.by_id, disk.batches, disk.batch_numbers, disk.blobs)
    return [sorted(map(repr, table.items())) for table in (*tables, kinds, files)]


@given(
    st.integers(0, 6), st.integers(0, 6), st.integers(0, 14), st.sampled_from([None, *DiskFault])
)
def test_a_crash_keeps_exactly_a_prefix_of_the_commits(
    synced: int, unsynced: int, kept: int, fault: DiskFault | None
) -> None:
    """What was synced, and of the rest as many as the disk had written by chance."""
    disk = MemoryDisk(syncs_at_commit=False)
    store, author = MemoryStore(disk), Author("a")
    for number in range(synced):
        list(commits(store, author, number))
    disk.sync()
    images = [image(disk)]
    for number in range(synced, synced + unsynced):
        images.extend(image(disk) for _ in commits(store, author, number))
    assert disk.unsynced_count == len(images) - 1
    if fault is not None:
        disk.inject(fault)
        with pytest.raises(MeshIDEError):
            next(commits(store, author, synced + unsynced))
    disk.crash(kept_commits=kept)
    assert image(disk) == images[min(kept, 2 * unsynced)]
    assert disk.unsynced_count == 0


def test_syncing_some_keeps_the_oldest() -> None:
    """The disk works in order."""
    disk = MemoryDisk(syncs_at_commit=False)
    store = MemoryStore(disk)
    for number in range(5):
        store.commit([PutRecord(RecordKind.NODE, b"counter", b"%d" % number)])
    disk.sync(commits_max=2)
    disk.crash()
    assert MemoryStore(disk).record(RecordKind.NODE, b"counter") == b"1"


def test_a_dead_store_is_of_no_more_use() -> None:
    """Its handles fail, and only a new store sees the disk."""
    disk = MemoryDisk()
    store = MemoryStore(disk)
    store.commit([PutRecord(RecordKind.NODE, b"counter", b"1")])
    disk.crash()
    with pytest.raises(StoreClosedError):
        store.record(RecordKind.NODE, b"counter")
    again = MemoryStore(disk)
    store.close()
    assert again.record(RecordKind.NODE, b"counter") == b"1"


def test_a_killed_process_keeps_what_it_had_written_before() -> None:
    """Reopening without a power cut loses only the commit that was torn."""
    disk = MemoryDisk(syncs_at_commit=False)
    store = MemoryStore(disk)
    store.commit([PutRecord(RecordKind.NODE, b"counter", b"1")])
    disk.inject(DiskFault.TORN)
    with pytest.raises(SimulatedDeathError):
        store.commit([PutRecord(RecordKind.NODE, b"counter", b"2"), put_blob(b"x")])
    assert MemoryStore(disk).record(RecordKind.NODE, b"counter") == b"1"


def test_faults_meet_the_next_commits_in_order() -> None:
    """One each, then the disk is well."""
    disk = MemoryDisk()
    store = MemoryStore(disk)
    disk.inject(DiskFault.FULL, DiskFault.READ_ONLY)
    write = PutRecord(RecordKind.NODE, b"counter", b"1")
    with pytest.raises(StorageFullError):
        store.commit([write])
    with pytest.raises(StorageReadOnlyError):
        store.commit([write])
    assert store.commit([write]) == ()
    assert store.record(RecordKind.NODE, b"counter") == b"1"


def test_an_orderly_close_syncs() -> None:
    """Nothing that was written is lost by stopping."""
    disk = MemoryDisk(syncs_at_commit=False)
    store = MemoryStore(disk)
    store.commit([PutRecord(RecordKind.NODE, b"counter", b"1")])
    store.close()
    disk.crash()
    assert MemoryStore(disk).record(RecordKind.NODE, b"counter") == b"1"
