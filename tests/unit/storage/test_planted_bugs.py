"""Stores that are broken on purpose: the contract's checks catch each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.store import (
    PutEntries,
    Write,
)
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.memory_disk import DiskFault, MemoryDisk
from aiplatform.mesh_ide.storage.sqlite.failures import translated
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore
from tests.unit.storage.checks import (
    check_died_commit_left_nothing,
    check_first_of_two_stays,
    check_returned_commits_survive,
    check_rotten_chunk_is_named,
)
from tests.unit.storage.disks import Bench, MemoryBench, SqliteBench

T = TypeVar("T")


class ForgetfulDisk(MemoryDisk):
    """Planted: takes back nothing of a half-written commit."""

    def recover(self) -> None:
        """Leave what is torn."""


class ContradictableStore(MemoryStore):
    """Planted: forgets what stood under a dot, and so keeps contradictions."""

    def commit(self, writes: list[Write]) -> tuple[EntryRef, ...]:  # type: ignore[override]
        """Store whatever comes last."""
        for write in writes:
            if isinstance(write, PutEntries):
                for known in write.known:
                    self._all.by_dot.pop((known.ref.session, known.ref.sequence), None)
        return super().commit(writes)


class TrustingStore(MemoryStore):
    """Planted: gives chunks out unchecked."""

    def _checked_chunks(self, blob: BlobHash, indexes: range) -> Iterator[bytes]:
        for index in indexes:
            yield self._all.blobs[blob].chunks[index].content


def without_sync(directory: Path, vfs: str) -> SqliteStore:
    """Plant: a store that leaves syncing to the system's mood."""
    store = SqliteStore.open(directory, vfs=vfs)
    store._connection.pragma("synchronous", "off")
    return store


def without_full_sync(directory: Path, vfs: str) -> SqliteStore:
    """Plant: SQLite's usual setting for WAL, which syncs at checkpoints only."""
    store = SqliteStore.open(directory, vfs=vfs)
    store._connection.pragma("synchronous", "normal")
    return store


class StatementStore(SqliteStore):
    """Planted: every statement is a commit of its own."""

    def _transact(self, apply: Callable[[], T]) -> T:
        with translated(self._directory, self._connection):
            return apply()


Plant = Callable[[Path], Bench]


@pytest.mark.parametrize(
    "plant",
    [
        lambda _: MemoryBench(MemoryDisk(syncs_at_commit=False)),
        lambda folder: SqliteBench(folder, without_sync),
        lambda folder: SqliteBench(folder, without_full_sync),
    ],
    ids=["memory", "sqlite-off", "sqlite-normal"],
)
def test_a_store_that_skips_the_sync_is_caught(plant: Plant, tmp_path: Path) -> None:
    """Planted bug: the check of durability fails."""
    broken = plant(tmp_path)
    with pytest.raises((AssertionError, MeshIDEError)):
        check_returned_commits_survive(broken)
    broken.close()


def test_a_store_that_returns_half_a_commit_is_caught(tmp_path: Path) -> None:
    """Planted bug: the check of atomicity fails."""
    with pytest.raises(AssertionError):
        check_died_commit_left_nothing(MemoryBench(ForgetfulDisk()), DiskFault.TORN)
    broken = SqliteBench(tmp_path, lambda folder, vfs: StatementStore.open(folder, vfs=vfs))
    broken.layer.fault_after_syncs = 3  # within the commit: one sync for each of its statements
    with pytest.raises(AssertionError):
        check_died_commit_left_nothing(broken, DiskFault.LOST)
    broken.close()


def test_a_store_that_keeps_contradictions_is_caught() -> None:
    """Planted bug: the check of equivocation fails."""
    with pytest.raises(AssertionError):
        check_first_of_two_stays(MemoryBench(opener=ContradictableStore))


def test_a_store_that_trusts_its_disk_is_caught() -> None:
    """Planted bug: the check of rot fails."""
    with pytest.raises(pytest.fail.Exception):
        check_rotten_chunk_is_named(MemoryBench(opener=TrustingStore))
