"""Who belongs, who is linked, who is greeted, who is gone: dialogues with a node's membership."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.mesh.greeting import CLOCK_SKEW_MS
from aiplatform.mesh_ide.mesh.outputs import (
    AllowPeers,
    Dial,
    Disconnect,
    KeepAddresses,
    KeepCertificate,
    KeepRoster,
    PeerGone,
    PeerReady,
    RosterChanged,
    SayTo,
    Warned,
)
from aiplatform.mesh_ide.model.enums import Channel, Role
from aiplatform.mesh_ide.model.ids import WorkspaceId
from aiplatform.mesh_ide.model.messages import (
    Acquaintances,
    Certificates,
    Goodbye,
    Hello,
    RosterExchange,
    Stored,
    Whereabouts,
)
from tests.unit.identity.boards import WORKSPACE, founded, key_of, node_of
from tests.unit.mesh.members import (
    START_MS,
    Node,
    certificate_of,
    halves_of,
    hello_of,
    only,
    ready,
    session_of,
    told,
    two,
)

A, B, F = node_of("a"), node_of("b"), node_of("f")
TICK_MS = 100


# --- greeting ------------------------------------------------------------------------------------


def test_a_link_is_greeted_with_the_roster_and_the_clock_of_now() -> None:
    """The first word on a link is our hello, with the current digest."""
    node = Node(two())
    (said,) = node.up("a")
    assert isinstance(said, SayTo)
    assert isinstance(said.message, Hello)
    assert (said.peer, said.channel) == (A, Channel.CONTROL)
    assert (said.message.roster_digest, said.message.clock_ms) == (
        node.core.roster.digest,
        START_MS,
    )
    assert node.core.ready() == ()


def test_a_hello_makes_a_member_ready_once() -> None:
    """Certificate and addresses are kept; a second hello is no second arrival."""
    node = Node(two())
    out = node.greeted("a")
    assert ready(out) == [A]
    assert only(out, KeepCertificate) == [KeepCertificate(certificate_of("a"))]
    assert only(out, KeepAddresses) == [KeepAddresses(A, ("a:1",))]
    assert told(out, RosterExchange) == []
    assert ready(node.hears("a", hello_of("a", node.board))) == []
    assert node.core.link_state(A)[0] == "online"
    assert node.core.hello_of(A) == hello_of("a", node.board)


def test_different_rosters_are_exchanged() -> None:
    """Whoever sees another digest shows all its records; they make the other's equal."""
    ours, theirs = Node(two().admit("f", "b")), Node(two(), me="a")
    out = ours.up("a")
    (hello,) = told(out, Hello)
    theirs.up("f")
    assert told(theirs.hears("f", hello), RosterExchange) != []
    (shown,) = told(ours.hears("a", hello_of("a", theirs.board)), RosterExchange)
    out = theirs.hears("f", shown)
    assert [kept.keep for kept in only(out, KeepRoster)] != []
    assert RosterChanged(frozenset({B})) in out, "who is new has a role that it had not"
    assert theirs.core.roster.digest == ours.core.roster.digest
    assert theirs.hears("f", shown) == []


HELLO = hello_of("a", two())
WRONG = {
    "serves another workspace": replace(HELLO, workspace=WorkspaceId(b"?" * 32)),
    "greeted under another name": replace(HELLO, node=B),
    "showed a session it does not own": replace(
        HELLO, certificate=replace(certificate_of("a"), started_ms=1)
    ),
    "offered a sealing key that it did not sign": replace(HELLO, sealing=bytes(96)),
}


@pytest.mark.parametrize("problem", WRONG)
def test_a_false_hello_ends_the_link(problem: str) -> None:
    """Another workspace or name, a forged session or sealing key: told, disconnected."""
    node = Node(two())
    node.up("a")
    out = node.hears("a", WRONG[problem])
    assert only(out, Disconnect) == [Disconnect(A, problem)]
    assert len(only(out, Warned)) == 1
    assert (ready(out), only(out, KeepCertificate)) == ([], [])


def test_somebody_elses_certificate_is_no_greeting() -> None:
    """A valid certificate of another node does not make a session its own."""
    node = Node(founded("a", "b"))
    node.up("a")
    out = node.hears("a", replace(hello_of("a"), certificate=certificate_of("b")))
    assert only(out, Disconnect) == [Disconnect(A, "greeted under another name")]


