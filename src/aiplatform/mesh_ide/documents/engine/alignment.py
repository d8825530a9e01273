"""Which items of two sequences correspond: patience difference, with a bound on the work.

Unique common items in their longest increasing order anchor the rest (Bram Cohen's patience
diff); what lies between anchors is treated the same way, and small remainders by dynamic
programming for a longest common subsequence. Every step costs units of a stated budget, so the
answer depends on the sequences alone and never on time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from typing import Final

CELLS_MAX: Final = 2500
"""Largest table of the dynamic programme: 50 by 50 items, 0.3 ms."""

_CELL_UNITS: Final = 4
"""Table cells that cost as much as one item of a patience round (0.12 and 0.5 µs measured)."""


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
    pairs: list[Block] = []
    pending = [(0, len(old), 0, len(new))]
    while pending:
        window = _trimmed(old, new, pending.pop(), pairs)
        a, a_end, b, b_end = window
        if a == a_end or b == b_end or not budget.take(a_end - a + b_end - b):
            continue
        anchors = _anchors(old, new, window)
        if anchors:
            at, bt = a, b
            for x, y in anchors:
                pairs.append((x, y, 1))
                if at < x and bt < y:
                    pending.append((at, x, bt, y))
                at, bt = x + 1, y + 1
            pending.append((at, a_end, bt, b_end))
        else:
            cells = (a_end - a) * (b_end - b)
            if cells <= CELLS_MAX and budget.take(cells // _CELL_UNITS):
                pairs.extend(_longest_common(old, new, window))
    return _joined(pairs)


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


def _anchors(
    old: Sequence[Hashable], new: Sequence[Hashable], window: _Window
) -> list[tuple[int, int]]:
    """Return the longest ascending run of pairs of items that are unique on both sides."""
    a, a_end, b, b_end = window
    where: dict[Hashable, int] = {}
    repeated: set[Hashable] = set()
    for index in range(b, b_end):
        if new[index] in where:
            repeated.add(new[index])
        where[new[index]] = index
    seen: dict[Hashable, int] = {}
    for index in range(a, a_end):
        item = old[index]
        if item in seen:
            repeated.add(item)
        elif item in where:
            seen[item] = index
    unique = [(index, where[item]) for item, index in seen.items() if item not in repeated]
    return _longest_ascending(unique)


def _longest_ascending(pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a longest subsequence with ascending second members (patience sorting)."""
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
