"""The index of heads beside a slow oracle that adds up everything anew."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.model.messages import RangeItems, RangeSummary
from aiplatform.mesh_ide.replication.heads import HeadIndex
from tests.unit.replication.sets import Heads, file, fingerprint, index_of

HEADS = st.dictionaries(st.integers(1, 500), st.integers(0, 9), max_size=60)
BOUND = st.one_of(st.just(b""), st.binary(min_size=1, max_size=16), st.integers(1, 500).map(file))


def slow_items(heads: Heads, low: bytes, high: bytes) -> RangeItems:
    """Return a range's items by looking at every head."""
    inside = sorted(
        (file(number), fingerprint(number, value))
        for number, value in heads.items()
        if low <= file(number) and (not high or file(number) < high)
    )
    return RangeItems(low, high, tuple(inside))


def slow_summary(heads: Heads, low: bytes, high: bytes) -> RangeSummary:
    """Return a range's summary from its items."""
    items = slow_items(heads, low, high).items
    total = sum(int.from_bytes(value, "big") for _, value in items) % (1 << 128)
    return RangeSummary(low, high, len(items), total.to_bytes(16, "big"))


@given(HEADS, BOUND, BOUND)
def test_a_range_is_what_the_slow_oracle_says(heads: Heads, low: bytes, high: bytes) -> None:
    """Items and summary of any range, be it empty or upside down, are the oracle's."""
    index = index_of(heads)
    assert index.items(low, high) == slow_items(heads, low, high)
    assert index.summary(low, high) == slow_summary(heads, low, high)


@given(HEADS, BOUND, BOUND, st.integers(1, 20))
def test_a_split_covers_its_range_without_gap_or_overlap(
    heads: Heads, low: bytes, high: bytes, parts: int
) -> None:
    """Sub-ranges are adjacent, true, about equal, and no more than asked for."""
    index = index_of(heads)
    whole = index.summary(low, high)
    split = index.split(low, high, parts)
    assert (split[0].low, split[-1].high) == (low, high)
    assert all(one.high == other.low for one, other in pairwise(split))
    assert sum(part.count for part in split) == whole.count
    assert 1 <= len(split) <= parts
    assert max(part.count for part in split) <= -(-whole.count // parts)
    assert all(part == slow_summary(heads, part.low, part.high) for part in split)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 99)), max_size=60))
def test_an_index_is_its_last_puts_whatever_was_asked_between(
    puts: list[tuple[int, int]],
) -> None:
    """Asking for ranges between puts changes nothing, and neither does the order of puts."""
    asked, last = HeadIndex(), dict(puts)
    for number, value in puts:
        asked.put(file(number), fingerprint(number, value))
        asked.summary(b"", b"")
    assert asked.items(b"", b"") == index_of(last).items(b"", b"")
    assert len(asked) == len(last)


def test_only_a_file_that_was_put_has_a_fingerprint() -> None:
    """A file never named has none; one that was named has its own back."""
    index = index_of({1: 7})
    assert index.get(file(1)) == fingerprint(1, 7)
    assert index.get(file(2)) is None
