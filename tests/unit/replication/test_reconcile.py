"""Two sides compare their heads: what they find, and what it costs them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.mesh.codec import encode
from aiplatform.mesh_ide.model.messages import RangeItems, RangeSummary, Reconcile
from aiplatform.mesh_ide.replication import reconcile
from aiplatform.mesh_ide.replication.reconcile import (
    BRANCHING,
    ITEMS_MAX,
    ITEMS_PER_MESSAGE_MAX,
    RANGES_PER_MESSAGE_MAX,
)
from tests.unit.replication.sets import (
    Heads,
    differences,
    exchange,
    file,
    index_of,
)

HEADS = st.dictionaries(st.integers(1, 400), st.integers(1, 3), max_size=200)


def numbered(count: int, value: int = 1) -> dict[int, int]:
    """Return so many heads, all with one value."""
    return dict.fromkeys(range(1, count + 1), value)


# --- what is found -------------------------------------------------------------------------------


@settings(max_examples=150)
@given(HEADS, HEADS)
def test_exactly_what_differs_is_found(one: Heads, other: Heads) -> None:
    """Of any two sets, everything missing here or there or changed is found, nothing else."""
    assert exchange(index_of(one), index_of(other)).differing == differences(one, other)


@settings(max_examples=100)
@given(HEADS, st.dictionaries(st.integers(1, 400), st.integers(4, 9), max_size=4))
def test_few_changes_among_many_are_found(one: Heads, changes: Heads) -> None:
    """Sets that are nearly equal are taken apart down to what differs."""
    shared = {**numbered(400), **one}
    other = {**shared, **changes}
    assert exchange(index_of(shared), index_of(other)).differing == differences(shared, other)


@pytest.mark.parametrize("count", [0, 1, ITEMS_MAX, ITEMS_MAX + 1, 5000])
def test_an_empty_side_learns_of_everything_in_one_round(count: int) -> None:
    """Who joins with nothing costs no more than one message each way, whoever opens."""
    full, empty = index_of(numbered(count)), index_of({})
    joins, greets = exchange(empty, full), exchange(full, empty)
    assert joins.differing == greets.differing == differences(numbered(count), {})
    assert max(joins.messages, greets.messages) <= 2
    assert max(joins.items, greets.items) == 0


def test_equal_sets_are_done_after_one_message() -> None:
    """The opening says it all: 10,000 files in agreement cost under a hundred bytes."""
    index = index_of(numbered(10_000))
    done = exchange(index, index_of(numbered(10_000)))
    assert (done.messages, done.differing) == (1, set())
    assert done.wire_bytes < 100


# --- what it costs -------------------------------------------------------------------------------


def test_the_cost_follows_the_difference_not_the_size() -> None:
    """Three differences among 10,000 files exchange a few small ranges, not ten thousand ids."""
    one = numbered(10_000)
    other = {**one, 5: 2, 5_000: 2}
    del other[9_999]
    done = exchange(index_of(one), index_of(other))
    assert done.differing == differences(one, other)
    assert done.items <= 3 * ITEMS_MAX
    assert done.messages <= 4
    assert done.wire_bytes < 20_000


def test_twice_the_differences_cost_at_most_twice_as_much() -> None:
    """From 8 to 64 differences among 20,000 files the bytes grow no faster than they do."""
    one = numbered(20_000)
    index = index_of(one)
    costs = [
        exchange(index, index_of({**one, **{300 * n: 2 for n in range(1, count + 1)}})).wire_bytes
        for count in (8, 16, 32, 64)
    ]
    assert all(more <= 2.1 * less for less, more in pairwise(costs))


# --- bounds --------------------------------------------------------------------------------------


def test_a_hundred_thousand_files_that_all_differ_fit_the_codec() -> None:
    """Every message stays within its bounds (the codec checks them too), and all are found."""
    one, other = numbered(100_000, 1), numbered(100_000, 2)
    done = exchange(index_of(one), index_of(other))
    assert len(done.differing) == 100_000
    assert done.items == 100_000
    assert done.items_in_one_max <= ITEMS_PER_MESSAGE_MAX + ITEMS_MAX
    assert done.ranges_in_one_max <= 2 * RANGES_PER_MESSAGE_MAX
    assert done.messages <= 30


def test_what_does_not_fit_is_put_back_as_one_range() -> None:
    """An answer that is full ends with one range that covers all that was not answered."""
    heads = numbered(BRANCHING * RANGES_PER_MESSAGE_MAX)
    index = index_of(heads)
    parts = index.split(b"", b"", RANGES_PER_MESSAGE_MAX // 8)
    changed = tuple(RangeSummary(p.low, p.high, p.count, b"x" * 16) for p in parts)
    reply, _ = reconcile.answer(index, Reconcile(1, summaries=changed))
    answered = RANGES_PER_MESSAGE_MAX // BRANCHING
    assert reply.summaries[-1] == index.summary(changed[answered].low, b"")
    assert len(reply.summaries) == answered * BRANCHING + 1
    assert sum(part.count for part in reply.summaries) == len(heads)
    encode(reply)


@settings(max_examples=15)
@given(st.sets(st.integers(1, 3000), max_size=3000))
def test_narrow_bounds_change_the_messages_and_not_the_result(changed: set[int]) -> None:
    """However much is put back, the exchange ends with exactly what differs."""
    one = numbered(3000)
    other = {**one, **dict.fromkeys(changed, 2)}
    # The smallest bounds under which an answer still narrows its first range.
    done = exchange(
        index_of(one), index_of(other), messages_max=2000, ranges_max=BRANCHING, items_max=1
    )
    assert done.differing == differences(one, other)
    assert done.ranges_in_one_max <= 2 * BRANCHING + 1


# --- hostile messages ----------------------------------------------------------------------------

_BYTES = st.binary(max_size=16)
_SUMMARY = st.builds(RangeSummary, _BYTES, _BYTES, st.integers(0, 2**53), st.binary(max_size=16))
_ITEM = st.tuples(st.integers(1, 900).map(file), _BYTES)
_ITEMS = st.builds(RangeItems, _BYTES, _BYTES, st.lists(_ITEM, max_size=8).map(tuple))


@settings(max_examples=150)
@given(st.lists(_SUMMARY, max_size=6), st.lists(_ITEMS, max_size=4))
def test_hostile_ranges_are_answered_within_bounds(
    summaries: list[RangeSummary], asked: list[RangeItems]
) -> None:
    """Ranges upside down, overlapping, with false counts or foreign items crash nobody."""
    index = index_of(numbered(300))
    message = Reconcile(1, tuple(summaries), tuple(asked))
    reply, differing = reconcile.answer(index, message)
    named = {one for part in asked for one, _ in part.items}
    assert differing <= named | {file(number) for number in range(1, 301)}
    assert len(reply.summaries) + len(reply.asked) <= BRANCHING * max(1, len(summaries))


def test_the_end_asks_for_nothing_and_is_answered_by_nothing() -> None:
    """A message without ranges is the end, and its answer is one too."""
    end = Reconcile(7)
    reply, differing = reconcile.answer(index_of(numbered(3)), end)
    assert reconcile.is_end(end)
    assert (reply, differing) == (Reconcile(7), set())
