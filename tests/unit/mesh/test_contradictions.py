"""Members who contradicted themselves: shut out by everybody who is shown the proof."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.mesh.contradictions import SHUT_OUT, Contradictions
from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.mesh.outputs import (
    AllowPeers,
    Disconnect,
    KeepCertificate,
    KeepEquivocation,
    MembershipOutput,
    PeerGone,
    Warned,
)
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import EquivocationProof, Equivocations, RosterExchange
from tests.unit.identity.boards import Board, asks, founded, node_of
from tests.unit.mesh.members import (
    START_MS,
    Node,
    certificate_of,
    halves_of,
    hello_of,
    only,
    proof_of,
    session_of,
    told,
)

A, B, C = node_of("a"), node_of("b"), node_of("c")


def three() -> Node:
    """Return node ``f`` in a workspace with ``a``, ``b`` and ``c``; the last two are linked."""
    node = Node(founded("a", "b", "c"))
    node.greeted("b")
    node.greeted("c")
    return node


def shut_out(node: Node) -> None:
    """Check that a node has shut ``a`` out."""
    assert node.core.shut_out == {A}
    assert node.core.link_state(A) == ("offline", None, SHUT_OUT)
    assert "shut out" in str(node.core.objection(session_of("a"), 1, A))


# --- what is seen by oneself ---------------------------------------------------------------------


def test_an_equivocator_is_shut_out_for_good() -> None:
    """Disconnected, not allowed back, shown as such; once; also after a restart."""
    node = Node(founded("a", "b"))
    node.greeted("a")
    out = node.core.shut_out_author(session_of("a"), halves_of("a"), START_MS)
    assert only(out, AllowPeers) == [AllowPeers(frozenset({B}))]
    assert [gone.peer for gone in only(out, PeerGone)] == [A]
    assert [end.peer for end in only(out, Disconnect)] == [A]
    assert len(only(out, Warned)) == 1
    assert only(out, KeepEquivocation) == [KeepEquivocation(proof_of("a"))]
    assert node.core.shut_out_author(session_of("a"), halves_of("a"), START_MS) == []
    shut_out(node)
    again = Node(founded("a", "b"))
    records = [record.encoded for record in again.board.records]
    out = again.core.load(records, [certificate_of("a")], {}, START_MS, [proof_of("a")])
    assert only(out, AllowPeers) == [AllowPeers(frozenset({B}))]
    shut_out(again)


def test_nobody_shuts_out_itself_or_a_session_it_does_not_know() -> None:
    """A contradiction of our own session, or of nobody's, changes nothing."""
    node = Node(founded("a"))
    assert node.core.shut_out_author(session_of("f"), halves_of("f"), START_MS) == []
    assert node.core.shut_out_author(session_of("x"), halves_of("x"), START_MS) == []


# --- passing it on -------------------------------------------------------------------------------


def passed_on(core: type[MembershipCore] = MembershipCore) -> list[MembershipOutput]:
    """Return what a node says when it catches ``a`` while ``b`` and ``c`` are linked."""
    node = three()
    node.core.__class__ = core
    node.greeted("a")
    return node.core.shut_out_author(session_of("a"), halves_of("a"), START_MS)


def test_a_proof_goes_to_everybody_who_is_linked_but_the_accused() -> None:
    """Each gets it once, with all that it takes to check it."""
    out = passed_on()
    for name in ("b", "c"):
        assert told(out, Equivocations, name) == [Equivocations((proof_of("a"),))]
    assert told(out, Equivocations, "a") == []


def test_planted_bug_a_node_that_keeps_a_proof_to_itself_is_caught() -> None:
    """What the test above looks for is missing then."""

    class Secretive(MembershipCore):
        def _shut_out(
            self, proof: EquivocationProof, source: NodeId | None, now_ms: int
        ) -> list[MembershipOutput]:
            out = super()._shut_out(proof, source, now_ms)
            return [one for one in out if not told([one], Equivocations)]

    assert told(passed_on(Secretive), Equivocations) == []


def test_who_is_shown_a_proof_acts_on_it_and_passes_it_on_but_not_back() -> None:
    """Gossip: kept, shut out, told to the others; a second copy says nothing."""
    node = three()
    node.greeted("a")
    out = node.hears("b", Equivocations((proof_of("a"),)))
    assert only(out, KeepEquivocation) == [KeepEquivocation(proof_of("a"))]
    assert told(out, Equivocations, "c") == [Equivocations((proof_of("a"),))]
    assert told(out, Equivocations, "b") == []
    assert [gone.peer for gone in only(out, PeerGone)] == [A]
    shut_out(node)
    assert node.hears("c", Equivocations((proof_of("a"),))) == []


def test_the_accused_session_need_not_be_known_before() -> None:
    """The certificate comes with the proof, and is kept."""
    node = three()
    out = node.hears("b", Equivocations((proof_of("a"),)))
    assert KeepCertificate(certificate_of("a")) in out


def test_who_was_away_is_told_at_the_next_meeting_after_the_roster() -> None:
    """In that order, on one channel: a proof is taken of members only."""
    node = three()
    node.core.shut_out_author(session_of("b"), halves_of("b"), START_MS)
    node.core.add_records([node.board.admit("f", "d").records[-1].encoded], None, START_MS)
    node.up("a")
    out = node.hears("a", hello_of("a", founded("a", "b", "c")))
    kinds = [type(one) for one in told(out, RosterExchange) + told(out, Equivocations)]
    assert kinds == [RosterExchange, Equivocations]
    assert told(out, Equivocations, "a") == [Equivocations((proof_of("b"),))]
    said = [type(getattr(one, "message", None)) for one in out]
    assert said.index(RosterExchange) < said.index(Equivocations)


