"""What every ``Transport`` keeps, whatever carries its frames: frames and links."""

from __future__ import annotations

import asyncio

import pytest

from aiplatform.mesh_ide.mesh.adapters.channels import QUEUE_BYTES_MAX
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import (
    FrameTooLargeError,
    LinkFullError,
    NoLinkError,
)
from aiplatform.mesh_ide.ports.transport import (
    FRAME_BYTES_MAX,
    LinkEnd,
)
from tests.contract.transport_kit import (
    Down,
    Frame,
    Network,
    Party,
    Up,
    close_all,
    linked_pair,
)
from tests.contract.transport_rig import (
    MIB,
    Wrapped,
)

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
