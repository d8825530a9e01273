"""Claims about kept snapshots: their records, and what they pin."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.documents.manifest import BadManifestError, SnapshotId, decode, encode
from aiplatform.mesh_ide.documents.snapshots import (
    Pins,
    SnapshotFacts,
    dropped_records,
    kept_facts,
    snapshot_records,
)
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind, Store
from aiplatform.mesh_ide.storage.memory import MemoryStore
from tests.unit.documents.manifest_kit import blob_of, created, manifest_of

BOTH = manifest_of(created("a", b"shared"), created("b", b"second"))
ONE = manifest_of(created("c", b"shared"))


def facts(snapshot: SnapshotId, *names: str) -> SnapshotFacts:
    """Return facts of a snapshot."""
    return SnapshotFacts(snapshot, names, 17, "ann", 2, 12, 0)


@pytest.fixture
def store() -> Store:
    """Give a store that keeps two snapshots."""
    made = MemoryStore()
    made.commit(snapshot_records(facts(BOTH.id, "first"), encode(BOTH)))
    made.commit(snapshot_records(facts(ONE.id), encode(ONE)))
    return made


def test_what_is_kept_comes_back(store: Store) -> None:
    """Facts and manifest, apart."""
    kept = kept_facts(store.records(RecordKind.NODE))
    assert kept == {BOTH.id: facts(BOTH.id, "first"), ONE.id: facts(ONE.id)}
    value = store.record(RecordKind.SNAPSHOT, BOTH.id)
    assert value is not None
    assert decode(value, BOTH.id) == BOTH


def test_other_facts_of_the_node_are_no_snapshots(store: Store) -> None:
    """The records are shared with other facts."""
    store.commit((PutRecord(RecordKind.NODE, b"port", b"\x1c\x8f"),))
    assert len(kept_facts(store.records(RecordKind.NODE))) == 2


def test_a_dropped_snapshot_leaves_nothing(store: Store) -> None:
    """Neither facts nor manifest."""
    store.commit(dropped_records(BOTH.id))
    assert list(kept_facts(store.records(RecordKind.NODE))) == [ONE.id]
    assert [key for key, _ in store.records(RecordKind.SNAPSHOT)] == [ONE.id]


def test_damaged_facts_are_told_and_hide_nothing_else(store: Store) -> None:
    """Garbage, or facts of another snapshot."""
    wrong = snapshot_records(facts(ONE.id), b"")[1].value
    for value in (b"\xff", wrong):
        store.commit((PutRecord(RecordKind.NODE, b"snapshot:" + BOTH.id, value),))
        kept = kept_facts(store.records(RecordKind.NODE))
        assert kept == {BOTH.id: None, ONE.id: facts(ONE.id)}


def test_contents_of_kept_snapshots_are_pinned_until_the_last_is_dropped() -> None:
    """Two snapshots may name one content."""
    pins = Pins()
    pins.hold(BOTH)
    pins.hold(ONE)
    pins.release(BOTH)
    assert pins.pinned(blob_of(b"shared"))
    assert not pins.pinned(blob_of(b"second"))
    pins.release(ONE)
    assert not pins.pinned(blob_of(b"shared"))
    assert pins._counts == {}


def test_holding_twice_is_holding_once() -> None:
    """A snapshot pins once, however often it was asked for."""
    pins = Pins()
    pins.hold(ONE)
    pins.hold(ONE)
    pins.release(ONE)
    pins.release(ONE)
    assert not pins.holds(ONE.id)
    assert not pins.pinned(blob_of(b"shared"))


def test_pins_are_known_again_after_a_start(store: Store) -> None:
    """The records alone say what is pinned; what is held already is not read again."""
    pins = Pins()
    pins.hold(ONE)
    pins.load(store.records(RecordKind.SNAPSHOT))
    assert pins.pinned(blob_of(b"second"))
    pins.release(ONE)
    assert pins.pinned(blob_of(b"shared")), "the other one names it too"
    pins.release(BOTH)
    assert pins._counts == {}


def test_a_damaged_manifest_keeps_everything_from_being_freed(store: Store) -> None:
    """Nobody knows what it pins: the question is answered with an error, never with no."""
    store.commit((PutRecord(RecordKind.SNAPSHOT, BOTH.id, encode(ONE)),))
    with pytest.raises(BadManifestError):
        Pins().load(store.records(RecordKind.SNAPSHOT))
