"""The roster: the same on every node, and no way round a removal."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.evaluation import Evaluation, Outcome
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.membership import (
    AlreadyAMemberError,
    LastAdminError,
    Newcomer,
    NotAMemberError,
    admit,
    change_role,
    found,
    newcomer,
    remove,
)
from aiplatform.mesh_ide.identity.records import (
    BadNameError,
    BadRecordError,
    KnownRecord,
    RecordKind,
    RosterRecord,
    clean_name,
    open_record,
    sign_record,
    vouch_for,
)
from aiplatform.mesh_ide.identity.roster import Roster, evaluate, may_author, roster_of
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.errors import NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, UserId, WorkspaceId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

ROOT = SigningKey.from_seed(b"0" * 32)
WORKSPACE = WorkspaceId(ROOT.public)
USER = SigningKey.from_seed(b"u" * 32)
SESSION = SessionId(b"s" * 32)


def key_of(name: str) -> SigningKey:
    """A node's key by its name."""
    return SigningKey.from_seed(name.encode().ljust(32, b"."))


def node_of(name: str) -> NodeId:
    """A node's id by its name."""
    return NodeId(key_of(name).public)


def asks(name: str, shown: str | None = None) -> Newcomer:
    """A node that asks to belong."""
    return newcomer(
        node=node_of(name),
        user=USER,
        workspace=WORKSPACE,
        name=shown or name,
        node_type=NodeType.LOCAL,
    )


class Board:
    """One node's records, and how it writes new ones."""

    def __init__(self, records: Iterable[KnownRecord] = ()) -> None:
        self.records = list(records)

    @property
    def roster(self) -> Roster:
        return evaluate(WORKSPACE, self.records)

    def copy(self) -> Board:
        return Board(self.records)

    def meet(self, *others: Board) -> Board:
        return Board(itertools.chain(self.records, *(other.records for other in others)))

    def admit(self, by: str, name: str, role: Role = Role.ADMIN) -> Board:
        record = admit(
            self.roster, key=key_of(by), newcomer=asks(name), role=role, now_ms=len(self.records)
        )
        self.records.append(record)
        return self

    def remove(self, by: str, name: str, seen: int = 0) -> Board:
        self.records.append(
            remove(
                self.roster,
                key=key_of(by),
                subject=node_of(name),
                seen={SESSION: seen},
                now_ms=len(self.records),
            )
        )
        return self

    def role(self, by: str, name: str, role: Role, seen: int = 0) -> Board:
        record = change_role(
            self.roster,
            key=key_of(by),
            subject=node_of(name),
            role=role,
            seen={SESSION: seen},
            now_ms=len(self.records),
        )
        assert record is not None
        self.records.append(record)
        return self

    def roles(self) -> dict[str, str]:
        return {member.name: member.role.name for member in self.roster.members.values()}


def founded(*admins: str) -> Board:
    """A workspace whose founder ``f`` admitted these admins, one after the other."""
    board = Board([found(workspace_key=ROOT, founder=asks("f"), now_ms=0)])
    for name in admins:
        board.admit("f", name)
    return board


def test_a_workspace_begins_with_its_founder() -> None:
    """The workspace key admits the founder; nothing else is there."""
    roster = founded().roster
    founder = roster.members[node_of("f")]
    assert (founder.role, founder.rank, founder.label) == (Role.ADMIN, 1, "f")
    assert founder.user == UserId(USER.public)
    assert roster.heads == (roster.records[0].id,)
    assert evaluate(WORKSPACE, []).members == {}


def test_members_come_change_and_go() -> None:
    """The plain story, without concurrency."""
    board = founded("a").admit("a", "b", Role.EDIT)
    assert board.roles() == {"f": "ADMIN", "a": "ADMIN", "b": "EDIT"}
    assert board.role("f", "b", Role.READ).roles()["b"] == "READ"
    assert board.roster.members[node_of("b")].rank == 2
    board.remove("f", "a")
    assert board.roles() == {"f": "ADMIN", "b": "READ"}
    assert board.roster.removed == {node_of("a")}
    assert board.admit("f", "a", Role.RUN).roles()["a"] == "RUN"
    assert board.remove("a", "a").roles() == {"f": "ADMIN", "b": "READ"}
    assert board.roster.void == frozenset()


