"""What a file is, from its entries alone: any order of arrival, any concurrency."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.state import (
    FileState,
    Head,
    Merged,
    Refusal,
    accept,
    base_of,
    content_of,
    covers,
    fingerprint_of,
    head_of,
    holds,
    lineage_of,
    living,
    mode_of,
    needs_merge,
    next_depth,
    repeats,
    winning,
)
from aiplatform.mesh_ide.model.entries import EntryRef, KnownEntry
from aiplatform.mesh_ide.model.enums import EntryKind, FileMode
from aiplatform.mesh_ide.model.ids import NO_ENTRY, TREE_FILE
from tests.unit.documents.authors import Author, blob, created, file, taken

FILE = file(1)
Step = tuple[int, str, int]

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["update", "update", "replace", "delete", "mode", "listen"]),
        st.integers(0, 2),
    ),
    max_size=14,
)


def lived(steps: list[Step]) -> list[KnownEntry]:
    """Let three authors work on one file, now and then hearing each other; return what was said."""
    first, genesis = created("0")
    authors = [first, Author("1"), Author("2")]
    said = [genesis]
    first.tell(*authors[1:])
    for number, (who, deed, whom) in enumerate(steps):
        author = authors[who]
        text = f"text {number}"
        if deed == "listen":
            authors[whom].tell(author)
            continue
        is_dead = not author.ledger.is_alive(FILE)
        if deed == "delete" and not is_dead:
            draft = author.delete(FILE)
        elif deed == "mode" and not is_dead:
            draft = author.change(FILE, text, mode=FileMode.EXECUTABLE)
        else:
            draft = author.change(FILE, text, is_replace=deed == "replace" or is_dead)
        said.extend(author.say(draft))
    return said


def told(entries: list[KnownEntry]) -> FileState:
    """Return the state after these entries; what comes too early is tried again later."""
    state: FileState | None = None
    waiting = list(entries)
    while waiting:
        early: list[KnownEntry] = []
        for known in waiting:
            outcome = accept(state, known)
            if isinstance(outcome, FileState):
                state = outcome
            elif outcome is Refusal.MISSING_PARENTS:
                early.append(known)
        assert len(early) < len(waiting), "no entry can ever be taken"
        waiting = early
    assert state is not None
    return state


def ancestors(entries: list[KnownEntry]) -> dict[EntryRef, set[EntryRef]]:
    """Return everything each entry builds on."""
    known: dict[EntryRef, set[EntryRef]] = {}
    for one in entries:  # said in causal order
        known[one.ref] = {p for parent in one.entry.parents for p in (parent, *known[parent])}
    return known


# --- convergence ---------------------------------------------------------------------------------


@settings(max_examples=120)
@given(STEPS, st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_state(
    steps: list[Step], chance: random.Random
) -> None:
    """However entries are shuffled, every node comes to the very same record."""
    said = lived(steps)
    shuffled = list(said)
    chance.shuffle(shuffled)
    assert told(shuffled) == told(said)


@settings(max_examples=60)
@given(STEPS)
def test_duplicates_change_nothing(steps: list[Step]) -> None:
    """Every entry of a state is refused as a duplicate."""
    said = lived(steps)
    state = told(said)
    assert {accept(state, known) for known in said} == {Refusal.DUPLICATE}


@settings(max_examples=60)
@given(STEPS)
def test_heads_are_what_nothing_builds_on(steps: list[Step]) -> None:
    """The frontier is the slow oracle's: all entries less all their ancestors, sorted."""
    said = lived(steps)
    state = told(said)
    built_on = set().union(*ancestors(said).values())
    assert state.refs() == tuple(sorted(k.ref for k in said if k.ref not in built_on))
    assert all(any(root.ref.id == head.lineage for root in state.roots) for head in state.heads)
    assert state.saves == sum(known.entry.is_save for known in said)
    assert all(holds(state.vector, known.ref.session, known.ref.sequence) for known in said)


@settings(max_examples=60)
@given(STEPS)
def test_what_comes_before_its_past_is_refused(steps: list[Step]) -> None:
    """An entry is taken only by a state that holds all that it names."""
    said = lived(steps)
    state: FileState | None = None
    for position, known in enumerate(said):
        for later in said[position + 1 :]:
            if known.ref in later.entry.parents:
                assert accept(state, later) is Refusal.MISSING_PARENTS
        state = taken(accept(state, known))


def test_a_session_is_taken_in_its_own_order() -> None:
    """A later entry of a session waits for its earlier one although it does not build on it."""
    anna, genesis = created()
    (first,) = anna.say(anna.change(FILE, "two"))
    (second,) = anna.say(anna.change(FILE, "three", base=(genesis.ref,)))
    state = taken(accept(None, genesis))
    assert accept(state, second) is Refusal.MISSING_PARENTS
    state = taken(accept(taken(accept(state, first)), second))
    assert state.refs() == tuple(sorted((first.ref, second.ref)))


