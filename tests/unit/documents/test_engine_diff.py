"""From two texts to hunks: exact, bounded, and kind to what did not change."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.documents.engine import alignment, diff
from aiplatform.mesh_ide.documents.engine.alignment import Budget, align
from aiplatform.mesh_ide.documents.engine.diff import (
    HUNKS_MAX,
    REWRITE_CHARACTERS_MIN,
    Hunk,
    apply_hunks,
    common_prefix_length,
    plan_hunks,
)

TEXTS = st.text(alphabet="ab \n\r;(\U0001f600é", max_size=80)
LINES = [f"    def method_{i}(self, argument): return argument + {i}\n" for i in range(2000)]
BIG = "".join(LINES)


def planned(old: str, new: str) -> list[Hunk]:
    """Return hunks that were found, checked against what they must lead to."""
    hunks = plan_hunks(old, new)
    assert hunks is not None
    assert apply_hunks(old, hunks) == new
    return hunks


def kept(old: str, hunks: Sequence[Hunk]) -> int:
    """Return how many characters of the old text stay."""
    return len(old) - sum(end - start for start, end, _ in hunks)


@settings(max_examples=400)
@given(TEXTS, TEXTS)
def test_hunks_lead_exactly_to_the_new_text(old: str, new: str) -> None:
    """They are ascending, disjoint, never empty, and none touches the next."""
    hunks = planned(old, new)
    assert all(start < end or insert for start, end, insert in hunks)
    assert all(first[1] < second[0] for first, second in pairwise(hunks))
    assert (not hunks) == (old == new)


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_edits_of_a_real_text_keep_almost_all_of_it(seed: int, edits: int) -> None:
    """Random small edits anywhere cost a few characters each, wherever they are."""
    chance = Random(seed)
    old = BIG[:20_000]
    new = old
    for _ in range(edits):
        at = chance.randrange(len(new))
        new = new[:at] + chance.choice(("x", "\n", "    y = 1\n", "")) + new[at + 3 :]
    hunks = planned(old, new)
    assert kept(old, hunks) >= len(old) - 60 * edits


@given(st.lists(st.integers(0, 6), max_size=40), st.lists(st.integers(0, 6), max_size=40))
def test_alignment_is_a_common_subsequence_no_longer_than_the_longest(
    old: list[int], new: list[int]
) -> None:
    """Blocks ascend on both sides and hold equal items."""
    blocks = align(old, new, Budget(10_000))
    at, bt = 0, 0
    for first, second, length in blocks:
        assert first >= at
        assert second >= bt
        assert old[first : first + length] == new[second : second + length]
        at, bt = first + length, second + length
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    ratio = sum(length for *_, length in blocks)
    assert ratio * 2 >= sum(block.size for block in matcher.get_matching_blocks()) or not old


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(2, 60))
def test_lines_rewritten_in_place_change_only_themselves(seed: int, count: int) -> None:
    """As another branch, a renaming or a formatter does it: a hunk each, and nothing goes."""
    chance = Random(seed)
    size = chance.choice((count * 2, 300))
    lines = [f"line {i} of the text\n" for i in range(size)]
    places = sorted(chance.sample(range(size), min(count, size // 2)))
    rewritten = list(lines)
    for place in places:
        rewritten[place] = chance.choice(("# new ", "    ")) + lines[place]
    hunks = planned("".join(lines), "".join(rewritten))
    assert kept("".join(lines), hunks) == len("".join(lines))
    assert len(hunks) == len(places)


def shifted(records: int) -> tuple[list[str], list[str]]:
    """Return a text of records, most of their lines alike, and the same with one gone and one come.

    As many lines as before, most of them where they were: and yet every record has moved.
    """
    old = [line for i in range(records) for line in ("{\n", f"  name {i * 977}\n", "}\n", "\n")]
    return old, ["{\n", "  first name\n", "}\n", "\n", *old[:-4]]


def test_records_that_moved_past_lines_that_are_alike_are_not_taken_for_rewritten() -> None:
    """One came at the top and one went at the end: two hunks, and nothing else is touched."""
    old, new = shifted(60)
    hunks = planned("".join(old), "".join(new))
    assert len(hunks) == 2
    assert kept("".join(old), hunks) == len("".join(old[:-4]))


def test_planted_bug_comparing_by_place_alone_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at what went and came elsewhere, every record would seem to be renamed."""

    def by_place(
        old: Sequence[str], new: Sequence[str], window: tuple[int, int, int, int]
    ) -> list[tuple[int, int, int]]:
        a, a_end, b, _ = window
        return [(i, b + i - a, 1) for i in range(a, a_end) if old[i] == new[b + i - a]]

    monkeypatch.setattr(alignment, "_in_place", by_place)
    old, new = shifted(60)
    assert len(planned("".join(old), "".join(new))) > 2


