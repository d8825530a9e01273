"""Evaluation: the same on every node, whatever the story and the order in which it came."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.evaluation import Evaluation, Outcome
from aiplatform.mesh_ide.identity.records import (
    KnownRecord,
    RecordKind,
    open_record,
)
from aiplatform.mesh_ide.identity.roster import Roster, evaluate, roster_of
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import WorkspaceId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

from tests.unit.identity.boards import (
    ROOT,
    WORKSPACE,
    founded,
    node_of,
    record,
    removed_admin_grants,
)

NAMES = "fabcd"


@st.composite
def stories(draw: st.DrawFn) -> tuple[KnownRecord, ...]:
    """Records of several nodes that know different parts of the story, hostile ones included."""
    records = list(founded("a", "b").admit("a", "c").admit("f", "d", Role.EDIT).records)
    for _ in range(draw(st.integers(0, 9))):
        parents = draw(st.sets(st.integers(0, len(records) - 1), min_size=1, max_size=3))
        kind = draw(st.sampled_from(RecordKind))
        records.append(
            record(
                draw(st.sampled_from(NAMES)),
                kind,
                draw(st.sampled_from(NAMES)),
                [records[index].id for index in parents],
                role=draw(st.sampled_from((Role.READ, Role.RUN, Role.ADMIN, Role.ADMIN))),
                issuer=ROOT if draw(st.integers(0, 19)) == 0 else None,
            )
        )
    return tuple({known.id: known for known in records}.values())


class SlowEvaluation(Evaluation):
    """The oracle: every outcome by full evaluation, none carried over."""

    def outcome_of(self, heads: Sequence[int]) -> Outcome:
        mask = 0
        for head in heads:
            mask |= self.past[head] | 1 << head
        return self.merge(mask)


@settings(max_examples=150, deadline=None)
@given(stories(), st.randoms(use_true_random=False))
def test_any_order_and_repetition_give_the_same_roster(
    story: tuple[KnownRecord, ...], chance: random.Random
) -> None:
    """Commutative, idempotent, associative: by parts, through a wire, in any order."""
    expected = evaluate(WORKSPACE, story)
    shuffled = list(story) * 2
    chance.shuffle(shuffled)
    assert evaluate(WORKSPACE, shuffled) == expected
    left = [known for known in story if chance.random() < 0.5]
    right = [known for known in story if known not in left]
    kept = [*evaluate(WORKSPACE, left).records, *left]
    assert evaluate(WORKSPACE, [*right, *kept]) == expected
    wire = [open_record(known.encoded, WORKSPACE) for known in reversed(story)]
    assert evaluate(WORKSPACE, wire) == expected


@settings(max_examples=150, deadline=None)
@given(stories())
def test_the_fast_evaluation_equals_the_slow_one(story: tuple[KnownRecord, ...]) -> None:
    """Carrying outcomes over along a line changes nothing."""
    assert roster_of(SlowEvaluation(WORKSPACE, story)) == evaluate(WORKSPACE, story)


@settings(max_examples=100, deadline=None)
@given(stories())
def test_what_was_refused_can_be_erased(story: tuple[KnownRecord, ...]) -> None:
    """Refusal is for good: the rest evaluates to the same without it."""
    full = evaluate(WORKSPACE, story)
    lean = evaluate(WORKSPACE, [known for known in story if known.id not in full.refused])
    assert lean == msgspec.structs.replace(full, refused=())


def ancestors(story: Sequence[KnownRecord]) -> dict[bytes, set[bytes]]:
    """Which records lie before each (parents come first in a roster's records)."""
    before: dict[bytes, set[bytes]] = {}
    for known in story:
        parents = known.record.parents
        before[known.id] = set(parents).union(*(before[parent] for parent in parents))
    return before


def is_removal_strong(roster: Roster) -> bool:
    """Whether no standing grant is concurrent with a standing removal of its issuer."""
    before = ancestors(roster.records)
    standing = [known for known in roster.records if known.id not in roster.void]
    return not any(
        gone.record.kind is RecordKind.REMOVE
        and grant.record.kind is RecordKind.ADMIT
        and grant.record.issuer == gone.record.subject
        and gone.id not in before[grant.id]
        and grant.id not in before[gone.id]
        for gone in standing
        for grant in standing
    )


@settings(max_examples=200, deadline=None)
@given(stories())
def test_no_grant_stands_beside_a_removal_of_its_issuer(story: tuple[KnownRecord, ...]) -> None:
    """Strong removal, checked from the outside."""
    assert is_removal_strong(evaluate(WORKSPACE, story))


@settings(max_examples=100, deadline=None)
@given(stories())
def test_labels_are_unique_and_every_member_has_an_admission(
    story: tuple[KnownRecord, ...],
) -> None:
    """What people see names exactly one node."""
    roster = evaluate(WORKSPACE, story)
    assert len({member.label for member in roster.members.values()}) == len(roster.members)
    assert roster.members.keys().isdisjoint(roster.removed)
    assert all(member.name and member.user for member in roster.members.values())


class RemovalDoesNotWin(Evaluation):
    """Planted bug: concurrent acts of the removed count."""

    def attacks(self, removal: int, index: int) -> bool:
        return False


class OnlyDirectActsAreVoid(Evaluation):
    """Planted bug: what rests on a void grant counts."""

    def _stands(self, index: int, removals: Sequence[int]) -> bool:
        return not any(self.attacks(removal, index) for removal in removals)


class FirstWordStays(Evaluation):
    """Planted bug: what was said first of a node outlasts its removal."""

    def merge(self, mask: int) -> Outcome:
        outcome = super().merge(mask)
        places = {self.record(0).subject: self.places[0]}
        return Outcome({**outcome.places, **places}, outcome.standing)


def keeps_the_rules(evaluation: Callable[[WorkspaceId, Iterable[KnownRecord]], Evaluation]) -> bool:
    """The check: the stories above, told to an evaluation."""
    removal, grants = removed_admin_grants()
    story = removal.meet(grants).records
    roster = roster_of(evaluation(WORKSPACE, story))
    base = founded("a")
    leave = base.copy().remove("f", "f").meet(base.copy().role("a", "f", Role.READ)).records
    left = roster_of(evaluation(WORKSPACE, leave))
    return (
        roster.members.keys() == {node_of("f"), node_of("r")}
        and is_removal_strong(roster)
        and left.members.keys() == {node_of("a")}
    )


def test_planted_bugs_are_caught() -> None:
    """The check can fail, for each rule that it checks."""
    assert keeps_the_rules(Evaluation)
    for broken in (RemovalDoesNotWin, OnlyDirectActsAreVoid, FirstWordStays):
        assert not keeps_the_rules(broken), broken.__doc__