def test_a_lineage_that_is_not_known_is_waited_for() -> None:
    """An update names the replace it builds on, which may not have come yet."""
    anna, genesis = created()
    (rewrite,) = anna.say(anna.change(FILE, "new", is_replace=True))
    (update,) = anna.say(anna.change(FILE, "newer"))
    forged = replace(update.entry, parents=(genesis.ref,), after=0)
    state = taken(accept(None, genesis))
    assert accept(state, replace(update, entry=forged)) is Refusal.MISSING_PARENTS
    assert update.entry.lineage == rewrite.ref.id


# --- one head: the fast paths, and the general rules ---------------------------------------------


def slow_winning(state: FileState) -> tuple[Head, ...]:
    """Apply the rule to the letter, whatever the number of heads."""
    alive = [head for head in state.heads if head.kind is not EntryKind.DELETE]
    if not alive:
        return ()
    best = max(alive, key=lambda head: (head.depth, head.ref))
    return tuple(head for head in alive if head.lineage == best.lineage)


def slow_base(state: FileState) -> tuple[EntryRef, ...]:
    """Return the winning side with every delete; all heads where nothing lives."""
    heads = slow_winning(state)
    if not heads:
        return tuple(head.ref for head in state.heads)
    deletes = [head for head in state.heads if head.kind is EntryKind.DELETE]
    return tuple(
        sorted(
            {
                head.ref
                for head in (*heads, *state.heads)
                if head in heads or head in deletes or head.lineage == heads[0].lineage
            }
        )
    )


def slow_mode(state: FileState) -> FileMode:
    """Return the mode that is not the root's, if some head has one; the deepest decides."""
    heads = slow_winning(state) or state.heads
    original = state.root(heads[0].lineage).mode
    changed = [head for head in heads if head.mode != original] or list(heads)
    if len({head.mode for head in heads}) == 1:
        return heads[0].mode
    return max(changed, key=lambda head: (head.depth, head.ref)).mode


@settings(max_examples=120)
@given(STEPS)
def test_fast_paths_agree_with_the_general_rules(steps: list[Step]) -> None:
    """For one head and for many, what is answered is what the slow rules say."""
    state: FileState | None = None
    for known in lived(steps):
        state = taken(accept(state, known))
        heads = slow_winning(state)
        assert winning(state) == heads
        assert base_of(state) == slow_base(state)
        assert mode_of(state) == slow_mode(state)
        assert lineage_of(state) == (heads[0].lineage if heads else NO_ENTRY)
        blobs = {head.blob for head in heads}
        expected = (heads[0].blob, heads[0].size) if len(blobs) == 1 else None
        assert content_of(state) == expected
        assert needs_merge(state) == (len(blobs) > 1)
        assert bool(living(state)) == bool(heads)


# --- the rules, one by one -----------------------------------------------------------------------


def parted() -> tuple[Author, Author]:
    """Return two authors who both know file 1 and will not hear of each other for a while."""
    anna, genesis = created("anna")
    ben = Author("ben")
    ben.hear(genesis)
    return anna, ben


def test_an_edit_beside_a_delete_keeps_the_file() -> None:
    """Whoever edited did not want it gone: it lives, and the next edit supersedes the delete."""
    anna, ben = parted()
    (gone,) = anna.say(anna.delete(FILE))
    (edit,) = ben.say(ben.change(FILE, "two"))
    anna.tell(ben)
    state = ben.state(FILE)
    assert [head.ref for head in winning(state)] == [edit.ref]
    assert set(base_of(state)) == {gone.ref, edit.ref}
    assert not head_of(state).is_deleted


def test_two_deletes_are_one() -> None:
    """Deleted on both sides it is deleted, without content, base of whoever brings it back."""
    anna, ben = parted()
    anna.say(anna.delete(FILE))
    ben.say(ben.delete(FILE))
    anna.tell(ben)
    state = ben.state(FILE)
    head = head_of(state)
    assert (head.is_deleted, head.blob, head.rivals) == (True, None, ())
    assert base_of(state) == state.refs()


def test_concurrent_updates_wait_for_their_merge() -> None:
    """No content until it is computed; computed for other heads it does not count."""
    anna, ben = parted()
    anna.say(anna.change(FILE, "two"))
    ben.say(ben.change(FILE, "drei"))
    anna.tell(ben)
    state = ben.state(FILE)
    assert needs_merge(state)
    merged = replace(state, merged=Merged(state.refs(), blob("both"), 4))
    assert content_of(merged) == (blob("both"), 4)
    stale = replace(state, merged=Merged(state.refs()[:1], blob("both"), 4))
    assert content_of(stale) is None
    (later,) = ben.say(ben.change(FILE, "all"))
    assert content_of(taken(accept(merged, later))) == (blob("all"), 3)


def test_the_same_content_on_both_sides_needs_no_merge() -> None:
    """Two people typed the same: it stands as it is."""
    anna, ben = parted()
    anna.say(anna.change(FILE, "two"))
    ben.say(ben.change(FILE, "two"))
    anna.tell(ben)
    assert content_of(ben.state(FILE)) == (blob("two"), 3)


