"""The simulated network under the transport port: what only it can show, and bugs planted in it.

The promises that it shares with the other adapters are in ``tests/contract``.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from aiplatform.mesh_ide.mesh.adapters.channels import QUEUE_BYTES_MAX
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import LinkFullError
from aiplatform.mesh_ide.ports.transport import LinkEnd
from aiplatform.mesh_ide.simulation import network as links
from aiplatform.mesh_ide.simulation.faults import CALM, Faults
from aiplatform.mesh_ide.simulation.loop import NothingToComeError, VirtualLoop
from aiplatform.mesh_ide.simulation.network import IDLE_TIMEOUT_MS
from tests.contract.transport_kit import (
    LIVELY,
    Down,
    Frame,
    Party,
    SimulatedNetwork,
    Up,
    close_all,
    linked_pair,
)

EXPECTED = [number.to_bytes(2, "big") for number in range(200)]


def heard_with(network: SimulatedNetwork) -> list[bytes]:
    """Return what arrives on one channel of a link when two hundred frames are sent."""
    heard: list[bytes] = []

    async def work() -> None:
        a, b = await linked_pair(network)
        for frame in EXPECTED:
            a.say(b, Channel.DOCUMENTS, frame)
        await b.recorder.until_count(Frame, len(EXPECTED))
        await asyncio.sleep(1)
        heard.extend(b.recorder.contents(Channel.DOCUMENTS))
        await close_all(a, b)

    network.run(work())
    return heard


# --- time ----------------------------------------------------------------------------------------


def test_a_seed_replays_and_another_is_another_world() -> None:
    """The same frames at the same virtual time, for each seed."""

    def end_us(seed: int) -> int:
        network = SimulatedNetwork(seed)
        assert heard_with(network) == EXPECTED
        return network.agenda.now_us

    times = [end_us(seed) for seed in range(20)]
    assert [end_us(seed) for seed in range(20)] == times
    assert len(set(times)) == 20


def test_whoever_waits_for_nothing_is_told_so() -> None:
    """A deadlock in a test is an error at once, not a timeout."""
    network = SimulatedNetwork()

    async def wait() -> None:
        await asyncio.Event().wait()

    with (
        pytest.raises(NothingToComeError),
        asyncio.Runner(loop_factory=partial(VirtualLoop, network.agenda)) as runner,
    ):
        runner.run(wait())


# --- faults --------------------------------------------------------------------------------------


def test_a_partition_holds_frames_back_and_loses_none() -> None:
    """Nothing passes meanwhile, the sender's queue fills to its bound, then all comes in order."""
    network = SimulatedNetwork()

    async def work() -> None:
        a, b = await linked_pair(network)
        network.links.part({a.node: 1})
        size = QUEUE_BYTES_MAX[Channel.DOCUMENTS] // 16
        sent = 0
        while sent < 15:
            a.say(b, Channel.DOCUMENTS, sent.to_bytes(2, "big") + bytes(size))
            sent += 1
            await asyncio.sleep(0.5)
        with pytest.raises(LinkFullError):
            a.say(b, Channel.DOCUMENTS, bytes(size))
        assert b.recorder.frames == []
        network.links.part({})
        await b.recorder.until_count(Frame, sent)
        numbers = [frame[:2] for frame in b.recorder.contents(Channel.DOCUMENTS)]
        assert numbers == [number.to_bytes(2, "big") for number in range(sent)]
        assert a.recorder.downs == b.recorder.downs == []
        await close_all(a, b)

    network.run(work())


def test_a_peer_that_died_without_a_word_is_noticed_after_its_time() -> None:
    """As QUIC does it: the link is lost half a minute later; heartbeats notice it sooner."""
    network = SimulatedNetwork()

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        ghost = await network.haunt("b", a.node, a.addresses)
        await a.recorder.until_count(Up, 1)
        died_us = network.agenda.now_us
        await ghost.vanish()
        a.transport.send_nowait(network.node("b"), Channel.CONTROL, b"are you there?")
        await a.recorder.until_count(Down, 1)
        assert a.recorder.downs[0].end is LinkEnd.LOST
        assert network.agenda.now_us - died_us == IDLE_TIMEOUT_MS * 1000
        await close_all(a)

    network.run(work())


def test_a_link_that_breaks_is_lost_at_both_ends() -> None:
    """Each hears it once, in its own time; what was in flight never arrives."""
    network = SimulatedNetwork()

    async def work() -> None:
        a, b = await linked_pair(network)
        a.say(b, Channel.BULK, b"on its way")
        await asyncio.sleep(0.0005)
        network.links.break_link(a.node, b.node)
        await a.recorder.until_count(Down, 1)
        await b.recorder.until_count(Down, 1)
        await asyncio.sleep(60)
        assert [down.end for down in a.recorder.downs + b.recorder.downs] == [LinkEnd.LOST] * 2
        assert b.recorder.frames == []
        await close_all(a, b)

    network.run(work())