def test_what_an_admin_did_before_its_removal_stays() -> None:
    """Only concurrent acts are void."""
    board = founded("a").admit("a", "b").remove("f", "a")
    assert board.roles() == {"f": "ADMIN", "b": "ADMIN"}


def removed_admin_grants() -> tuple[Board, Board]:
    """``f`` removes ``a``, while ``a`` admits ``x``, who admits ``y``, and raises ``r``."""
    base = founded("a").admit("f", "r", Role.READ)
    removal = base.copy().remove("f", "a")
    grants = base.copy().admit("a", "x").admit("x", "y").role("a", "r", Role.ADMIN)
    return removal, grants


def test_removal_wins_over_concurrent_acts_of_the_removed() -> None:
    """Also over what rests on them."""
    removal, grants = removed_admin_grants()
    both = removal.meet(grants)
    assert grants.roles() == dict.fromkeys("faxyr", "ADMIN")
    assert both.roles() == {"f": "ADMIN", "r": "READ"}
    assert len(both.roster.void) == 3
    assert both.meet(founded()).roster == both.roster


def test_demotion_wins_like_removal() -> None:
    """A demoted admin cannot keep its power by a puppet."""
    base = founded("a")
    demotion = base.copy().role("f", "a", Role.EDIT)
    grants = base.copy().admit("a", "x")
    assert demotion.meet(grants).roles() == {"f": "ADMIN", "a": "EDIT"}


def test_a_removed_admin_cannot_write_records_that_look_older() -> None:
    """Back-dating means naming old parents; that is concurrency, and concurrency loses."""
    board = founded("a")
    old_heads = board.roster.heads
    board.remove("f", "a")
    forged = record("a", RecordKind.ADMIT, "x", old_heads)
    assert evaluate(WORKSPACE, [*board.records, forged]).members.keys() == {node_of("f")}


def test_a_junior_may_remove_a_senior_who_cannot_strike_back_from_below() -> None:
    """Rank decides only between concurrent removals."""
    base = founded("a").admit("a", "b")
    assert base.copy().remove("b", "a").roles() == {"f": "ADMIN", "b": "ADMIN"}
    junior = base.copy().remove("b", "a")
    senior = base.copy().remove("a", "b")
    assert junior.meet(senior).roles() == {"f": "ADMIN", "a": "ADMIN"}


def test_equals_that_remove_each_other_both_go() -> None:
    """In doubt somebody is out; the founder can let them in again."""
    base = founded("a", "b")
    both = base.copy().remove("a", "b").meet(base.copy().remove("b", "a"))
    assert both.roles() == {"f": "ADMIN"}
    assert both.admit("f", "a").roles() == {"f": "ADMIN", "a": "ADMIN"}


def test_a_cycle_of_removals_takes_all_equals() -> None:
    """Three of one rank, each removed by the next."""
    base = founded("a", "b", "c")
    pairs = (("a", "b"), ("b", "c"), ("c", "a"))
    boards = [base.copy().remove(by, name) for by, name in pairs]
    assert base.meet(*boards).roles() == {"f": "ADMIN"}


def test_a_puppet_cannot_remove_its_masters_remover() -> None:
    """The puppet's admission is void, and so is what it did."""
    base = founded("a")
    removal = base.copy().remove("f", "a")
    strike = base.copy().admit("a", "x").remove("x", "f")
    assert removal.meet(strike).roles() == {"f": "ADMIN"}


def test_an_admin_cannot_lower_a_seniors_rank_by_a_change_that_changes_nothing() -> None:
    """A longer chain of grants would decide later disputes."""
    base = founded("a")
    forged = record("a", RecordKind.ROLE, "f", base.roster.heads, role=Role.ADMIN)
    roster = evaluate(WORKSPACE, [*base.records, forged])
    assert roster.members[node_of("f")].rank == 1
    assert roster.refused == (forged.id,)


