"""What every ``Transport`` keeps, whatever carries its frames.

A further adapter joins by its ``Network`` in ``NETWORKS``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from aiplatform.mesh_ide.mesh.adapters.channels import QUEUE_BYTES_MAX
from aiplatform.mesh_ide.mesh.adapters.joins import AT_ONCE_MAX, PER_KEY_MAX
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import (
    FrameTooLargeError,
    LinkFullError,
    NoLinkError,
    PeerUnreachableError,
)
from aiplatform.mesh_ide.ports.transport import (
    FRAME_BYTES_MAX,
    JOIN_FRAME_BYTES_MAX,
    LinkEnd,
    LinkListener,
    LinkStats,
    Transport,
)
from tests.contract.transport_kit import (
    Down,
    Frame,
    Heard,
    IrohNetwork,
    MemoryNetwork,
    Network,
    Party,
    Recorder,
    Up,
    close_all,
    linked_pair,
)

NETWORKS: dict[str, Callable[[], Network]] = {
    "memory": MemoryNetwork,
    "iroh": IrohNetwork,
}

MIB = 1024 * 1024


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    """Give each adapter in turn, with nobody on it yet."""
    return NETWORKS[request.param]()


class Wrapped:
    """A transport to plant bugs in: everything goes through unless a variant changes it."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner

    async def start(self, listener: LinkListener) -> tuple[str, ...]:
        return await self.inner.start(listener)

    def allow(self, peers: frozenset[NodeId]) -> None:
        self.inner.allow(peers)

    def dial(self, peer: NodeId, addresses: Sequence[str]) -> None:
        self.inner.dial(peer, addresses)

    def send_nowait(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        self.inner.send_nowait(peer, channel, frame)

    async def send(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        await self.inner.send(peer, channel, frame)

    def disconnect(self, peer: NodeId, detail: str) -> None:
        self.inner.disconnect(peer, detail)

    async def request_join(
        self, peer: NodeId, addresses: Sequence[str], request: bytes, timeout_s: float
    ) -> bytes:
        return await self.inner.request_join(peer, addresses, request, timeout_s)

    def stats(self) -> tuple[LinkStats, ...]:
        return self.inner.stats()

    async def close(self) -> None:
        await self.inner.close()


# --- frames -------------------------------------------------------------------------------------


def test_frames_of_one_channel_arrive_in_order(network: Network) -> None:
    """A thousand frames each way on each channel come complete and in their order."""

    async def work() -> None:
        a, b = await linked_pair(network)
        expected = [index.to_bytes(4, "big") * (1 + index % 50) for index in range(1000)]
        for frame in expected:
            for channel in Channel:
                a.say(b, channel, frame)
                b.say(a, channel, frame)
        for party in (a, b):
            await party.recorder.until_count(Frame, 3000)
            for channel in Channel:
                assert party.recorder.contents(channel) == expected
        await close_all(a, b)

    network.run(work())


def test_every_size_up_to_the_bound_arrives(network: Network) -> None:
    """Nothing, one byte, the sizes around our own pieces, and the largest frame."""

    async def work() -> None:
        a, b = await linked_pair(network)
        quarter = 256 * 1024
        sizes = [0, 1, 3, 4, 5, 65_535, 65_536, quarter - 4, quarter, quarter + 1, MIB]
        for size in [*sizes, FRAME_BYTES_MAX, 0]:
            frame = (size % 251).to_bytes(1, "big") * size
            await a.transport.send(b.node, Channel.BULK, frame)
            await b.recorder.until(lambda: bool(b.recorder.frames))
            assert b.recorder.frames[0].content == frame
            assert b.recorder.frames[0].peer == a.node
            b.recorder.heard.clear()
        await close_all(a, b)

    network.run(work())


def test_a_frame_over_the_bound_is_refused_at_its_sender(network: Network) -> None:
    """Both ways of sending say so, and the link goes on."""

    async def work() -> None:
        a, b = await linked_pair(network)
        over = bytes(FRAME_BYTES_MAX + 1)
        with pytest.raises(FrameTooLargeError):
            a.say(b, Channel.BULK, over)
        with pytest.raises(FrameTooLargeError):
            await a.transport.send(b.node, Channel.BULK, over)
        a.say(b, Channel.BULK, b"after")
        await b.recorder.until_count(Frame, 1)
        assert b.recorder.contents(Channel.BULK) == [b"after"]
        await close_all(a, b)

    network.run(work())


async def _overtakes(a: Party, b: Party) -> bool:
    """Queue much bulk, then one control frame; tell whether it arrived before the last bulk."""
    for _ in range(15):
        a.say(b, Channel.BULK, bytes(MIB))
    a.say(b, Channel.CONTROL, b"urgent")
    await b.recorder.until_count(Frame, 16)
    arrived = [frame.content for frame in b.recorder.frames]
    return arrived.index(b"urgent") < len(arrived) - 1


def test_a_control_frame_overtakes_queued_bulk(network: Network) -> None:
    """What is queued for blobs does not stand before a heartbeat."""

    async def work() -> None:
        a, b = await linked_pair(network)
        assert await _overtakes(a, b)
        await close_all(a, b)

    network.run(work())


def test_planted_bug_one_stream_for_all_is_caught(network: Network) -> None:
    """With all channels in one queue the control frame comes last, and the check sees it."""

    class OneStream(Wrapped):
        def send_nowait(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
            self.inner.send_nowait(peer, Channel.BULK, frame)

    async def work() -> None:
        a, b = await linked_pair(network)
        assert not await _overtakes(a._replace(transport=OneStream(a.transport)), b)
        await close_all(a, b)

    network.run(work())


@pytest.mark.parametrize("channel", Channel)
def test_a_full_queue_says_so_and_send_waits_for_room(network: Network, channel: Channel) -> None:
    """The bound holds in bytes; who waits is let in, and everything arrives in order."""

    async def work() -> None:
        a, b = await linked_pair(network)
        bound = QUEUE_BYTES_MAX[channel]
        rest = bytes(bound // 16)
        for sent in range(15):
            a.say(b, channel, sent.to_bytes(4, "big") + rest)
        with pytest.raises(LinkFullError, match=channel.name):
            a.say(b, channel, rest)
        assert a.transport.stats()[0].queued_bytes <= bound
        for other in Channel:
            if other is not channel:
                a.say(b, other, b"free")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):  # passes only where nothing has to be waited for
                await a.transport.send(b.node, channel, b"gave up" + rest)
        for sent in range(15, 36):
            await a.transport.send(b.node, channel, sent.to_bytes(4, "big") + rest)
        await b.recorder.until(
            lambda: any(f[:4] == (35).to_bytes(4, "big") for f in b.recorder.contents(channel))
        )
        numbers = [f[:4] for f in b.recorder.contents(channel) if not f.startswith(b"gave up")]
        assert numbers == [index.to_bytes(4, "big") for index in range(36)]
        await close_all(a, b)

    network.run(work())


def test_a_queue_of_empty_frames_has_a_bound_too(network: Network) -> None:
    """Frames cost something even without content."""

    async def work() -> None:
        a, b = await linked_pair(network)
        bound = QUEUE_BYTES_MAX[Channel.CONTROL]
        assert _filled(a, b, Channel.CONTROL, b"") < bound // 50
        await close_all(a, b)

    network.run(work())


def test_a_sender_that_waits_hears_that_the_link_ended(network: Network) -> None:
    """Nobody waits for room on a link that is gone."""

    async def work() -> None:
        a, b = await linked_pair(network)
        assert _filled(a, b, Channel.BULK, bytes(MIB)) == 15
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(_raised(a, b))
            await asyncio.sleep(0)
            a.transport.disconnect(b.node, "enough")
        assert waiting.result() is NoLinkError
        await close_all(a, b)

    async def _raised(a: Party, b: Party) -> type[Exception] | None:
        try:
            for _ in range(20):
                await a.transport.send(b.node, Channel.BULK, bytes(MIB))
        except NoLinkError as error:
            return type(error)
        return None

    network.run(work())


def test_sending_without_a_link_is_an_error(network: Network) -> None:
    """Before, and after."""

    async def work() -> None:
        a, b = await linked_pair(network)
        stranger = network.node("nobody")
        with pytest.raises(NoLinkError):
            a.transport.send_nowait(stranger, Channel.CONTROL, b"x")
        with pytest.raises(NoLinkError):
            await a.transport.send(stranger, Channel.CONTROL, b"x")
        a.transport.disconnect(b.node, "done")
        with pytest.raises(NoLinkError):
            a.say(b, Channel.CONTROL, b"x")
        await close_all(a, b)

    network.run(work())


def _filled(a: Party, b: Party, channel: Channel, frame: bytes) -> int:
    """Queue until it is full; return how many frames there was room for."""
    for count in range(QUEUE_BYTES_MAX[channel]):
        try:
            a.say(b, channel, frame)
        except LinkFullError:
            return count
    return QUEUE_BYTES_MAX[channel]


# --- links --------------------------------------------------------------------------------------


def test_a_dial_makes_one_link_however_often_it_is_asked_for(network: Network) -> None:
    """Dialling while dialling or linked does nothing."""

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        b = await Party.start(network, "b", "a")
        for _ in range(3):
            a.dial(b)
        await a.recorder.until_count(Up, 1)
        a.dial(b)
        a.say(b, Channel.CONTROL, b"ping")
        await b.recorder.until_count(Frame, 1)
        assert a.recorder.heard == [Up(b.node)]
        assert b.recorder.heard == [Up(a.node), Frame(a.node, Channel.CONTROL, b"ping")]
        await close_all(a, b)

    network.run(work())


def test_a_dial_to_nowhere_is_told_once(network: Network) -> None:
    """No address, no usable one, or nobody there: unreachable, and no link came up before."""

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        for addresses in ((), ("not an address", "0.0.0.0:0"), ("127.0.0.1:9",)):
            a.recorder.heard.clear()
            a.transport.dial(network.node("b"), addresses)
            await a.recorder.until_count(Down, 1)
            assert [type(heard) for heard in a.recorder.heard] == [Down]
            assert a.recorder.downs[0].end is LinkEnd.UNREACHABLE
        await close_all(a)

    network.run(work())


async def _cross(a: Party, b: Party) -> bool:
    """Let both dial at once; tell whether exactly one link came of it on both sides."""
    a.dial(b)
    b.dial(a)
    await a.recorder.until_count(Up, 1)
    await b.recorder.until_count(Up, 1)
    try:
        for index in range(20):
            a.say(b, Channel.CONTROL, bytes((index,)))
            b.say(a, Channel.CONTROL, bytes((index,)))
            await asyncio.sleep(0.002)  # time for a second connection to do harm
        await a.recorder.until(lambda: a.recorder.count(Frame) >= 20 or bool(a.recorder.downs))
        await b.recorder.until(lambda: b.recorder.count(Frame) >= 20 or bool(b.recorder.downs))
    except NoLinkError:
        return False
    return all(
        party.recorder.count(Up) == 1 and party.recorder.count(Down) == 0 for party in (a, b)
    )


def test_of_crossing_dials_one_link_survives(network: Network) -> None:
    """Both dial at once, again and again: one up on each side, no down, frames flow."""

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        b = await Party.start(network, "b", "a")
        for _ in range(8):
            assert await _cross(a, b)
            a.transport.disconnect(b.node, "again")
            await a.recorder.until_count(Down, 1)
            await b.recorder.until_count(Down, 1)
            a.recorder.heard.clear()
            b.recorder.heard.clear()
        await close_all(a, b)

    network.run(work())


@pytest.mark.parametrize("dialler", ["a", "b"])
def test_a_link_can_be_ended_and_made_anew(network: Network, dialler: str) -> None:
    """Each side hears its own end of it at once; a new dial makes a new link."""

    async def work() -> None:
        a, b = await linked_pair(network)
        a.transport.disconnect(b.node, "moving house")
        a.transport.disconnect(b.node, "twice does nothing")
        await a.recorder.until_count(Down, 1)
        await b.recorder.until_count(Down, 1)
        assert a.recorder.downs == [Down(b.node, LinkEnd.CLOSED_BY_US, "moving house")]
        assert b.recorder.downs == [Down(a.node, LinkEnd.CLOSED_BY_PEER, "moving house")]
        first, second = (a, b) if dialler == "a" else (b, a)
        first.dial(second)
        await a.recorder.until_count(Up, 2)
        await b.recorder.until_count(Up, 2)
        b.say(a, Channel.DOCUMENTS, b"hello again")
        await a.recorder.until_count(Frame, 1)
        assert [type(heard) for heard in a.recorder.heard] == [Up, Down, Up, Frame]
        await close_all(a, b)

    network.run(work())


def test_a_dial_under_way_can_be_given_up(network: Network) -> None:
    """The listener hears of it once, and no link comes later."""

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        b = await Party.start(network, "b", "a")
        a.dial(b)
        a.transport.disconnect(b.node, "changed my mind")
        await a.recorder.until_count(Down, 1)
        a.dial(b)
        await a.recorder.until_count(Up, 1)
        assert a.recorder.heard == [
            Down(b.node, LinkEnd.CLOSED_BY_US, "changed my mind"),
            Up(b.node),
        ]
        await close_all(a, b)

    network.run(work())


def test_a_peer_that_died_comes_back_under_its_key(network: Network) -> None:
    """The old link is half-dead, nobody noticed; the new connection takes its place."""

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        ghost = await network.haunt("b", a.node, a.addresses)
        await a.recorder.until_count(Up, 1)
        await ghost.vanish()
        assert a.recorder.downs == []
        b = await Party.start(network, "b", "a")
        b.dial(a)
        await a.recorder.until_count(Up, 2)
        await b.recorder.until_count(Up, 1)
        assert [type(heard) for heard in a.recorder.heard] == [Up, Down, Up]
        assert a.recorder.downs[0].end is LinkEnd.LOST
        a.say(b, Channel.CONTROL, b"you again")
        await b.recorder.until_count(Frame, 1)
        await close_all(a, b)

    network.run(work())


def test_a_half_dead_link_is_given_up_and_dialled_anew(network: Network) -> None:
    """Who noticed the death disconnects and dials; it does not wait for the old connection."""

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        ghost = await network.haunt("b", a.node, a.addresses)
        await a.recorder.until_count(Up, 1)
        await ghost.vanish()
        b = await Party.start(network, "b", "a")
        a.transport.disconnect(b.node, "no heartbeat")
        a.dial(b)
        await a.recorder.until_count(Up, 2)
        await b.recorder.until_count(Up, 1)
        assert a.recorder.downs == [Down(b.node, LinkEnd.CLOSED_BY_US, "no heartbeat")]
        await close_all(a, b)

    network.run(work())


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