def test_a_strangers_link_is_ended_and_its_words_are_nothing() -> None:
    """Who is not on the roster is disconnected; what it says meanwhile is not taken."""
    node = Node(two())
    assert node.up("x") == [Disconnect(node_of("x"), "not a member")]
    assert node.hears("x", hello_of("x")) == []
    assert node.down("x") == []
    assert node.core.hello_of(node_of("x")) is None


def test_nothing_else_is_taken_before_the_hello() -> None:
    """Until a peer has greeted, what it says of files reaches nobody; afterwards it does."""
    node = Node(two())
    node.up("a")
    assert node.core.on_message(A, Stored(()), START_MS) == []
    node.hears("a", hello_of("a", node.board))
    assert node.core.on_message(A, Stored(()), START_MS) is None


def test_a_clock_that_is_days_off_is_told() -> None:
    """It changes nothing but what people read; a clock that is minutes off is not worth a word."""
    node = Node(two())
    node.up("a")
    ahead = START_MS + 3 * CLOCK_SKEW_MS + 1
    (warned,) = only(node.hears("a", hello_of("a", node.board, ahead)), Warned)
    assert "3 days ahead" in warned.text
    assert node.core.clock_ahead_ms(A) == ahead - START_MS
    (warned,) = only(node.hears("a", hello_of("a", node.board, -ahead + 2 * START_MS)), Warned)
    assert "days behind" in warned.text
    assert only(node.hears("a", hello_of("a", node.board, START_MS + 60_000)), Warned) == []


def test_a_link_made_anew_is_greeted_anew() -> None:
    """The old one counts as gone first: ready and gone alternate."""
    node = Node(two())
    node.greeted("a")
    gone, said = node.up("a", now_ms=START_MS + 5)
    assert gone == PeerGone(A, "linked anew")
    assert isinstance(said, SayTo)
    assert ready(node.hears("a", hello_of("a", node.board))) == [A]


# --- certificates --------------------------------------------------------------------------------


def test_certificates_are_kept_once_and_forged_ones_told() -> None:
    """A session is introduced by anybody, if node and session both signed."""
    node = Node(two())
    node.greeted("a")
    forged = replace(certificate_of("c"), node=B)
    out = node.hears("a", Certificates((certificate_of("b"), forged, certificate_of("b"))))
    assert only(out, KeepCertificate) == [KeepCertificate(certificate_of("b"))]
    assert len(only(out, Warned)) == 1
    assert node.hears("a", Certificates((certificate_of("b"),))) == []


def test_a_certificate_for_another_workspace_is_none() -> None:
    """It is bound to the workspace: it cannot be replayed into this one."""
    node = Node(two())
    node.greeted("a")
    foreign = certify(
        node=key_of("b"), session=key_of("s"), workspace=WorkspaceId(b"?" * 32), started_ms=0
    )
    assert WORKSPACE != b"?" * 32
    assert only(node.hears("a", Certificates((foreign,))), KeepCertificate) == []
    assert PeerReady(B) not in node.hears("a", Goodbye(""))


def test_entries_need_a_known_session_of_a_member_with_the_role() -> None:
    """Unknown session, reader, equivocator: each objection says why."""
    node = Node(founded("a").admit("f", "r", Role.READ))
    reader = node_of("r")
    assert "unknown session" in str(node.core.objection(session_of("a"), 1, A))
    node.greeted("a")
    node.greeted("r")
    assert node.core.objection(session_of("a"), 1, A) is None
    assert "may not edit" in str(node.core.objection(session_of("r"), 1, reader))
    assert node.core.objection(session_of("r"), 1, A) is None, "an editor vouches for it"
    node.core.shut_out_author(session_of("a"), halves_of("a"), START_MS)
    assert "shut out" in str(node.core.objection(session_of("a"), 1, A))


# --- the roster ----------------------------------------------------------------------------------


def test_only_members_are_allowed_in() -> None:
    """At the start the transport is told whose links to accept: all members but ourselves."""
    node = Node(founded("a", "b"))
    assert only(node.loaded, AllowPeers) == [AllowPeers(frozenset({A, B}))]