def test_what_concerns_no_member_any_more_is_not_told() -> None:
    """After its removal the proof is of no use to others; here it stays."""
    node = three()
    node.core.shut_out_author(session_of("b"), halves_of("b"), START_MS)
    node.core.add_records([node.board.remove("f", "b").records[-1].encoded], None, START_MS)
    assert told(node.greeted("a"), Equivocations) == []
    assert node.core.shut_out == {B}


# --- lies ----------------------------------------------------------------------------------------

LIE = replace(proof_of("a"), second=proof_of("a").first)


def test_a_false_accusation_ends_the_accusers_link() -> None:
    """No honest node passes on what it did not check: told, disconnected, nobody shut out."""
    node = three()
    node.greeted("a")
    out = node.hears("b", Equivocations((LIE,)))
    assert [end.peer for end in only(out, Disconnect)] == [B]
    assert ["falsely" in said.text for said in only(out, Warned)] == [True]
    assert (node.core.shut_out, only(out, KeepEquivocation)) == (frozenset(), [])
    assert told(out, Equivocations) == []


def test_planted_bug_a_node_that_believes_without_checking_shuts_out_the_innocent() -> None:
    """The check is what stands between a hostile member and everybody's links."""

    class Gullible(Contradictions):
        def is_true(self, proof: EquivocationProof) -> bool:
            return True

    node = three()
    node.greeted("a")
    node.core._contradictions.__class__ = Gullible
    node.hears("b", Equivocations((LIE,)))
    assert node.core.shut_out == {A}


def test_proofs_against_strangers_are_not_kept() -> None:
    """Keys cost nothing: whoever invents equivocators fills nobody's disk."""
    node = three()
    invented: Iterable[str] = (f"invented {number}" for number in range(20))
    for name in invented:
        assert node.hears("b", Equivocations((proof_of(name),))) == []
    assert node.core.shut_out == frozenset()


def test_a_second_contradiction_of_one_member_is_not_kept() -> None:
    """One proof for each node is all that is ever kept, told and checked."""
    node = three()
    node.hears("b", Equivocations((proof_of("a"),)))
    swapped = replace(proof_of("a"), first=proof_of("a").second, second=proof_of("a").first)
    assert node.hears("b", Equivocations((swapped, swapped))) == []


def test_a_proof_against_ourselves_is_told_to_our_owner() -> None:
    """This node cannot shut itself out; a person should know that its key is in use elsewhere."""
    node = three()
    (warned,) = node.hears("b", Equivocations((proof_of("f"),)))
    assert isinstance(warned, Warned)
    assert "fresh key" in warned.text


# --- what it wrote, and how its owner comes back -------------------------------------------------


@pytest.mark.parametrize(
    ("deliverer", "is_taken"), [("b", True), ("r", False), ("a", False), ("x", False)]
)
def test_what_it_wrote_before_is_taken_from_honest_editors_only(
    deliverer: str, is_taken: bool
) -> None:
    """As after a removal: who may edit vouches; a reader, a stranger and itself do not."""
    node = Node(founded("a", "b").admit("f", "r", Role.READ))
    node.greeted("a")
    node.greeted("b")
    node.core.shut_out_author(session_of("a"), halves_of("a"), START_MS)
    objection = node.core.objection(session_of("a"), 7, node_of(deliverer))
    assert (objection is None) is is_taken


def test_two_who_are_shut_out_do_not_vouch_for_each_other() -> None:
    """An accomplice's word counts no more than its own."""
    node = three()
    node.greeted("a")
    for name in ("a", "b"):
        node.core.shut_out_author(session_of(name), halves_of(name), START_MS)
    assert node.core.objection(session_of("a"), 1, B) is not None


def test_its_owner_comes_back_with_a_fresh_key_and_the_old_one_stays_out() -> None:
    """An admin removes the old node and admits the new one: same person, same name, another key."""
    node = three()
    node.core.shut_out_author(session_of("b"), halves_of("b"), START_MS)
    board: Board = node.board.remove("f", "b").admit("f", "b2")
    node.core.add_records([record.encoded for record in board.records], None, START_MS)
    assert asks("b").user == asks("b2").user
    node.up("b2")
    out = node.hears("b2", hello_of("b2", board))
    assert node_of("b2") in node.core.ready()
    assert only(out, Disconnect) == []
    assert node.core.objection(session_of("b2"), 1, node_of("b2")) is None
    assert node.core.shut_out == {B}
    assert node.up("b") == [Disconnect(B, "not a member")]


def test_admitting_the_old_key_again_does_not_let_it_in() -> None:
    """Whoever has that key can contradict itself again at any time: only a fresh one helps."""
    node = three()
    node.core.shut_out_author(session_of("b"), halves_of("b"), START_MS)
    board = node.board.remove("f", "b").admit("f", "b")
    out = node.core.add_records([record.encoded for record in board.records], None, START_MS)
    assert B in node.core.roster.members
    assert all(B not in allowed.peers for allowed in only(out, AllowPeers))
