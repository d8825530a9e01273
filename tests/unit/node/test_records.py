"""Small facts about a node come back from its store."""

from __future__ import annotations

from msgspec import msgpack
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.state import Merged
from aiplatform.mesh_ide.mesh.outputs import KeepRoster
from aiplatform.mesh_ide.model.ids import EntryId
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.ports.store import RecordKind
from aiplatform.mesh_ide.storage.memory import MemoryStore
from tests.unit.documents.authors import Author, blob, created, file
from tests.unit.identity.boards import founded, node_of
from tests.unit.mesh.members import certificate_of, proof_of


def test_a_fresh_node_knows_nothing() -> None:
    """Not joined, no port, nobody's address."""
    store = MemoryStore()
    assert not records.has_joined(store)
    assert (records.port(store), records.addresses(store)) == (0, {})
    assert records.certificates(store) == ()
    assert records.refused_entries(store) == frozenset()


def test_facts_come_back_beside_each_other() -> None:
    """All of one kind of record, told apart by their keys."""
    store = MemoryStore()
    entry = EntryId(b"e" * 32)
    store.commit(
        (
            records.joined_record(),
            records.port_record(65_535),
            records.addresses_record(node_of("a"), ("a:1", "a:2")),
            records.addresses_record(node_of("b"), ()),
            records.refused_record(entry),
            records.certificate_record(certificate_of("a")),
            records.equivocation_record(proof_of("a")),
        )
    )
    assert records.has_joined(store)
    assert records.port(store) == 65_535
    assert records.addresses(store) == {node_of("a"): ("a:1", "a:2"), node_of("b"): ()}
    assert records.refused_entries(store) == {entry}
    assert records.certificates(store) == (certificate_of("a"),)
    assert records.equivocations(store) == (proof_of("a"),)


def test_roster_records_are_kept_and_erased() -> None:
    """By their hash; what was refused goes."""
    store = MemoryStore()
    kept = tuple(founded("a").records)
    store.commit(records.roster_writes(KeepRoster(kept, ())))
    found = dict(store.records(RecordKind.ROSTER))
    assert found == {record.id: record.encoded for record in kept}
    store.commit(records.roster_writes(KeepRoster((), (kept[0].id,))))
    assert [key for key, _ in store.records(RecordKind.ROSTER)] == [
        record.id for record in kept[1:]
    ]


def test_the_contents_that_files_name_are_heads_roots_and_merges() -> None:
    """What nobody names may go from the archive one day; a delete names only its root."""
    anna, genesis = created()
    ben = Author("ben")
    ben.hear(genesis)
    anna.say(anna.change(file(1), "two"))
    ben.say(ben.change(file(1), "drei"))
    ben.tell(anna)
    state = anna.state(file(1))
    merged = replace(state, merged=Merged(state.refs(), blob("both"), 4))
    anna.say(anna.genesis(file(2), "gone"))
    anna.say(anna.delete(file(2)))
    files = [msgpack.encode(one) for one in (merged, anna.state(file(2)))]
    assert records.named_blobs(files) == set(map(blob, ("one", "two", "drei", "both", "gone")))
