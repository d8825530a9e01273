"""What every ``Transport`` keeps: strangers, the join protocol, stats and the end."""

from __future__ import annotations

import asyncio

import pytest

from aiplatform.mesh_ide.mesh.adapters.joins import AT_ONCE_MAX, PER_KEY_MAX
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import (
    FrameTooLargeError,
    NoLinkError,
    PeerUnreachableError,
)
from aiplatform.mesh_ide.ports.transport import (
    JOIN_FRAME_BYTES_MAX,
    LinkEnd,
)
from tests.contract.transport_kit import (
    Down,
    Frame,
    Heard,
    Network,
    Party,
    Recorder,
    Up,
    close_all,
    linked_pair,
)
from tests.contract.transport_rig import (
    MIB,
    Wrapped,
)

# --- strangers ----------------------------------------------------------------------------------


async def _try_as_stranger(network: Network, host: Party) -> Party:
    """Dial as somebody whom the host does not know, and send if a link comes up."""
    stranger = await Party.start(network, "stranger", "a")

    def send(heard: Heard) -> None:
        if isinstance(heard, Up):
            stranger.say(host, Channel.CONTROL, b"let me in")

    stranger.recorder.reaction = send
    stranger.dial(host)
    await stranger.recorder.until(lambda: bool(stranger.recorder.heard))
    return stranger


def test_a_stranger_is_refused_and_none_of_its_bytes_delivered(network: Network) -> None:
    """The dialler hears why; the host hears nothing at all."""

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        stranger = await _try_as_stranger(network, a)
        assert [type(heard) for heard in stranger.recorder.heard] == [Down]
        assert stranger.recorder.downs[0].end is LinkEnd.REFUSED
        assert "member" in stranger.recorder.downs[0].detail
        assert a.recorder.heard == []
        await close_all(a, stranger)

    network.run(work())


def test_planted_bug_an_open_door_is_caught(network: Network) -> None:
    """A transport that lets in more than it was told delivers a stranger's frame."""

    class OpenDoor(Wrapped):
        def allow(self, peers: frozenset[NodeId]) -> None:
            self.inner.allow(peers | {network.node("stranger")})

    async def work() -> None:
        a = await Party.start(network, "a")
        OpenDoor(a.transport).allow(frozenset({network.node("b")}))
        stranger = await _try_as_stranger(network, a)
        await a.recorder.until_count(Frame, 1)
        assert Frame(stranger.node, Channel.CONTROL, b"let me in") in a.recorder.heard
        await close_all(a, stranger)

    network.run(work())


def test_who_is_no_longer_allowed_is_put_out(network: Network) -> None:
    """Its link ends at once, the others' stand; it cannot come back, nor be dialled."""

    async def work() -> None:
        a, b = await linked_pair(network)
        c = await Party.start(network, "c", "a")
        c.dial(a)
        await a.recorder.until_count(Up, 2)
        a.transport.allow(frozenset({c.node}))
        await a.recorder.until_count(Down, 1)
        await b.recorder.until_count(Down, 1)
        assert a.recorder.downs[0][:2] == (b.node, LinkEnd.CLOSED_BY_US)
        assert b.recorder.downs[0][:2] == (a.node, LinkEnd.REFUSED)
        b.dial(a)
        await b.recorder.until_count(Down, 2)
        assert b.recorder.downs[1][:2] == (a.node, LinkEnd.REFUSED)
        a.dial(b)
        await a.recorder.until_count(Down, 2)
        assert a.recorder.downs[1][:2] == (b.node, LinkEnd.CLOSED_BY_US)
        assert [link.peer for link in a.transport.stats()] == [c.node]
        await close_all(a, b, c)

    network.run(work())


# --- the join protocol --------------------------------------------------------------------------


def test_a_stranger_may_ask_to_join_while_its_links_are_refused(network: Network) -> None:
    """The host learns the proven key and the request; the stranger gets the answer."""

    async def work() -> None:
        a = await Party.start(network, "a")
        asked: list[tuple[NodeId, bytes]] = []

        async def answer(peer: NodeId, request: bytes) -> bytes:
            asked.append((peer, request))
            return request + bytes(JOIN_FRAME_BYTES_MAX - len(request))

        a.recorder.answer_join = answer
        stranger = await _try_as_stranger(network, a)
        request = b"t" * JOIN_FRAME_BYTES_MAX
        for _ in range(2):
            got = await stranger.transport.request_join(a.node, a.addresses, request, 5.0)
            assert got == request
        assert asked == [(stranger.node, request)] * 2
        assert stranger.recorder.downs[0].end is LinkEnd.REFUSED
        assert a.recorder.heard == []
        await close_all(a, stranger)

    network.run(work())