@given(st.lists(st.integers(0, 40), max_size=40), st.data())
def test_items_that_stay_in_place_are_aligned_there(old: list[int], data: st.DataObject) -> None:
    """What was replaced by something that was nowhere before leaves all others where they are."""
    places = data.draw(st.sets(st.integers(0, max(0, len(old) - 1)), max_size=len(old) // 2))
    new = [100 + i if i in places else item for i, item in enumerate(old)]
    blocks = align(old, new, Budget(10_000))
    stay = {first + i for first, second, length in blocks for i in range(length)}
    assert all(first == second for first, second, _ in blocks)
    assert stay == set(range(len(old))) - places


@given(st.text(alphabet="ab\n\r\x0b\x85\u2028;", max_size=60))
def test_lines_end_at_line_feeds_alone(text: str) -> None:
    """Other characters at which Python cuts lines stay inside them; nothing gets lost."""
    lines = diff._lines(text, 1)
    assert "".join(lines) == text
    assert all(line.find("\n") in {-1, len(line) - 1} for line in lines)
    assert all(line.endswith("\n") for line in lines[:-1])


def test_alignment_without_budget_still_trims_common_ends() -> None:
    """What was not looked at counts as different."""
    assert align("axyb", "ayxb", Budget(0)) == [(0, 0, 1), (3, 3, 1)]


@given(TEXTS, TEXTS)
def test_the_common_prefix_is_found(old: str, new: str) -> None:
    """Compared with counting one by one."""
    count = 0
    while count < min(len(old), len(new)) and old[count] == new[count]:
        count += 1
    assert count == common_prefix_length(old, new)


@pytest.mark.parametrize(
    ("name", "new", "kept_min", "hunks_max"),
    [
        ("append", BIG + "more\n" * 500, 1.0, 1),
        ("one line", BIG.replace("method_700(", "other(", 1), 0.99, 2),
        ("both ends", "# top\n" + BIG[:-9] + "x\n", 0.99, 3),
        ("rename", BIG.replace("argument", "renamed"), 0.5, 4000),
        ("indent", "".join("    " + line for line in LINES), 1.0, 2000),
        ("indent in a block", "if x:\n" + "".join("    " + line for line in LINES), 1.0, 2001),
        ("crlf", BIG.replace("\n", "\r\n"), 1.0, 2000),
        ("swap", "".join(LINES[:90] + LINES[900:910] + LINES[100:900] + LINES[90:100]), 0.4, 60),
    ],
)
def test_whole_file_changes_keep_what_did_not_change(
    name: str, new: str, kept_min: float, hunks_max: int
) -> None:
    """Renaming, re-indenting, moving and line ends are edits, not rewrites."""
    hunks = planned(BIG, new)
    assert kept(BIG, hunks) >= kept_min * len(BIG), name
    assert len(hunks) <= hunks_max


def test_a_long_line_is_edited_in_place() -> None:
    """Minified code: distant edits of its one line stay apart."""
    old = BIG.replace("\n", ";") * 4
    new = old[:100] + "first" + old[100:200_000] + "second" + old[200_010:400_000] + old[400_009:]
    hunks = planned(old, new)
    assert kept(old, hunks) >= len(old) - 40
    assert len(hunks) >= 3


def test_an_inserted_line_is_a_whole_line() -> None:
    """Blame would otherwise give half of it to the neighbour."""
    assert planned("foo\nbar\n", "foo\nbaz\nbar\n") == [(4, 4, "baz\n")]
    assert planned("a\nbar\nbaz\n", "a\nbaz\n") == [(2, 6, "")]


def test_rewrites_are_told_apart_from_edits() -> None:
    """Another text of some size is a replace; a small one always merges."""
    chance = Random(7)
    words = ["".join(chance.choices("abcdefghij", k=8)) for _ in range(400)]
    old, new = " ".join(words[:200]), " ".join(words[200:])
    assert plan_hunks(old, new) is None
    assert planned("version 1", "something else")
    assert planned(old, "")
    assert planned("", old)
    assert len(old) > REWRITE_CHARACTERS_MIN


def test_too_many_scattered_hunks_are_joined_or_refused() -> None:
    """A replica's work grows with their square."""
    old = "".join(f"{i} abcdefghijklmnopqrstuvwxyz, and {i} again\n" for i in range(4000))
    hunks = planned(old, old.replace(" a", " b"))
    assert 4000 <= len(hunks) <= HUNKS_MAX
    many = "".join(f"{i:06d} abcdefghijklmnopqrstuvwxyz\n" * 2 for i in range(10_000))
    assert plan_hunks(many, many.replace("k", "K").replace("b", "B")) is None