def test_concurrent_roles_take_the_lower_and_removal_the_lowest() -> None:
    """Two admins who disagree, neither knowing of the other."""
    base = founded("a").admit("f", "m", Role.READ)
    run = base.copy().role("f", "m", Role.RUN)
    edit = base.copy().role("a", "m", Role.EDIT)
    gone = base.copy().remove("a", "m")
    assert run.meet(edit).roles()["m"] == "EDIT"
    assert "m" not in run.meet(edit, gone).roles()
    again = gone.copy().admit("f", "m", Role.EDIT)
    assert again.roles()["m"] == "EDIT"
    assert "m" not in again.meet(base.copy().remove("f", "m")).roles()


def test_the_workspace_key_is_the_way_back_when_no_admin_is_left() -> None:
    """Two last admins that leave at once are possible; a lock-out for ever is not."""
    base = founded("a")
    gone = base.copy().remove("f", "f").meet(base.copy().remove("a", "a"))
    assert gone.roles() == {}
    rescue = admit(gone.roster, key=ROOT, newcomer=asks("n"), role=Role.ADMIN, now_ms=9)
    assert Board([*gone.records, rescue]).roles() == {"n": "ADMIN"}


def record(  # noqa: PLR0913 - one value for each field that a liar chooses
    by: str,
    kind: RecordKind,
    name: str,
    parents: Sequence[bytes],
    *,
    role: Role = Role.ADMIN,
    issuer: SigningKey | None = None,
) -> KnownRecord:
    """A record that no honest node would write."""
    key = issuer or key_of(by)
    is_admission = kind is RecordKind.ADMIT
    subject = node_of(name)
    body = RosterRecord(
        kind=kind,
        workspace=WORKSPACE,
        subject=subject,
        user=UserId(USER.public if is_admission else b""),
        vouch=vouch_for(USER, WORKSPACE, subject) if is_admission else b"",
        role=role,
        name=name if is_admission else "",
        node_type=NodeType.LOCAL,
        issuer=NodeId(key.public),
        parents=tuple(sorted(set(parents))),  # type: ignore[arg-type]
        issued_ms=0,
    )
    return sign_record(body, key)


@pytest.mark.parametrize("role", [Role.RELAY, Role.READ, Role.EDIT, Role.RUN])
def test_only_admins_decide_on_members(role: Role) -> None:
    """At creation with a clear error, at evaluation by refusing for good."""
    board = founded().admit("f", "m", role).admit("f", "o", Role.READ)
    heads = board.roster.heads
    with pytest.raises(NotPermittedError, match=f"role {role.name.lower()} .*ask an admin \\(f\\)"):
        board.copy().admit("m", "x")
    with pytest.raises(NotPermittedError):
        board.copy().remove("m", "o")
    with pytest.raises(NotPermittedError):
        board.copy().role("m", "m", Role.ADMIN)
    for kind, name in (
        (RecordKind.ADMIT, "x"),
        (RecordKind.REMOVE, "o"),
        (RecordKind.ROLE, "m"),
        (RecordKind.REMOVE, "x"),
    ):
        forged = record("m", kind, name, heads)
        child = record("f", RecordKind.ADMIT, "z", [forged.id])
        roster = evaluate(WORKSPACE, [*board.records, child, forged])
        assert roster.members == board.roster.members
        assert set(roster.refused) == {forged.id, child.id}
        assert roster.digest == board.roster.digest


def test_strangers_decide_nothing() -> None:
    """Neither by admitting themselves nor by founding the workspace anew."""
    board = founded()
    for parents in ((), board.roster.heads):
        forged = record("x", RecordKind.ADMIT, "x", parents)
        assert evaluate(WORKSPACE, [*board.records, forged]).members == board.roster.members
    with pytest.raises(NotPermittedError, match="no member"):
        board.admit("x", "x")


def test_the_last_admin_stays() -> None:
    """Removal, demotion and leaving are refused when nobody could admit afterwards."""
    board = founded().admit("f", "m", Role.RUN)
    with pytest.raises(LastAdminError, match="make another member an admin"):
        board.copy().remove("f", "f")
    with pytest.raises(LastAdminError):
        board.copy().role("f", "f", Role.READ)
    board.role("f", "m", Role.ADMIN)
    assert board.copy().remove("f", "f").roles() == {"m": "ADMIN"}