def test_nobody_is_reached_across_a_partition() -> None:
    """A dial ends as unreachable; after the partition the next one makes a link."""
    network = SimulatedNetwork()

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        b = await Party.start(network, "b", "a")
        network.links.part({a.node: 1})
        a.dial(b)
        await a.recorder.until_count(Down, 1)
        assert a.recorder.downs[0].end is LinkEnd.UNREACHABLE
        network.links.part({})
        a.dial(b)
        await b.recorder.until_count(Up, 1)
        await close_all(a, b)

    network.run(work())


# --- planted bugs --------------------------------------------------------------------------------


class Jumbling(links.Network):
    """Planted bug: a frame may overtake the one before it."""

    def _carry(self, link: links._Link, parcel: links._Parcel) -> None:
        link.last_us.clear()
        super()._carry(link, parcel)


class Slow(links.Network):
    """No bug: frames are a second longer on their way than dials."""

    def _schedule(
        self, link: links._Link, sender: NodeId, parcel: links._Parcel, arrival_us: int
    ) -> None:
        super()._schedule(link, sender, parcel, arrival_us + 1_000_000)


class Leaking(Slow):
    """Planted bug: delivers what was sent on a link that has ended."""

    def _arrive(self, link: links._Link, sender: NodeId, parcel: links._Parcel) -> None:
        self.in_flight -= 1
        self._nodes[parcel.to].frame(sender, parcel.channel, parcel.frame)


class OpenDoor(links.Network):
    """Planted bug: does not ask the far side whom it allows."""

    def _connect(self, near: NodeId, far: NodeId, this: object, *, is_right: bool) -> None:
        there = self._nodes.get(far)
        if there is not None:
            there.allowed = there.allowed | {near}
        super()._connect(near, far, this, is_right=is_right)


def broken(kind: type[links.Network], faults: Faults = LIVELY) -> SimulatedNetwork:
    """Return a network with a bug planted in it."""
    network = SimulatedNetwork(faults=faults)
    network.links.__class__ = kind
    return network


def test_frames_that_overtake_each_other_are_caught() -> None:
    """The suite's check of order fails on such a network."""
    heard = heard_with(broken(Jumbling))
    assert sorted(heard) == EXPECTED
    assert heard != EXPECTED


def test_frames_that_come_twice_are_caught() -> None:
    """The simulator's duplicates are beyond what the port allows, and would be noticed."""
    assert heard_with(SimulatedNetwork(faults=Faults(duplicate_frame=0.2))) != EXPECTED
    assert heard_with(SimulatedNetwork(faults=CALM)) == EXPECTED


@pytest.mark.parametrize(("kind", "is_safe"), [(links.Network, True), (OpenDoor, False)])
def test_a_network_that_lets_strangers_in_is_caught(
    kind: type[links.Network], is_safe: bool
) -> None:
    """The stranger's bytes arrive then; on the unbroken network nothing of it is heard."""
    network = broken(kind)

    async def work() -> None:
        a = await Party.start(network, "a", "b")
        stranger = await Party.start(network, "stranger", "a")
        stranger.dial(a)
        await stranger.recorder.until(lambda: bool(stranger.recorder.heard))
        if stranger.recorder.count(Up):
            stranger.say(a, Channel.CONTROL, b"let me in")
            await asyncio.sleep(1)
        assert (a.recorder.heard == []) is is_safe
        await close_all(a, stranger)

    network.run(work())


@pytest.mark.parametrize(("kind", "is_safe"), [(Slow, True), (Leaking, False)])
def test_a_network_that_delivers_what_a_dead_link_held_is_caught(
    kind: type[links.Network], is_safe: bool
) -> None:
    """A frame of the old link must not turn up on the new one."""
    network = broken(kind)
    heard: list[bytes] = []

    async def work() -> None:
        a, b = await linked_pair(network)
        a.say(b, Channel.CONTROL, b"old")
        await asyncio.sleep(0.001)
        a.transport.disconnect(b.node, "again")
        await b.recorder.until_count(Down, 1)
        a.dial(b)
        await b.recorder.until_count(Up, 2)
        await asyncio.sleep(5)
        heard.extend(b.recorder.contents(Channel.CONTROL))
        await close_all(a, b)

    network.run(work())
    assert (heard == []) is is_safe


def test_the_virtual_loop_is_a_loop_like_any_other() -> None:
    """Timers, timeouts and tasks keep virtual time; a minute passes at once."""
    network = SimulatedNetwork()
    passed: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.Event().wait()
        passed.append(loop.time() - began)

    network.run(work())
    assert passed == [pytest.approx(15)]