def test_join_frames_have_a_bound_on_both_ways(network: Network) -> None:
    """A larger request is not sent, a larger answer is no answer."""

    async def work() -> None:
        a = await Party.start(network, "a")
        b = await Party.start(network, "b")
        over = bytes(JOIN_FRAME_BYTES_MAX + 1)
        with pytest.raises(FrameTooLargeError):
            await b.transport.request_join(a.node, a.addresses, over, 5.0)

        async def answer(peer: NodeId, request: bytes) -> bytes:
            return over

        a.recorder.answer_join = answer
        with pytest.raises(PeerUnreachableError):
            await b.transport.request_join(a.node, a.addresses, b"", 5.0)
        await close_all(a, b)

    network.run(work())


def test_a_join_request_without_an_answer_ends_in_time(network: Network) -> None:
    """Nobody there, a host that turns the request down, a host that says nothing."""

    async def work() -> None:
        a = await Party.start(network, "a")
        b = await Party.start(network, "b")

        async def refuse(peer: NodeId, request: bytes) -> bytes:
            raise NotPermittedError("the ticket was used already")

        async def stay_silent(peer: NodeId, request: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        with pytest.raises(PeerUnreachableError):
            await b.transport.request_join(a.node, (), b"?", 5.0)
        with pytest.raises(PeerUnreachableError):
            await b.transport.request_join(network.node("c"), a.addresses, b"?", 0.3)
        a.recorder.answer_join = refuse
        with pytest.raises(PeerUnreachableError, match="used already"):
            await b.transport.request_join(a.node, a.addresses, b"?", 5.0)
        a.recorder.answer_join = stay_silent
        with pytest.raises(PeerUnreachableError):
            await b.transport.request_join(a.node, a.addresses, b"?", 0.3)
        await close_all(a, b)

    network.run(work())


def test_join_requests_are_bounded_by_key_and_at_once(network: Network) -> None:
    """Who asks too often is turned away, and so is who comes while too many are in work."""

    async def work() -> None:
        a = await Party.start(network, "a")
        askers = [await Party.start(network, f"asker {index}") for index in range(AT_ONCE_MAX)]
        late = await Party.start(network, "late")
        in_work, release = asyncio.Semaphore(0), asyncio.Event()

        async def wait(peer: NodeId, request: bytes) -> bytes:
            in_work.release()
            await release.wait()
            return b"welcome"

        a.recorder.answer_join = wait
        async with asyncio.TaskGroup() as group:
            answers = [
                group.create_task(x.transport.request_join(a.node, a.addresses, b"", 9.0))
                for x in askers
            ]
            for _ in askers:
                await in_work.acquire()
            with pytest.raises(PeerUnreachableError, match="in work"):
                await late.transport.request_join(a.node, a.addresses, b"", 5.0)
            release.set()
        assert {task.result() for task in answers} == {b"welcome"}
        for _ in range(PER_KEY_MAX):
            assert await late.transport.request_join(a.node, a.addresses, b"", 5.0) == b"welcome"
        with pytest.raises(PeerUnreachableError, match="too often"):
            await late.transport.request_join(a.node, a.addresses, b"", 5.0)
        await close_all(a, late, *askers)

    network.run(work())


# --- listener, stats, end -----------------------------------------------------------------------


def test_the_listener_may_end_the_link_from_inside_a_call(network: Network) -> None:
    """No call stands inside another, and after the end nothing of that link is heard."""

    async def work() -> None:
        a, b = await linked_pair(network)

        def react(heard: Heard) -> None:
            if isinstance(heard, Frame) and heard.content == b"3":
                b.transport.disconnect(a.node, "that one was bad")

        b.recorder.reaction = react
        for index in range(10):
            a.say(b, Channel.DOCUMENTS, str(index).encode())
        await a.recorder.until_count(Down, 1)
        await b.recorder.until_count(Down, 1)
        assert b.recorder.contents(Channel.DOCUMENTS) == [b"0", b"1", b"2", b"3"]
        assert b.recorder.heard[-1] == Down(a.node, LinkEnd.CLOSED_BY_US, "that one was bad")
        assert not b.recorder.is_nested
        await close_all(a, b)

    network.run(work())


def test_planted_bug_a_listener_that_fails_is_not_hidden(network: Network) -> None:
    """An error in a listener ends the transport, reaches the loop's handler and ``close``."""

    async def work() -> None:
        a, b = await linked_pair(network)
        errors: list[object] = []
        failed = asyncio.Event()

        def note(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            errors.append(context.get("exception"))
            failed.set()

        def fail(heard: Heard) -> None:
            if isinstance(heard, Frame):
                raise ZeroDivisionError

        asyncio.get_running_loop().set_exception_handler(note)
        a.recorder.reaction = b.recorder.reaction = fail
        a.say(b, Channel.CONTROL, b"x")
        await failed.wait()
        results = await asyncio.gather(
            a.transport.close(), b.transport.close(), return_exceptions=True
        )
        raised = [result for result in results if isinstance(result, ExceptionGroup)]
        assert len(raised) == 1
        assert raised[0].subgroup(ZeroDivisionError) is not None
        assert len(errors) == 1

    network.run(work())


def test_stats_tell_what_went_over_each_link(network: Network) -> None:
    """Peers, bytes both ways, nothing queued once it has arrived."""

    async def work() -> None:
        a, b = await linked_pair(network)
        assert network.node("a") == a.node
        a.say(b, Channel.BULK, bytes(100_000))
        await b.recorder.until_count(Frame, 1)
        b.say(a, Channel.CONTROL, b"thanks")
        await a.recorder.until_count(Frame, 1)
        (of_a,), (of_b,) = a.transport.stats(), b.transport.stats()
        assert (of_a.peer, of_b.peer) == (b.node, a.node)
        assert 100_000 <= of_a.sent_bytes < 101_000
        assert 100_000 <= of_b.received_bytes < 101_000
        assert of_a.received_bytes >= len(b"thanks")
        assert of_a.queued_bytes == 0
        assert of_a.rtt_ms is None or of_a.rtt_ms >= 0
        assert of_a.address
        await close_all(a, b)
        assert a.transport.stats() == ()

    network.run(work())


def test_close_with_traffic_under_way_is_quick_and_told(network: Network) -> None:
    """Queues are full both ways, a dial and a join are open; close returns within two seconds."""

    async def work() -> None:
        a, b = await linked_pair(network)
        for _ in range(15):
            a.say(b, Channel.BULK, bytes(MIB))
            b.say(a, Channel.BULK, bytes(MIB))
        a.transport.dial(network.node("c"), ("127.0.0.1:9",))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await a.transport.close()
        await a.transport.close()
        assert asyncio.get_running_loop().time() - began < 2
        assert {(down.peer, down.end) for down in a.recorder.downs} >= {
            (b.node, LinkEnd.CLOSED_BY_US)
        }
        await b.recorder.until_count(Down, 1)
        assert b.recorder.downs[0].end is LinkEnd.CLOSED_BY_PEER
        with pytest.raises(NoLinkError):
            a.say(b, Channel.CONTROL, b"x")
        with pytest.raises(PeerUnreachableError):
            await a.transport.request_join(b.node, b.addresses, b"", 1.0)
        a.dial(b)
        await close_all(a, b)
        assert a.recorder.count(Up) == 1

    network.run(work())


def test_close_without_a_start_does_nothing(network: Network) -> None:
    """A node that failed before its links began can still be closed."""

    async def work() -> None:
        transport = network.transport("a")
        await transport.close()
        await transport.close()
        assert transport.stats() == ()

    network.run(work())


def test_a_transport_starts_again_under_its_key_after_a_close(network: Network) -> None:
    """A new object with the same key takes over where the old one left."""

    async def work() -> None:
        a, b = await linked_pair(network)
        await a.transport.close()
        await b.recorder.until_count(Down, 1)
        again = await Party.start(network, "a", "b")
        again.dial(b)
        await b.recorder.until_count(Up, 2)
        await again.recorder.until_count(Up, 1)
        assert Recorder().heard == []
        assert [type(heard) for heard in b.recorder.heard] == [Up, Down, Up]
        await close_all(again, b)

    network.run(work())