def test_pointless_changes_are_told() -> None:
    """Unknown subjects, double admissions, equal roles."""
    board = founded().admit("f", "m", Role.RUN)
    with pytest.raises(NotAMemberError):
        board.copy().remove("f", "x")
    with pytest.raises(AlreadyAMemberError):
        board.copy().admit("f", "m")
    same = change_role(
        board.roster, key=key_of("f"), subject=node_of("m"), role=Role.RUN, seen={}, now_ms=1
    )
    assert same is None
    wrong = msgspec.structs.replace(asks("x"), vouch=bytes(64))
    with pytest.raises(NotPermittedError, match="user's signature"):
        admit(board.roster, key=key_of("f"), newcomer=wrong, role=Role.READ, now_ms=1)


def test_records_wait_for_what_they_build_on() -> None:
    """Out of order is not lost, and says which are waiting."""
    records = founded("a", "b").records
    late = evaluate(WORKSPACE, [records[0], records[2]])
    assert late.members.keys() == {node_of("f")}
    assert late.pending == (records[2].id,)
    assert evaluate(WORKSPACE, records).pending == ()


# --- any story at all --------------------------------------------------------------------------

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


# --- whose entries are accepted ----------------------------------------------------------------


def policy_ignoring_the_cut(
    roster: Roster, node: NodeId, session: SessionId, sequence: int, deliverer: NodeId
) -> bool:
    """Planted bug: what a removed node says counts without end."""
    return may_author(roster, node, session, min(sequence, 1), deliverer)


def policy_forgetting_the_cut(
    roster: Roster, node: NodeId, session: SessionId, sequence: int, deliverer: NodeId
) -> bool:
    """Planted bug: entries of a removed node are lost to those who had not got them yet."""
    return may_author(roster, node, session, sequence + 1_000, deliverer)


def accepts_rightly(policy: Callable[[Roster, NodeId, SessionId, int, NodeId], bool]) -> bool:
    """The check of an accept policy, for a removed and a demoted author."""
    base = founded().admit("f", "e", Role.EDIT).admit("f", "q", Role.RELAY)
    author, relay, editor, other = (node_of(name) for name in ("e", "q", "f", "x"))
    answers = [policy(base.roster, author, SESSION, 10**6, relay)]
    for changed in (base.copy().remove("f", "e", 7), base.copy().role("f", "e", Role.READ, 7)):
        roster = changed.roster
        answers += [
            policy(roster, author, SESSION, 7, relay),
            not policy(roster, author, SESSION, 8, relay),
            not policy(roster, author, SESSION, 8, author),
            not policy(roster, author, SessionId(b"n" * 32), 1, author),
            policy(roster, author, SESSION, 8, editor),
            not policy(roster, relay, SESSION, 1, relay),
            not policy(roster, other, SESSION, 1, other),
        ]
    again = base.copy().remove("f", "e", 7).admit("f", "e", Role.EDIT)
    return all([*answers, policy(again.roster, author, SESSION, 8, relay)])


def test_entries_count_by_role_by_cut_or_by_a_member_that_vouches() -> None:
    """The three reasons, and none besides."""
    assert accepts_rightly(may_author)


@pytest.mark.parametrize("broken", [policy_ignoring_the_cut, policy_forgetting_the_cut])
def test_a_policy_that_mistakes_the_cut_is_caught(
    broken: Callable[[Roster, NodeId, SessionId, int, NodeId], bool],
) -> None:
    """The check can fail."""
    assert not accepts_rightly(broken)


def test_the_farthest_cut_of_concurrent_removals_counts() -> None:
    """Each remover had accepted what lies within its own cut."""
    base = founded("a").admit("f", "e", Role.EDIT)
    both = base.copy().remove("f", "e", 5).meet(base.copy().remove("a", "e", 9))
    assert both.roster.cuts[node_of("e")] == {SESSION: 9}


# --- records on the wire -----------------------------------------------------------------------