def test_who_is_removed_is_gone_at_once() -> None:
    """Its link ends, its dials are refused, and the others hear of the record."""
    node = Node(founded("a", "b"))
    node.greeted("a")
    node.greeted("b")
    record = node.board.remove("f", "b").records[-1]
    out = node.core.add_records([record.encoded], None, START_MS)
    assert only(out, AllowPeers) == [AllowPeers(frozenset({A}))]
    assert only(out, PeerGone) == [PeerGone(B, "no longer a member")]
    assert only(out, Disconnect) == [Disconnect(B, "no longer a member")]
    assert told(out, RosterExchange, "a") == [RosterExchange((record.encoded,))]
    assert told(out, RosterExchange, "b") == []
    assert node.up("b") == [Disconnect(B, "not a member")]


def test_records_are_passed_on_but_not_back() -> None:
    """Gossip: whoever told us is not told."""
    node = Node(founded("a", "b"))
    node.greeted("a")
    node.greeted("b")
    record = founded("a", "b").admit("f", "c").records[-1]
    out = node.hears("a", RosterExchange((record.encoded,)))
    assert told(out, RosterExchange, "b") == [RosterExchange((record.encoded,))]
    assert told(out, RosterExchange, "a") == []


def test_garbage_for_a_record_is_told_and_nothing_else() -> None:
    """The good ones beside it are taken."""
    node = Node(two())
    node.greeted("a")
    record = two().admit("f", "c").records[-1]
    out = node.hears("a", RosterExchange((b"garbage", record.encoded)))
    assert len(only(out, Warned)) == 1
    assert node_of("c") in node.core.roster.members
    assert only(node.hears("a", RosterExchange((b"garbage",))), RosterChanged) == []


def test_a_newcomer_without_roster_lets_its_sponsor_in() -> None:
    """The ticket named the sponsor's key: its records make us a member; then it is one of many."""
    newcomer = Node(founded(), me="b", sponsor="a", addresses={"a": ("a:1",)})
    newcomer_board = founded("a", "b")
    assert A in only(newcomer.loaded, AllowPeers)[0].peers
    newcomer.up("a")
    newcomer.hears("a", hello_of("a", newcomer_board))
    records = tuple(record.encoded for record in newcomer_board.records)
    out = newcomer.hears("a", RosterExchange(records))
    assert only(out, AllowPeers) == [AllowPeers(frozenset({A, F}))]
    removed = newcomer_board.remove("f", "a").records[-1]
    out = newcomer.core.add_records([removed.encoded], None, START_MS)
    assert only(out, AllowPeers) == [AllowPeers(frozenset({F}))]


# --- acquaintances -------------------------------------------------------------------------------


def test_who_arrives_is_introduced_to_all_and_all_to_it() -> None:
    """Two nodes that joined through a third learn each other's address from it."""
    node = Node(founded("a", "b"))
    node.greeted("a")
    out = node.greeted("b")
    assert told(out, Acquaintances, "b") == [Acquaintances((Whereabouts(A, ("a:1",)),))]
    assert told(out, Acquaintances, "a") == [Acquaintances((Whereabouts(B, ("b:1",)),))]


def test_a_hint_about_a_member_leads_to_a_dial() -> None:
    """Strangers and members that are linked already are passed over."""
    node = Node(founded("a", "b"))
    node.greeted("a")
    hints = (
        Whereabouts(B, ("b:9",)),
        Whereabouts(node_of("x"), ("x:1",)),
        Whereabouts(A, ("elsewhere:1",)),
    )
    out = node.hears("a", Acquaintances(hints))
    assert out == [KeepAddresses(B, ("b:9",))]
    assert only(node.tick(START_MS), Dial) == [Dial(B, ("b:9",))]


def test_what_we_know_ourselves_comes_before_a_hint() -> None:
    """A dial tries first where the member was reached; a hint that is known changes nothing."""
    node = Node(founded("a", "b"), addresses={"b": ("b:1",)})
    node.greeted("a")
    out = node.hears("a", Acquaintances((Whereabouts(B, ("b:9", "b:1")),)))
    assert out == [KeepAddresses(B, ("b:1", "b:9"))]
    assert node.hears("a", Acquaintances((Whereabouts(B, ("b:9",)),))) == []