def conflicted() -> tuple[Author, KnownEntry, KnownEntry]:
    """Return who has seen a rewrite beside an edit, with the losing and the winning entry."""
    anna, ben = parted()
    anna.say(anna.change(FILE, "two"))
    (deeper,) = anna.say(anna.change(FILE, "three"))
    (rewrite,) = ben.say(ben.change(FILE, "other", is_replace=True))
    anna.tell(ben)
    return ben, rewrite, deeper


def test_between_rewrites_the_deeper_side_stands_and_the_other_is_kept() -> None:
    """The longer history wins everywhere; the loser is named as a rival."""
    ben, rewrite, deeper = conflicted()
    head = head_of(ben.state(FILE))
    assert (head.blob, head.rivals) == (blob("three"), (rewrite.ref,))
    assert base_of(ben.state(FILE)) == (deeper.ref,)


def test_an_ordinary_edit_never_resolves_a_conflict() -> None:
    """Edit and deletion of the visible side leave the rival standing."""
    ben, rewrite, _ = conflicted()
    ben.say(ben.change(FILE, "four"))
    assert head_of(ben.state(FILE)).rivals == (rewrite.ref,)
    ben.say(ben.delete(FILE))
    head = head_of(ben.state(FILE))
    assert (head.blob, head.rivals, head.is_deleted) == (blob("other"), (), False)


def test_a_file_repeats_another_that_began_alike_and_went_on() -> None:
    """Made alike by two members, edited by one: nothing of the other is new, but not vice versa."""
    anna, ben = parted()
    (mine,) = ben.say(ben.genesis(file(2), "one"))
    other = taken(accept(None, mine))
    assert repeats(anna.state(FILE), other)
    anna.say(anna.change(FILE, "two"))
    assert content_of(anna.state(FILE)) != content_of(other)
    assert repeats(anna.state(FILE), other)
    assert not repeats(other, anna.state(FILE))
    anna.say(anna.delete(FILE))
    assert not repeats(anna.state(FILE), other)


def test_a_file_with_another_side_is_no_repetition() -> None:
    """What stands in a conflict is not all there is of a file."""
    ben, _, _ = conflicted()
    state = ben.state(FILE)
    assert content_of(state) is not None
    assert not repeats(state, state)


def test_rivals_with_the_same_content_are_no_conflict() -> None:
    """Two rewrites to the same bytes need nobody's decision."""
    anna, ben = parted()
    anna.say(anna.change(FILE, "same", is_replace=True))
    ben.say(ben.change(FILE, "same", is_replace=True))
    anna.tell(ben)
    assert head_of(ben.state(FILE)).rivals == ()


@pytest.mark.parametrize("is_anna_deeper", [True, False])
def test_of_concurrent_modes_the_changed_one_wins(*, is_anna_deeper: bool) -> None:
    """Made executable on one side, edited on the other, it is executable, however deep."""
    anna, ben = parted()
    anna.say(anna.change(FILE, "one", mode=FileMode.EXECUTABLE))
    for number in range(1 if is_anna_deeper else 3):
        ben.say(ben.change(FILE, f"edit {number}"))
    anna.tell(ben)
    assert mode_of(ben.state(FILE)) is FileMode.EXECUTABLE


def test_a_save_counts_and_a_keystroke_does_not() -> None:
    """The version is the number of saves."""
    anna, _ = created()
    anna.say(anna.change(FILE, "two", is_save=False))
    anna.say(anna.change(FILE, "three"))
    assert head_of(anna.state(FILE)).version == 2


def test_the_tree_needs_no_lineage() -> None:
    """An edit of the tree is taken without any root, and has no content."""
    anna = Author("anna")
    (edit,) = anna.say(anna.tree_edit("a place"))
    state = anna.state(TREE_FILE)
    assert state.refs() == (edit.ref,)
    assert state.roots == ()
    assert content_of(state) is None


def test_a_fingerprint_names_file_frontier_and_completeness() -> None:
    """Another file, other heads or a missing content give another name; arrival order does not."""
    anna, genesis = created()
    before = anna.state(FILE)
    anna.say(anna.change(FILE, "two"))
    after = anna.state(FILE)
    other = replace(before, file=file(2))
    names = [fingerprint_of(s, is_complete=True) for s in (before, after, other)]
    names.append(fingerprint_of(before, is_complete=False))
    assert len(set(names)) == 4
    again = taken(accept(None, genesis))
    assert fingerprint_of(again, is_complete=True) == names[0]


def test_depth_counts_from_the_deepest_parent() -> None:
    """A merge of a long and a short history is deeper than both."""
    ben, rewrite, deeper = conflicted()
    state = ben.state(FILE)
    assert next_depth(state, (rewrite.ref, deeper.ref)) == deeper.entry.depth + 1
    assert next_depth(state, ()) == 1


def test_a_vector_covers_what_it_names_and_no_more() -> None:
    """Per session up to the number; a session not named is not covered."""
    anna, _ = created()
    vector = anna.state(FILE).vector
    assert covers(vector, ((anna.session, 1),))
    assert not covers(vector, ((anna.session, 2),))
    assert not covers((), vector)
