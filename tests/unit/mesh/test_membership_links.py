"""Links over time: who is asked whether it lives, given up, dialled again."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.mesh.links import (
    ANSWER_MS,
    BACKOFF_FIRST_MS,
    BACKOFF_MAX_MS,
    DIAL_LIMIT_MS,
    PING_BUSY_MS,
    PING_IDLE_MS,
    SILENCE_IDLE_MS,
    SILENCE_MS,
)
from aiplatform.mesh_ide.mesh.outputs import Dial, Disconnect, KeepAddresses, PeerGone
from aiplatform.mesh_ide.model.messages import Goodbye, Hello, Ping, Pong
from tests.unit.identity.boards import founded, node_of
from tests.unit.mesh.members import START_MS, Node, only, told, two

A = node_of("a")
TICK_MS = 100


# --- silence -------------------------------------------------------------------------------------


def silence(*busy: str) -> tuple[int, list[int]]:
    """Return after how long a dead peer is noticed, and when it was pinged before."""
    node = Node(two())
    node.greeted("a")
    pings: list[int] = []
    for now_ms in range(START_MS, START_MS + 120_000, TICK_MS):
        out = node.tick(now_ms, *busy)
        pings.extend(now_ms - START_MS for _ in told(out, Ping))
        if only(out, PeerGone):
            assert [one.peer for one in only(out, Disconnect)] == [A]
            return now_ms - START_MS, pings
    pytest.fail("a dead peer is never noticed")


def test_a_dead_peer_on_which_something_depends_is_noticed_within_two_seconds() -> None:
    """Pinged every half second, given up after the silence time."""
    noticed_ms, pings = silence("a")
    assert SILENCE_MS < noticed_ms <= 2000
    assert pings[0] == PING_BUSY_MS


def test_a_dead_peer_on_which_nothing_depends_costs_little() -> None:
    """An idle link is asked every fifteen seconds."""
    noticed_ms, pings = silence()
    assert SILENCE_IDLE_MS < noticed_ms <= SILENCE_IDLE_MS + TICK_MS
    assert pings == [PING_IDLE_MS, 2 * PING_IDLE_MS, 3 * PING_IDLE_MS]


def test_a_link_that_was_idle_is_asked_before_it_is_given_up() -> None:
    """Long quiet and suddenly needed: the peer gets the whole silence time to answer."""
    node = Node(two())
    node.greeted("a")
    now_ms = START_MS + 10_000
    node.hears("a", Pong(99, 0), START_MS + 100)
    (ping,) = told(node.tick(now_ms, "a"), Ping)
    for later_ms in range(now_ms + TICK_MS, now_ms + ANSWER_MS, TICK_MS):
        assert only(node.tick(later_ms, "a"), PeerGone) == []
    node.hears("a", Pong(ping.nonce - 1, ping.sent_ms), now_ms + ANSWER_MS)
    assert only(node.tick(now_ms + ANSWER_MS, "a"), PeerGone) == []
    assert node.core.ready() == (A,)


def test_an_idle_link_to_the_dead_is_given_up_soon_after_it_is_needed() -> None:
    """From the first unanswered question on: well within two seconds."""
    node = Node(two())
    node.greeted("a")
    now_ms = START_MS + 10_000
    assert told(node.tick(now_ms, "a"), Ping) != []
    assert only(node.tick(now_ms + ANSWER_MS - 1, "a"), PeerGone) == []
    assert [gone.peer for gone in only(node.tick(now_ms + ANSWER_MS, "a"), PeerGone)] == [A]


def test_an_answer_measures_the_round_trip() -> None:
    """From the time that the ping carried."""
    node = Node(two())
    node.greeted("a")
    (ping,) = told(node.tick(START_MS + PING_BUSY_MS, "a"), Ping)
    node.hears("a", Pong(ping.nonce, ping.sent_ms), ping.sent_ms + 300)
    assert node.core.link_state(A)[:2] == ("online", 300.0)


def test_a_link_without_a_hello_is_given_up_like_a_busy_one() -> None:
    """Somebody who never greets holds nothing open."""
    node = Node(two())
    node.up("a")
    ends = [
        now_ms
        for now_ms in range(START_MS, START_MS + 5000, TICK_MS)
        if only(node.tick(now_ms), Disconnect)
    ]
    assert ends[0] - START_MS <= 2000
    assert node.core.ready() == ()


def test_a_ping_is_answered_and_an_old_pong_measures_nothing() -> None:
    """The answer carries the question's number and time."""
    node = Node(two())
    node.greeted("a")
    assert told(node.hears("a", Ping(5, 123)), Pong) == [Pong(5, 123)]
    assert node.hears("a", Pong(77, 0)) == []
    assert node.core.link_state(A)[1] is None


