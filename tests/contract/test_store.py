"""What every store promises of commits and records: both adapters run every test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.model.entries import BatchSlice
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.errors import (
    StorageFullError,
    StorageReadOnlyError,
)
from aiplatform.mesh_ide.ports.store import (
    PutBlob,
    PutChunk,
    PutEntries,
    PutRecord,
    RecordKind,
    Store,
    Write,
)
from aiplatform.mesh_ide.storage.errors import BadWriteError, StateInUseError, StoreClosedError
from aiplatform.mesh_ide.storage.memory_disk import DiskFault
from tests.unit.storage.checks import (
    LARGE,
    check_died_commit_left_nothing,
    check_returned_commits_survive,
    counter,
)
from tests.unit.storage.disks import STORES, Bench, make_bench
from tests.unit.storage.making import (
    Author,
    blob_of,
    digest,
    file_id,
    put_blob,
)


@pytest.fixture(params=STORES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Give a fresh store of each kind, on a disk that can be damaged."""
    made = make_bench(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(bench: Bench) -> Store:
    """Give the store alone."""
    return bench.store


def test_what_commit_returned_for_survives_a_power_cut(bench: Bench) -> None:
    """Only what was synced is left, and that is everything acknowledged."""
    check_returned_commits_survive(bench)


@pytest.mark.parametrize("fault", [DiskFault.LOST, DiskFault.TORN])
def test_a_commit_that_died_left_nothing(bench: Bench, fault: DiskFault) -> None:
    """Lost or torn, a commit is never half there, and can be repeated."""
    check_died_commit_left_nothing(bench, fault)


@pytest.mark.parametrize(
    ("fault", "error"),
    [(DiskFault.FULL, StorageFullError), (DiskFault.READ_ONLY, StorageReadOnlyError)],
)
def test_a_commit_that_the_disk_refused_stored_nothing(
    bench: Bench, fault: DiskFault, error: type[MeshIDEError]
) -> None:
    """The process lives on, sees nothing of the commit, and may repeat it."""
    batch = Author("a").batch(file_id(1))
    writes: list[Write] = [batch, put_blob(b"content"), counter(2)]
    bench.store.commit([counter(1)])
    bench.fail_next(fault)
    with pytest.raises(error, match="nothing of this change was stored"):
        bench.store.commit(writes)
    assert list(bench.store.entries_of(file_id(1))) == []
    assert bench.store.record(RecordKind.NODE, b"counter") == b"1"
    assert bench.store.held_blobs([blob_of(b"content")]) == set()
    assert bench.store.commit(writes) == ()
    after = bench.cut_power()
    assert list(after.entries_of(file_id(1))) == list(batch.known)


def test_a_write_that_contradicts_itself_stops_its_whole_commit(store: Store) -> None:
    """Nothing of the call is stored, whatever stood before the bad write."""
    author = Author("a")
    batch = author.batch(file_id(1), file_id(2))
    header, both = batch.slice.header, batch.slice.entries
    bad: list[Write] = [
        PutEntries(BatchSlice(header, (0,), both[:1]), batch.known[:1]),
        PutEntries(BatchSlice(header, (1, 0), both), batch.known),
        PutEntries(BatchSlice(header, (0, 1), both), batch.known[:1]),
        PutEntries(BatchSlice(header, (0, 1), both[::-1]), batch.known[::-1]),
        PutEntries(BatchSlice(header, (), ()), ()),
        PutChunk(blob_of(LARGE), len(LARGE), 4, b""),
        PutChunk(blob_of(LARGE), len(LARGE), -1, b""),
        PutChunk(blob_of(LARGE), len(LARGE), 3, b"longer"),
    ]
    for write in bad:
        with pytest.raises(BadWriteError):
            store.commit([counter(1), batch, write])
    assert store.record(RecordKind.NODE, b"counter") is None
    assert list(store.entries_of(file_id(1))) == []


def test_a_second_store_on_the_same_disk_is_refused(bench: Bench) -> None:
    """Two writers would undo each other; closing the first makes room."""
    bench.store.commit([counter(1)])
    with pytest.raises(StateInUseError):
        bench.open_again()
    bench.store.close()
    second = bench.open_again()
    assert second.record(RecordKind.NODE, b"counter") == b"1"
    second.close()


def test_a_closed_store_says_so(store: Store) -> None:
    """Closing twice is fine; using it afterwards is not."""
    store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        store.commit([counter(1)])
    with pytest.raises(StoreClosedError):
        store.record(RecordKind.NODE, b"counter")


def test_reads_from_other_threads_see_whole_commits_only(store: Store) -> None:
    """Two records that change together are never seen apart, and never go back."""
    torn: list[tuple[int, int]] = []
    is_done = threading.Event()

    def read() -> None:
        low = 0
        while not is_done.is_set():
            early = int(store.record(RecordKind.NODE, b"counter") or b"0")
            blobs = len(store.held_blobs([BlobHash(digest(n)) for n in range(1, early + 1)]))
            if blobs != early or early < low:
                torn.append((early, blobs))
            low = early

    readers = [threading.Thread(target=read) for _ in range(6)]
    for reader in readers:
        reader.start()
    for value in range(1, 60):
        store.commit([PutBlob(BlobHash(digest(value)), b"x"), counter(value)])
    is_done.set()
    for reader in readers:
        reader.join(timeout=10)
    assert torn == []


def test_records_are_put_replaced_and_erased(store: Store) -> None:
    """The last write of a key wins, also within one commit; kinds do not mix."""
    store.commit([PutRecord(RecordKind.NODE, b"name", b"old")])
    store.commit(
        [
            PutRecord(RecordKind.NODE, b"name", b"new"),
            PutRecord(RecordKind.FILE, b"name", b"other kind"),
            PutRecord(RecordKind.NODE, b"gone", b"x"),
            PutRecord(RecordKind.NODE, b"gone", None),
            PutRecord(RecordKind.NODE, b"back", None),
            PutRecord(RecordKind.NODE, b"back", b""),
        ]
    )
    assert store.record(RecordKind.NODE, b"name") == b"new"
    assert store.record(RecordKind.NODE, b"gone") is None
    assert store.record(RecordKind.NODE, b"back") == b""
    assert store.record(RecordKind.TICKET, b"name") is None
    assert list(store.records(RecordKind.FILE)) == [(b"name", b"other kind")]


def test_records_come_in_key_order(store: Store) -> None:
    """Byte order, over more than one page, large values included."""
    keys = [digest(number)[: 1 + number % 32] for number in range(700)]
    expected = {key: bytes(20_000) + key for key in keys}
    store.commit([PutRecord(RecordKind.DISK, key, expected[key]) for key in keys])
    assert list(store.records(RecordKind.DISK)) == sorted(expected.items())
    assert list(store.records(RecordKind.HOLD)) == []
