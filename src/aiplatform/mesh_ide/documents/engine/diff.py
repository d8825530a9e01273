"""From two texts to the hunks between them, or the word that they are too different.

The cheapest sufficient look wins: common ends, then whole lines, then lines that differ only in
white space, then the words of a changed line. Unchanged characters stay untouched, because an
untouched character is what a concurrent edit can be merged with. Everything is bounded by counts
and never by time, so that every node and every run decides alike.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

from aiplatform.mesh_ide.documents.engine.alignment import Block, Budget, align

HUNKS_MAX: Final = 5000
"""Two operations each: a replica imports 10,000 scattered ones in 120 ms, in quadratic time."""

LINES_MAX: Final = 60_000
"""Lines from the first to the last change, old and new together, that are aligned (1 MB of code
has half as many): 35 ms."""

CHANGED_LINES_MAX: Final = 12_000
"""Lines without an equal, old and new together, that are looked into: 45 ms."""

REWRITE_CHARACTERS_MIN: Final = 256
"""Below this a text always merges: a counter or a version file is not a rewrite."""

REWRITE_KEPT_DIVISOR: Final = 5
"""Less than a fifth of the smaller text is left: merging a concurrent edit into that would mix
two texts. Of 200 pairs of unrelated modules of Python's library half kept under 1 %, the most
alike pair 9 %."""

_COARSER_GAPS: Final = (8, 32, 128, 0)
"""Too many hunks are joined over ever longer pieces of unchanged text; 0 ends the list."""

_ALIGN_UNITS: Final = 90_000
_REFINE_UNITS: Final = 45_000
"""Work for finding equal lines, and for looking into changed ones: at most about 40 ms each."""

_FRAGMENT_UNITS: Final = 4
_ALIGN_FRAGMENT_UNITS: Final = 40
"""What looking into one fragment, and aligning its words, costs however small it is."""

_LONG_LINE: Final = 2000
"""A line above this (minified code, data) is not widened to and is cut at punctuation."""

_FRAGMENT_CHARACTERS_MAX: Final = 4000
"""Two changed fragments above this, together, are replaced as they are."""

_FRAGMENT_KEPT_DIVISOR: Final = 3
"""A fragment that keeps less than a third is replaced whole: shared blanks are no meaning."""

_TOKEN: Final = re.compile(r"\w+|[^\S\n]+|\n|[^\w\s]")

_CLAUSES: Final = 8192
"""Into about so many pieces, old and new together, long lines are cut."""

Hunk = tuple[int, int, str]
"""In place of the old text's characters ``start`` to ``end - 1`` comes this."""


def plan_hunks(old: str, new: str) -> list[Hunk] | None:
    """Return ascending, disjoint hunks that turn ``old`` into ``new``; positions are code points.

    Returns:
        ``None`` if the texts are too different to be worth a merge. Equal texts need no hunks.
    """
    head = common_prefix_length(old, new)
    if head == len(old) == len(new):
        return []
    tail = _common_suffix_length(old, new, min(len(old), len(new)) - head)
    if head + tail in {len(old), len(new)}:
        return [_slid_to_line_start(old, new, head, tail)]
    hunks = _between(old, new, head, tail)
    if hunks is None:
        return None
    for gap in _COARSER_GAPS:
        if len(hunks) <= HUNKS_MAX:
            break
        hunks = _coarsened(old, hunks, gap)
    else:
        return None
    kept = len(old) - sum(end - start for start, end, _ in hunks)
    smaller = min(len(old), len(new))
    if smaller >= REWRITE_CHARACTERS_MIN and kept * REWRITE_KEPT_DIVISOR < smaller:
        return None
    return hunks


def apply_hunks(old: str, hunks: Sequence[Hunk]) -> str:
    """Return the text that the hunks make of ``old``."""
    parts: list[str] = []
    at = 0
    for start, end, insert in hunks:
        parts += (old[at:start], insert)
        at = end
    parts.append(old[at:])
    return "".join(parts)


