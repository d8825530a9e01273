"""Which items of two sequences correspond: patience difference, with a bound on the work.

Unique common items in their longest increasing order anchor the rest (Bram Cohen's patience
diff); what lies between anchors is treated the same way, and small remainders by dynamic
programming for a longest common subsequence. Every step costs units of a stated budget, so the
answer depends on the sequences alone and never on time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise
from operator import ne
from typing import Final

CELLS_MAX: Final = 2500
"""Largest table of the dynamic programme: 50 by 50 items, 0.3 ms."""

_CELL_UNITS: Final = 4
"""Table cells that cost as much as one item of a patience round (0.12 and 0.5 µs measured)."""


_KEPT_IN_PLACE_DIVISOR: Final = 2
"""Half of the items stay where they are: with fewer, what is alike is so by chance too often."""


class Budget:
    """Work that may still be done, in units of about half a microsecond."""

    __slots__ = ("left",)

    def __init__(self, units: int) -> None:
        self.left = units

    def take(self, units: int) -> bool:
        """Spend units; ``False`` if there are not so many left, and then nothing is spent."""
        if units > self.left:
            return False
        self.left -= units
        return True


Block = tuple[int, int, int]
"""``length`` items from ``first`` in one sequence equal those from ``second`` in the other."""


def align(old: Sequence[Hashable], new: Sequence[Hashable], budget: Budget) -> list[Block]:
    """Return common blocks in ascending order.

    The blocks are a common subsequence, not always a longest one. When the budget ends, what was
    not looked at counts as different.
    """
    blocks: list[Block] = []
    pending = [(0, len(old), 0, len(new))]
    while pending:
        window = _trimmed(old, new, pending.pop(), blocks)
        a, a_end, b, b_end = window
        if a == a_end or b == b_end or a_end - a == b_end - b == 1:
            continue  # nothing, or one item that became another: the ends were equal otherwise
        if not budget.take(a_end - a + b_end - b):
            continue
        found = _in_place(old, new, window)
        if found is not None:
            blocks += found
            continue
        found = _anchors(old, new, window)
        cells = (a_end - a) * (b_end - b)
        if found:
            blocks += found
            pending += _between(found, window)
        elif cells <= CELLS_MAX and budget.take(cells // _CELL_UNITS):
            blocks += _longest_common(old, new, window)
    return _joined(blocks)


_Window = tuple[int, int, int, int]
"""A range of the old sequence, then one of the new."""


def _trimmed(
    old: Sequence[Hashable], new: Sequence[Hashable], window: _Window, blocks: list[Block]
) -> _Window:
    """Return what is left of a window without its common ends, which become blocks."""
    a, a_end, b, b_end = window
    start, stop = a, a_end
    while a < a_end and b < b_end and old[a] == new[b]:
        a += 1
        b += 1
    if a > start:
        blocks.append((start, b - (a - start), a - start))
    while a_end > a and b_end > b and old[a_end - 1] == new[b_end - 1]:
        a_end -= 1
        b_end -= 1
    if stop > a_end:
        blocks.append((a_end, b_end, stop - a_end))
    return a, a_end, b, b_end


def _in_place(
    old: Sequence[Hashable], new: Sequence[Hashable], window: _Window
) -> list[Block] | None:
    """Return the items that stand where they stood, or ``None`` if some may have moved.

    What a program rewrites line by line (a renaming, a formatter, another branch) has as many
    lines as before, and one comparison of each finds them, in a fifth of the time of a patience
    round. It counts only if most items stay and none that went from one place came at another:
    otherwise a block moved past lines that are alike, and these are no anchors.
    """
    a, a_end, b, b_end = window
    size = a_end - a
    if size != b_end - b:
        return None
    before, after = old[a:a_end], new[b:b_end]
    changed = [place for place, is_other in enumerate(map(ne, before, after)) if is_other]
    if len(changed) * _KEPT_IN_PLACE_DIVISOR > size:
        return None
    if not {before[place] for place in changed}.isdisjoint(after[place] for place in changed):
        return None
    edges = [-1, *changed, size]
    return [
        (a + last + 1, b + last + 1, place - last - 1)
        for last, place in pairwise(edges)
        if place - last > 1
    ]


def _anchors(old: Sequence[Hashable], new: Sequence[Hashable], window: _Window) -> list[Block]:
    """Return the longest ascending run of items that are unique on both sides, as blocks."""
    a, a_end, b, b_end = window
    before, after = old[a:a_end], new[b:b_end]
    often_before, often_after = Counter(before), Counter(after)
    where = dict(zip(after, range(b, b_end), strict=True))
    unique = [
        (place, where[item])
        for place, item in enumerate(before, a)
        if often_after.get(item) == 1 and often_before[item] == 1
    ]
    return _joined([(first, second, 1) for first, second in _longest_ascending(unique)])


def _between(blocks: list[Block], window: _Window) -> list[_Window]:
    """Return what of a window lies between its blocks, where both sides have something."""
    a, a_end, b, b_end = window
    edges = [(a, b, 0), *blocks, (a_end, b_end, 0)]
    return [
        (first + length, next_first, second + length, next_second)
        for (first, second, length), (next_first, next_second, _) in pairwise(edges)
        if first + length < next_first and second + length < next_second
    ]


def _longest_ascending(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a longest subsequence with ascending second members (patience sorting)."""
    if all(one[1] < other[1] for one, other in pairwise(pairs)):
        return pairs
    tops: list[int] = []
    piles: list[int] = []
    before: list[int] = []
    for index, (_, value) in enumerate(pairs):
        pile = bisect_left(tops, value)
        before.append(piles[pile - 1] if pile else -1)
        if pile == len(tops):
            tops.append(value)
            piles.append(index)
        else:
            tops[pile] = value
            piles[pile] = index
    chain: list[tuple[int, int]] = []
    at = piles[-1] if piles else -1
    while at >= 0:
        chain.append(pairs[at])
        at = before[at]
    chain.reverse()
    return chain


def _longest_common(
    old: Sequence[Hashable], new: Sequence[Hashable], window: _Window
) -> list[Block]:
    """Return the pairs of a longest common subsequence of a small window."""
    a, a_end, b, b_end = window
    width = b_end - b
    below = [0] * (width + 1)
    rows = [below]
    for i in range(a_end - 1, a - 1, -1):
        item = old[i]
        row = [0] * (width + 1)
        for j in range(width - 1, -1, -1):
            if item == new[b + j]:
                row[j] = below[j + 1] + 1
            else:
                row[j] = max(below[j], row[j + 1])
        rows.append(row)
        below = row
    rows.reverse()
    pairs: list[Block] = []
    i = j = 0
    while a + i < a_end and j < width:
        if old[a + i] == new[b + j]:
            pairs.append((a + i, b + j, 1))
            i += 1
            j += 1
        elif rows[i + 1][j] >= rows[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _joined(pairs: list[Block]) -> list[Block]:
    """Sort the blocks and join those that touch on both sides."""
    pairs.sort()
    joined: list[Block] = []
    for first, second, length in pairs:
        if joined:
            last_first, last_second, last_length = joined[-1]
            if last_first + last_length == first and last_second + last_length == second:
                joined[-1] = (last_first, last_second, last_length + length)
                continue
        joined.append((first, second, length))
    return joined