# --- dialling ------------------------------------------------------------------------------------


def test_members_with_an_address_are_dialled_at_once() -> None:
    """Others wait until somebody says where they are."""
    node = Node(founded("a", "b"), addresses={"a": ("a:1", "a:2")})
    assert only(node.tick(START_MS), Dial) == [Dial(A, ("a:1", "a:2"))]
    assert only(node.tick(START_MS + DIAL_LIMIT_MS - 1), Dial) == []
    assert only(node.tick(START_MS + DIAL_LIMIT_MS), Dial) != []


def test_pauses_between_dials_grow_and_are_bounded() -> None:
    """Doubling from 0.3 s to half a minute with jitter: never faster, never for ever."""
    node = Node(two(), addresses={"a": ("a:1",)})
    now_ms, pauses = START_MS, []
    for _ in range(14):
        node.down("a", now_ms, "unreachable")
        failed_ms = now_ms
        while not only(node.tick(now_ms), Dial):
            now_ms += 50
        pauses.append(now_ms - failed_ms)
    assert pauses[0] >= BACKOFF_FIRST_MS
    assert max(pauses) <= 1.5 * BACKOFF_MAX_MS + BACKOFF_FIRST_MS + 50
    assert pauses[-1] >= BACKOFF_MAX_MS
    assert sorted(pauses[:4]) == pauses[:4]


def test_a_link_that_stood_is_redialled_soon_after_its_loss() -> None:
    """Failures before it are forgotten; the end of a ready link is told once."""
    node = Node(two(), addresses={"a": ("a:1",)})
    for _ in range(8):
        node.down("a", START_MS)
    node.greeted("a")
    assert node.down("a", START_MS) == [PeerGone(A, "lost")]
    assert node.core.link_state(A) == ("offline", None, "lost")
    late = START_MS + 2 * BACKOFF_FIRST_MS + BACKOFF_FIRST_MS // 2
    assert only(node.tick(late), Dial) != []


def test_redial_forgets_every_pause() -> None:
    """The network is back: nobody waits half a minute."""
    node = Node(two(), addresses={"a": ("a:1",)})
    for _ in range(9):
        node.down("a", START_MS)
    assert only(node.tick(START_MS + 1), Dial) == []
    node.core.redial(START_MS + 1)
    assert only(node.tick(START_MS + 1), Dial) == [Dial(A, ("a:1",))]


def test_who_is_told_where_a_member_is_dials_it_there_at_once() -> None:
    """The new address comes first and is kept; strangers are not dialled."""
    node = Node(two(), addresses={"a": ("a:1",)})
    for _ in range(9):
        node.down("a", START_MS)
    out = node.core.dial_at(A, ("a:2",), START_MS + 1)
    assert only(out, KeepAddresses) == [KeepAddresses(A, ("a:2", "a:1"))]
    assert only(node.tick(START_MS + 1), Dial) == [Dial(A, ("a:2", "a:1"))]
    assert node.core.dial_at(node_of("b"), ("b:1",), START_MS + 1) == []


def test_a_goodbye_is_remembered_for_people() -> None:
    """Why a member left stands in its link's detail."""
    node = Node(two())
    node.greeted("a")
    node.hears("a", Goodbye("going home"))
    assert node.core.link_state(A)[2] == "going home"


def test_where_a_member_was_reached_is_learnt() -> None:
    """The address of a link comes first; a known one is not learnt twice."""
    node = Node(two(), addresses={"a": ("a:1",)})
    out = node.up("a", "a:7")
    assert only(out, KeepAddresses) == [KeepAddresses(A, ("a:7", "a:1"))]
    assert only(node.up("a", "a:1"), KeepAddresses) == []


def test_our_own_greeting_can_be_told_where_we_are() -> None:
    """At most sixteen addresses, as everybody keeps."""
    node = Node(two())
    node.core.set_addresses(tuple(f"10.0.0.1:{port}" for port in range(40)))
    (hello,) = told(node.up("a"), Hello)
    assert len(hello.addresses) == 16
    assert node.core.my_hello.addresses == hello.addresses