def common_prefix_length(old: str, new: str) -> int:
    """Return how many characters both begin with, comparing memory instead of characters."""
    low, high = 0, min(len(old), len(new))
    if old[:1] != new[:1]:
        return 0
    if old[:high] == new[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _common_suffix_length(old: str, new: str, most: int) -> int:
    """Return how many characters, at most ``most``, both end with."""
    n, m = len(old), len(new)
    low, high = 0, most
    if old[n - high :] == new[m - high :]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if old[n - middle : n - low] == new[m - middle : m - low]:
            low = middle
        else:
            high = middle
    return low


def _coarsened(old: str, hunks: list[Hunk], gap: int) -> list[Hunk]:
    """Join hunks with at most ``gap`` unchanged characters between them."""
    joined: list[Hunk] = []
    begin, end, parts = hunks[0][0], hunks[0][1], [hunks[0][2]]
    for start, stop, insert in hunks[1:]:
        if start - end <= gap:
            parts += (old[end:start], insert)
        else:
            joined.append((begin, end, "".join(parts)))
            begin, parts = start, [insert]
        end = stop
    joined.append((begin, end, "".join(parts)))
    return joined


def _slid_to_line_start(old: str, new: str, head: int, tail: int) -> Hunk:
    r"""Place a pure insertion or deletion so that it begins a line, where that is the same.

    Inserting "ar\nb" after the "b" of "baz", or "bar\n" before it, is one: people mean the second.
    """
    longer = new if len(new) > len(old) else old
    length = abs(len(new) - len(old))
    back = head - (longer.rfind("\n", 0, head) + 1)
    piece = longer[head : head + length]
    if 0 < back <= length and piece.endswith(longer[head - back : head]):
        head -= back
        tail += back
    return (head, len(old) - tail, new[head : len(new) - tail])


def _between(old: str, new: str, head: int, tail: int) -> list[Hunk] | None:
    """Return the hunks between the common ends; ``None`` if there are too many lines."""
    start, old_end, new_end = head, len(old) - tail, len(new) - tail
    old_part, new_part = old[start:old_end], new[start:new_end]
    small = len(old_part) + len(new_part) <= _FRAGMENT_CHARACTERS_MAX
    collector = _Collector()
    if small and "\n" not in old_part and "\n" not in new_part:
        collector.fragment(start, old_part, new_part)
        return collector.hunks
    line_start = old.rfind("\n", 0, start) + 1
    if start - line_start <= _LONG_LINE:
        start = line_start
    if old[old_end - 1] != "\n" or new[new_end - 1] != "\n":
        line_end = old.find("\n", old_end) + 1 or len(old)
        if line_end - old_end <= _LONG_LINE:
            new_end += line_end - old_end
            old_end = line_end
    if old.count("\n", start, old_end) + new.count("\n", start, new_end) > LINES_MAX:
        return None
    clause = max(1, (old_end + new_end - 2 * start) // _CLAUSES)
    old_lines = _lines(old[start:old_end], clause)
    new_lines = _lines(new[start:new_end], clause)
    return collector.hunks if collector.lines(start, old_lines, new_lines) else None


def _lines(text: str, clause: int) -> list[str]:
    r"""Cut after each ``\n`` (not where ``splitlines`` also would).

    Long lines are cut at the first punctuation after ``clause`` characters.
    """
    lines = text.splitlines(keepends=True)
    if len(lines) != text.count("\n") + (not text.endswith("\n")):
        # There is a lone carriage return or the like, at which it also cuts.
        lines = [line + "\n" for line in text.split("\n")]
        last = lines.pop()[:-1]
        if last:
            lines.append(last)
    if max(map(len, lines), default=0) <= _LONG_LINE:
        return lines
    cut: list[str] = []
    for line in lines:
        if len(line) > _LONG_LINE:
            cut += re.findall(rf"(?s:.{{{clause},}}?[;{{}},\n]|.+)", line)
        else:
            cut.append(line)
    return cut


class _Collector:
    """Gathers hunks in ascending order, spending one budget."""

    def __init__(self) -> None:
        self.hunks: list[Hunk] = []
        self._budget = Budget(_REFINE_UNITS)

    def lines(self, start: int, old: list[str], new: list[str]) -> bool:
        """Add the hunks between two runs of lines, the old ones beginning at ``start``.

        Returns:
            ``False``: too many lines differ.
        """
        blocks = align(old, new, Budget(_ALIGN_UNITS))
        equal = sum(length for _, _, length in blocks)
        if len(old) + len(new) - 2 * equal > CHANGED_LINES_MAX:
            return False
        if 2 * equal < min(len(old), len(new)):
            # Most lines changed. In a re-indented text the few lines that are the same are so by
            # chance, one level apart: they are no anchors.
            self._changed_lines(start, old, new)
            return True
        at = start
        for a, a_end, b, b_end, kept in _gaps(blocks, len(old), len(new)):
            if a < a_end or b < b_end:
                at = self._changed_lines(at, old[a:a_end], new[b:b_end])
            at += sum(map(len, old[a_end : a_end + kept]))
        return True

    def _changed_lines(self, start: int, old: list[str], new: list[str]) -> int:
        """Add the hunks of lines of which few are the same on both sides; return their end."""
        if len(old) == len(new) == 1 or not old or not new:
            return self.fragment(start, "".join(old), "".join(new))
        blocks = align([x.strip() for x in old], [x.strip() for x in new], self._budget)
        at = start
        for a, a_end, b, b_end, kept in _gaps(blocks, len(old), len(new)):
            if a_end - a == b_end - b:
                for x, y in zip(old[a:a_end], new[b:b_end], strict=True):
                    at = self.fragment(at, x, y)
            else:
                at = self.fragment(at, "".join(old[a:a_end]), "".join(new[b:b_end]))
            for offset in range(kept):
                at = self.fragment(at, old[a_end + offset], new[b_end + offset])
        return at

    def fragment(self, start: int, old: str, new: str) -> int:
        """Add the hunks within a small piece of text; return its end."""
        end = start + len(old)
        if old == new:
            return end
        if old[:1] != new[:1] and new.endswith(old):  # put before it: no need to measure ends
            self._add((start, start, new[: len(new) - len(old)]))
            return end
        head = common_prefix_length(old, new)
        tail = _common_suffix_length(old, new, min(len(old), len(new)) - head)
        old_part, new_part = old[head : len(old) - tail], new[head : len(new) - tail]
        whole: Hunk = (start + head, end - tail, new_part)
        size = len(old_part) + len(new_part)
        if not old_part or not new_part or size > _FRAGMENT_CHARACTERS_MAX:
            self._add(whole)
            return end
        if not self._budget.take(_FRAGMENT_UNITS + size // 4):
            self._add(whole)
            return end
        # Words are cut in the whole fragment: a common "re" of "return" and "result" is no word.
        hunks = self._words(start, old, new)
        kept = len(old) - sum(stop - begin for begin, stop, _ in hunks)
        if kept * _FRAGMENT_KEPT_DIVISOR < min(len(old), len(new)):
            self._add(whole)
        else:
            for hunk in hunks:
                self._add(hunk)
        return end

    def _words(self, start: int, old: str, new: str) -> list[Hunk]:
        """Return the hunks between the words of two fragments."""
        x, y = _TOKEN.findall(old), _TOKEN.findall(new)
        if len(x) == len(y):  # the usual renaming: word by word, in a third of the time
            changed = [i for i, (p, q) in enumerate(zip(x, y, strict=True)) if p != q]
            if len(changed) * 2 <= len(x):
                edges = list(accumulate(map(len, x), initial=start))
                return [(edges[i], edges[i + 1], y[i]) for i in changed]
        if not self._budget.take(_ALIGN_FRAGMENT_UNITS):
            return [(start, start + len(old), new)]
        hunks: list[Hunk] = []
        at = start
        blocks = align(x, y, self._budget)
        for a, a_end, b, b_end, kept in _gaps(blocks, len(x), len(y)):
            removed = "".join(x[a:a_end])
            if a < a_end or b < b_end:
                hunks.append((at, at + len(removed), "".join(y[b:b_end])))
            at += len(removed) + sum(map(len, x[a_end : a_end + kept]))
        return hunks

    def _add(self, hunk: Hunk) -> None:
        """Append a hunk, joined with the one it touches."""
        if self.hunks and self.hunks[-1][1] == hunk[0]:
            start, _, insert = self.hunks[-1]
            self.hunks[-1] = (start, hunk[1], insert + hunk[2])
        else:
            self.hunks.append(hunk)


def _gaps(
    blocks: list[Block], old_length: int, new_length: int
) -> list[tuple[int, int, int, int, int]]:
    """Return each gap (old range, new range) with the length of the common block after it."""
    edges = [(0, 0, 0), *blocks, (old_length, new_length, 0)]
    return [
        (a + length, next_a, b + length, next_b, kept)
        for (a, b, length), (next_a, next_b, kept) in pairwise(edges)
    ]