def test_a_record_that_was_changed_is_refused() -> None:
    """Every field is signed, the user's word included."""
    known = founded("a").records[1]
    for changes in (
        {"role": Role.READ},
        {"name": "other"},
        {"issuer": node_of("x")},
        {"subject": node_of("x")},
        {"user": UserId(b"v" * 32)},
        {"parents": ()},
    ):
        body = msgspec.msgpack.encode(msgspec.structs.replace(known.record, **changes))
        signature = msgspec.msgpack.decode(known.encoded)[1]
        with pytest.raises(BadRecordError):
            open_record(msgspec.msgpack.encode([body, signature]), WORKSPACE)
    with pytest.raises(BadRecordError, match="another workspace"):
        open_record(known.encoded, WorkspaceId(b"v" * 32))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "two\nlines"},
        {"name": "\u202eevil"},
        {"name": "n" * 65},
        {"ticket": b"short"},
        {"vouch": bytes(64)},
        {"parents": (b"b" * 32, b"a" * 32)},
        {"parents": (b"short",)},
        {"cut": ((SESSION, 1),)},
        {"issued_ms": 2**60},
    ],
)
def test_a_record_that_breaks_a_rule_is_neither_signed_nor_opened(
    changes: dict[str, object],
) -> None:
    """The rules bind both sides."""
    bad = msgspec.structs.replace(founded("a").records[1].record, **changes)
    with pytest.raises(ValueError, match=r"\w"):
        sign_record(bad, key_of("f"))
    body = msgspec.msgpack.encode(bad)
    signature = key_of("f").sign(
        b"".join(
            len(part).to_bytes(4, "big") + part for part in (b"mesh-ide roster record 1", body)
        )
    )
    with pytest.raises(BadRecordError, match="refused"):
        open_record(msgspec.msgpack.encode([body, signature]), WORKSPACE)


def test_a_later_versions_fields_stay_under_the_signature() -> None:
    """An older node can still check, pass on and name a record that has one more field."""
    plain = founded("a").records[1].record
    fields = [*msgspec.msgpack.decode(msgspec.msgpack.encode(plain)), "later"]
    body = msgspec.msgpack.encode(fields)
    message = b"".join(
        len(part).to_bytes(4, "big") + part for part in (b"mesh-ide roster record 1", body)
    )
    encoded = msgspec.msgpack.encode([body, key_of("f").sign(message)])
    known = open_record(encoded, WORKSPACE)
    assert known.record == plain
    assert known.encoded == encoded


@given(st.binary(max_size=100))
def test_garbage_is_no_record(garbage: bytes) -> None:
    """A decoder fault is the sender's."""
    with pytest.raises(BadRecordError):
        open_record(garbage, WORKSPACE)


def test_a_record_over_the_bound_is_not_decoded() -> None:
    """Size comes first."""
    with pytest.raises(BadRecordError, match="over the bound"):
        open_record(bytes(2 * 1024 * 1024), WORKSPACE)


def test_a_record_cannot_be_signed_for_somebody_else() -> None:
    """The issuer named is the key that signs."""
    with pytest.raises(ValueError, match="issuer"):
        sign_record(founded("a").records[1].record, key_of("a"))


# --- names -------------------------------------------------------------------------------------


def test_equal_names_get_the_keys_beginning_on_every_node() -> None:
    """All of them, also those that only look alike or pose as a label."""
    board = founded()
    posing = f"laptop~{node_of('m1').hex()[:10]}"
    for name, shown in (("m1", "laptop"), ("m2", "Laptop"), ("m3", posing), ("m4", "desk")):
        board.records.append(
            admit(
                board.roster,
                key=key_of("f"),
                newcomer=asks(name, shown),
                role=Role.READ,
                now_ms=0,
            )
        )
    labels = {node: member.label for node, member in board.roster.members.items()}
    assert labels == {
        node_of("f"): "f",
        node_of("m1"): f"laptop~{node_of('m1').hex()[:10]}",
        node_of("m2"): f"Laptop~{node_of('m2').hex()[:10]}",
        node_of("m3"): f"{posing}~{node_of('m3').hex()[:10]}",
        node_of("m4"): "desk",
    }


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "\u202egpj", "n" * 65])
def test_names_that_cannot_be_read_are_refused(name: str) -> None:
    """Before anything is signed."""
    with pytest.raises(BadNameError, match="--name"):
        clean_name(name)


def test_names_are_kept_as_people_write_them() -> None:
    """In one normal form, without surrounding space."""
    assert clean_name("  Ada\u0308s Laptop ") == "Ad\u00e4s Laptop"
