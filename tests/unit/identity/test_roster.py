"""The roster: no way round a removal, and whose entries are accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from aiplatform.mesh_ide.identity.membership import (
    AlreadyAMemberError,
    LastAdminError,
    NotAMemberError,
    admit,
    change_role,
)
from aiplatform.mesh_ide.identity.records import (
    RecordKind,
)
from aiplatform.mesh_ide.identity.roster import Roster, evaluate, may_author
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.errors import NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, UserId

if TYPE_CHECKING:
    from collections.abc import Callable

from tests.unit.identity.boards import (
    ROOT,
    SESSION,
    USER,
    WORKSPACE,
    Board,
    asks,
    founded,
    key_of,
    node_of,
    record,
    removed_admin_grants,
)


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
