"""What every store promises of entries and slices: both adapters run every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.ports.errors import (
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.store import (
    Store,
)
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.slicing import SLICE_BYTES_MAX
from tests.unit.storage.checks import (
    assert_parents_first,
    assert_provable,
    check_first_of_two_stays,
)
from tests.unit.storage.disks import STORES, Bench, make_bench
from tests.unit.storage.making import (
    Author,
    file_id,
    part,
    received,
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


def test_an_entry_is_found_by_file_id_and_dot(store: Store) -> None:
    """Every way of asking gives the same entry."""
    author = Author("a")
    batch = author.batch(file_id(1), file_id(2))
    assert store.commit([batch]) == ()
    assert list(store.entries_of(file_id(2))) == [batch.known[1]]
    assert store.entry(batch.known[1].ref.id) == batch.known[1]
    assert store.dots([(author.session, 2), (author.session, 3), (Author("b").session, 1)]) == {
        (author.session, 2): batch.known[1].ref.id
    }
    assert list(store.entries_of(file_id(3))) == []
    assert store.entry(Author("b").batch(file_id(1)).known[0].ref.id) is None


def test_entries_of_a_file_come_in_order_beyond_the_vector(store: Store) -> None:
    """A vector cuts each session's entries apart from the others'."""
    anna, bert = Author("anna"), Author("bert")
    first = anna.batch(file_id(1))
    second = bert.batch(file_id(1), parents=[first.known[0].ref])
    third = anna.batch(file_id(1), file_id(9), parents=[second.known[0].ref])
    store.commit([first, second])
    store.commit([third])
    assert list(store.entries_of(file_id(1))) == [first.known[0], second.known[0], third.known[0]]
    assert list(store.entries_of(file_id(1), ((anna.session, 1),))) == [
        second.known[0],
        third.known[0],
    ]
    assert list(store.entries_of(file_id(1), ((anna.session, 2), (bert.session, 1)))) == []


def test_a_long_history_comes_whole_while_it_grows(store: Store) -> None:
    """An iterator may be slow: commits go on, and nothing is skipped or repeated."""
    author = Author("a")
    for _ in range(3):
        store.commit([author.batch(*[file_id(1)] * 200)])
    entries = store.entries_of(file_id(1))
    sequences = [next(entries).ref.sequence]
    store.commit([author.batch(file_id(1))])
    sequences += [known.ref.sequence for known in entries]
    assert sequences[:600] == list(range(1, 601))


def test_storing_an_entry_twice_changes_nothing(store: Store) -> None:
    """Whole, in part, or in the same call."""
    batch = Author("a").batch(file_id(1), file_id(1))
    assert store.commit([batch, batch]) == ()
    assert store.commit([part(batch, 1)]) == ()
    assert list(store.entries_of(file_id(1))) == list(batch.known)


def test_of_two_entries_with_one_dot_the_first_stays(bench: Bench) -> None:
    """The second is refused by name; the rest of its commit, and of its batch, is stored."""
    check_first_of_two_stays(bench)


def test_a_contradiction_within_one_commit_is_refused(store: Store) -> None:
    """The order of the writes decides."""
    author = Author("a")
    liar = author.twin()
    honest, lie = author.batch(file_id(1)), liar.batch(file_id(2))
    assert store.commit([honest, lie]) == (lie.known[0].ref,)
    assert list(store.entries_of(file_id(2))) == []


def test_a_rotten_entry_is_named_and_mended_by_storing_it_again(bench: Bench) -> None:
    """Rot is never given out, and is not taken for a contradiction."""
    batch = Author("a").batch(file_id(1), file_id(2))
    name = batch.known[0].ref.id
    bench.store.commit([batch])
    bench.rot_entry(name)
    for read in (
        lambda: list(bench.store.entries_of(file_id(1))),
        lambda: bench.store.entry(name),
        lambda: list(bench.store.slices([(file_id(1), ())])),
    ):
        with pytest.raises(CorruptRecordError) as caught:
            read()
        assert (caught.value.what, caught.value.key) == ("entry", name)
    assert bench.store.commit([part(batch, 0)]) == ()
    assert list(bench.store.entries_of(file_id(1))) == [batch.known[0]]
    assert list(bench.store.slices([(file_id(1), ()), (file_id(2), ())])) == [batch.slice]


def test_a_wholly_wanted_batch_travels_without_proofs(store: Store) -> None:
    """It comes as it was stored, batches in order."""
    author = Author("a")
    batches = [author.batch(*(file_id(number) for number in range(5))) for _ in range(2)]
    store.commit(batches)
    wanted = [(file_id(number), ()) for number in reversed(range(5))]
    assert list(store.slices(wanted)) == [batch.slice for batch in batches]
    assert list(store.slices([*wanted, *wanted])) == [batch.slice for batch in batches]


@pytest.mark.parametrize("count", [2, 3, 5, 8, 256])
def test_a_partly_wanted_batch_travels_with_proofs(store: Store, count: int) -> None:
    """The proofs are derived from the whole batch, at every position."""
    batch = Author("a").batch(*(file_id(number) for number in range(count)))
    store.commit([batch])
    for number in {0, 1, count // 2, count - 1}:
        (piece,) = store.slices([(file_id(number), ())])
        assert piece.indexes == (number,)
        assert piece.entries == (batch.slice.entries[number],)
        assert_provable(piece)


def test_a_vector_makes_a_batch_partly_wanted(store: Store) -> None:
    """What the other side holds is not sent again."""
    author = Author("a")
    batch = author.batch(*[file_id(1)] * 4)
    store.commit([batch])
    (piece,) = store.slices([(file_id(1), ((author.session, 2),))])
    assert piece.indexes == (2, 3)
    assert_provable(piece)
    assert list(store.slices([(file_id(1), ((author.session, 4),))])) == []


def test_slices_keep_to_their_bounds(store: Store) -> None:
    """Neither too many entries nor more bytes than fit a frame; parts carry proofs."""
    author = Author("a")
    many = author.batch(*[file_id(1)] * 10)
    heavy = author.batch(*[file_id(2)] * 3, payload=bytes(SLICE_BYTES_MAX // 2))
    store.commit([many, heavy])
    pieces = list(store.slices([(file_id(1), ())], entries_max=4))
    assert [piece.indexes for piece in pieces] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9)]
    pieces += store.slices([(file_id(2), ())])
    assert [piece.indexes for piece in pieces[3:]] == [(0,), (1,), (2,)]
    for piece in pieces:
        assert_provable(piece)


def test_a_batch_that_came_in_parts_is_whole_in_the_end(store: Store) -> None:
    """Proofs it came with do not matter once all of it is held."""
    batch = Author("a").batch(*(file_id(number) for number in range(3)))
    store.commit([part(batch, 1)])
    (piece,) = store.slices([(file_id(1), ())])
    assert piece == part(batch, 1).slice
    store.commit([part(batch, 0, 2)])
    assert list(store.slices([(file_id(n), ()) for n in range(3)])) == [batch.slice]
    for number in range(3):
        (piece,) = store.slices([(file_id(number), ())])
        assert_provable(piece)


def test_the_rest_of_a_batch_may_come_as_the_whole(store: Store) -> None:
    """A whole batch over a stored part of it leaves one whole batch."""
    batch = Author("a").batch(*(file_id(number) for number in range(3)))
    store.commit([part(batch, 1)])
    store.commit([batch])
    assert list(store.slices([(file_id(n), ()) for n in range(3)])) == [batch.slice]


def test_entries_signed_in_two_batches_stay_provable(store: Store) -> None:
    """A session may sign an entry twice; what is stored under either header can be proved."""
    author = Author("a")
    early = author.twin()
    alone = early.batch(file_id(1))
    both = author.batch(file_id(1), file_id(2))
    assert alone.known[0] == both.known[0]
    store.commit([alone])
    assert store.commit([both]) == ()
    pieces = list(store.slices([(file_id(1), ()), (file_id(2), ())]))
    assert pieces[0] == alone.slice
    assert pieces[1].indexes == (1,)
    assert_provable(pieces[1])


def test_parents_come_before_children_even_if_batches_came_in_parts(store: Store) -> None:
    """Neither the first nor the last entry's place gives the order; what they build on does."""
    anna, bert, carl = Author("anna"), Author("bert"), Author("carl")
    base = carl.batch(file_id(2), file_id(3))
    above = anna.batch_on((file_id(1), ()), (file_id(2), (base.known[0].ref,)))
    other = bert.batch_on((file_id(4), (above.known[1].ref,)), (file_id(5), ()))
    for write in (part(above, 0), part(other, 1), part(base, 0), part(above, 1), part(other, 0)):
        store.commit([write])
    store.commit([part(base, 1)])
    pieces = list(store.slices([(file_id(number), ()) for number in range(1, 6)]))
    assert pieces == [base.slice, above.slice, other.slice]
    assert_parents_first(pieces, frozenset())
    by_first_or_last_number = [above.slice, other.slice, base.slice]
    with pytest.raises(AssertionError):
        assert_parents_first(by_first_or_last_number, frozenset())


def test_what_one_store_gives_another_takes(bench: Bench) -> None:
    """A store filled from another's slices gives the same slices."""
    anna, bert = Author("anna"), Author("bert")
    first = anna.batch(*(file_id(number) for number in range(6)))
    second = bert.batch(file_id(2), file_id(7), parents=[first.known[2].ref])
    bench.store.commit([first, second])
    wanted = [(file_id(number), ()) for number in range(8)]
    copy = MemoryStore()
    for number in (2, 0, 1, 3, 4, 5, 6, 7):
        for piece in bench.store.slices([(file_id(number), ())]):
            assert copy.commit([received(piece)]) == ()
    assert list(copy.slices(wanted)) == list(bench.store.slices(wanted))
