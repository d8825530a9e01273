"""Slicing: whatever the order of arrival, what is sent can be taken in the order sent."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.merkle import leaf_hash, merkle_root, root_from_proof
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.ids import EntryId
from aiplatform.mesh_ide.ports.store import PutEntries
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.slicing import WantedRow, _dependency_order
from tests.unit.storage.making import Author, file_id, part, received

FILES = [file_id(number) for number in range(4)]


def history(chance: random.Random) -> list[PutEntries]:
    """Return batches of several sessions that build on each other."""
    authors = [Author(number) for number in range(3)]
    heads: dict[bytes, EntryRef] = {}
    batches: list[PutEntries] = []
    for _ in range(chance.randint(1, 8)):
        files = chance.sample(FILES, chance.randint(1, 4))
        drafts = [(file, (heads[file],) if file in heads else ()) for file in files]
        batch = chance.choice(authors).batch_on(*drafts)
        for known in batch.known:
            heads[known.entry.file] = known.ref
        batches.append(batch)
    return batches


def arrive(batches: list[PutEntries], chance: random.Random) -> MemoryStore:
    """Store entries one by one in a random order that has parents and chains first."""
    store = MemoryStore()
    waiting = [(batch, index) for batch in batches for index in range(len(batch.known))]
    held: set[EntryId] = set()
    while waiting:
        ready = [
            (batch, index)
            for batch, index in waiting
            if {parent.id for parent in batch.known[index].entry.parents} <= held
        ]
        batch, index = chance.choice(ready)
        waiting.remove((batch, index))
        held.add(batch.known[index].ref.id)
        store.commit([part(batch, index)])
    return store


@given(st.integers(0, 2**32))
def test_slices_have_parents_first_and_everything_once(seed: int) -> None:
    """For any history and any arrival; wholly held batches come whole."""
    chance = random.Random(seed)
    batches = history(chance)
    store = arrive(batches, chance)
    pieces = list(store.slices([(file, ()) for file in FILES]))
    seen: set[EntryId] = set()
    for piece in pieces:
        assert not piece.proofs
        assert merkle_root([leaf_hash(one) for one in piece.entries]) == piece.header.root
        for known in received(piece).known:
            assert {parent.id for parent in known.entry.parents} <= seen
            seen.add(known.ref.id)
    assert sorted(seen) == sorted(known.ref.id for batch in batches for known in batch.known)
    assert len(pieces) == len(batches)


@given(st.integers(0, 2**32))
def test_some_files_travel_with_proofs_that_hold(seed: int) -> None:
    """Wanted files only, each entry provable under its header."""
    chance = random.Random(seed)
    batches = history(chance)
    store = arrive(batches, chance)
    wanted = chance.sample(FILES, 2)
    found: set[EntryId] = set()
    for piece in store.slices([(file, ()) for file in wanted], entries_max=2):
        assert len(piece.entries) <= 2
        for place, known in enumerate(received(piece).known):
            found.add(known.ref.id)
            if piece.proofs:
                index = piece.indexes[place]
                count, proof = piece.header.count, piece.proofs[place]
                assert root_from_proof(known.ref.id, index, count, proof) == piece.header.root
    assert found == {
        known.ref.id for batch in batches for known in batch.known if known.entry.file in wanted
    }


def test_a_circle_of_batches_has_no_order() -> None:
    """Then the entries travel in the order of storing, one by one if need be."""
    rows = [WantedRow(1, 1), WantedRow(2, 2), WantedRow(3, 1)]
    groups = {1: [1, 3], 2: [2]}
    assert _dependency_order(groups, {1: {2}, 2: {1}}) is None
    assert _dependency_order(groups, {1: {2}, 2: set()}) == [2, 1]
    assert [row.number for row in rows] == [1, 2, 3]


def test_a_circle_of_batches_still_travels_parents_first() -> None:
    """Two dishonest sessions that sign around each other do not stop anybody."""
    anna, bert = Author("anna"), Author("bert")
    preview = anna.twin().batch(FILES[0])
    middle = bert.batch_on((FILES[1], (preview.known[0].ref,)))
    around = anna.batch_on((FILES[0], ()), (FILES[2], (middle.known[0].ref,)))
    assert around.known[0] == preview.known[0]
    store = MemoryStore()
    for write in (part(around, 0), middle, part(around, 1)):
        store.commit([write])
    pieces = list(store.slices([(file, ()) for file in FILES]))
    assert [(piece.header, piece.indexes) for piece in pieces] == [
        (around.slice.header, (0,)),
        (middle.slice.header, (0,)),
        (around.slice.header, (1,)),
    ]
