"""A node is reached although somebody else answers at one of its addresses, and faster."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from iroh import Endpoint, Incoming, IrohError

from aiplatform.mesh_ide.mesh.adapters.iroh import reaching as module
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import (
    LINK_ALPN,
    Listen,
    bind,
    dialable_addresses,
)
from aiplatform.mesh_ide.mesh.adapters.iroh.reaching import (
    HEAD_START_S,
    SPARES_MAX,
    NotReachedError,
    Reached,
    Reaching,
    _Dial,
)
from aiplatform.mesh_ide.mesh.adapters.tasks import TaskOwner
from aiplatform.mesh_ide.model.ids import NodeId
from tests.contract.transport_kit import run_on_asyncio, seed_of

AWAY_S = 0.03
"""One way to the right node; who answers wrongly is on this machine."""


class Wire:
    """A way to a node that takes its time, as from another machine."""

    def __init__(self, to: str) -> None:
        host, port = to.rsplit(":", 1)
        self._to = (host, int(port))
        self._loop = asyncio.get_running_loop()
        self._back: dict[tuple[str, int], socket.socket] = {}
        self._front = self._open()
        self._front.bind(("127.0.0.1", 0))
        self._loop.add_reader(self._front, self._come)
        self.address = f"127.0.0.1:{self._front.getsockname()[1]}"

    def _open(self) -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setblocking(False)
        return one

    def _come(self) -> None:
        data, who = self._front.recvfrom(65_536)
        if who not in self._back:
            way = self._back[who] = self._open()
            way.connect(self._to)
            self._loop.add_reader(way, self._go, way, who)
        self._loop.call_later(AWAY_S, self._back[who].send, data)

    def _go(self, way: socket.socket, who: tuple[str, int]) -> None:
        self._loop.call_later(AWAY_S, self._front.sendto, way.recv(65_536), who)

    async def close(self) -> None:
        """Let go of all sockets, once nothing is on its way any more."""
        for one in (self._front, *self._back.values()):
            self._loop.remove_reader(one)
        await asyncio.sleep(2 * AWAY_S)
        for one in (self._front, *self._back.values()):
            one.close()


class Scene:
    """The dialler, the right node, a slow way to it, and a wrong one nearby."""

    def __init__(self, right: Endpoint, wrong: Endpoint, reaching: Reaching, wire: Wire) -> None:
        self.peer = NodeId(right.id().to_bytes())
        self.right = dialable_addresses(right)[0]
        self.wrong = dialable_addresses(wrong)[0]
        self.slow = wire.address
        self.reaching = reaching

    async def reach(self, *addresses: str) -> Reached:
        """Dial."""
        async with asyncio.timeout(8):
            return await self.reaching.connect(self.peer, addresses, None, LINK_ALPN)


async def answer(endpoint: Endpoint, owner: TaskOwner, kept: list[object]) -> None:
    """Take whoever comes; some have given their dial up meanwhile."""

    async def take(incoming: Incoming) -> None:
        with suppress(IrohError):
            kept.append(await (await incoming.accept()).connect())

    while (incoming := await endpoint.accept_next()) is not None:
        owner.run(take(incoming), "take")


@asynccontextmanager
async def scene(kind: type[Reaching] = Reaching) -> AsyncIterator[Scene]:
    """Set all up."""

    async def spare() -> Endpoint:
        return await bind(seed_of("dialler"), Listen.LOOPBACK, (0,), None)

    right, wrong = [await bind(seed_of(n), Listen.LOOPBACK, (0,), None) for n in ("r", "w")]
    own = await spare()
    owner = TaskOwner("test")
    await owner.start()
    kept: list[object] = []
    for endpoint in (right, wrong):
        owner.run(answer(endpoint, owner, kept), "answer")
    wire = Wire(dialable_addresses(right)[0])
    reaching = kind(own, spare, owner)
    try:
        yield Scene(right, wrong, reaching, wire)
    finally:
        spares = reaching.take_spares()
        await owner.stop()
        kept.clear()
        await asyncio.gather(*(one.close() for one in (right, wrong, own, *spares)))
        await wire.close()


@pytest.fixture
def near(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the addresses that count as loopback ones: all are on this machine in a test."""
    found: set[str] = set()
    monkeypatch.setattr(module, "is_loopback", found.__contains__)
    return found


class Trusting(Reaching):
    """Gives its endpoint every address: the planted bug, and what iroh does by itself."""

    async def _first(self, dial: _Dial, outcomes: asyncio.Queue[Reached | str]) -> Reached | str:
        dial.begin(self._by_own(dial, dial.usable))
        return await outcomes.get()


def test_somebody_elses_loopback_is_not_asked_first(near: set[str]) -> None:
    """Another machine's loopback address is this machine, where another node answers at once."""
    run_on_asyncio(reach_past_a_near_one(Reaching, near))


def test_without_that_care_the_right_node_is_not_reached(near: set[str]) -> None:
    """The planted bug fails, and goes on failing with the right address alone."""
    with pytest.raises(NotReachedError, match="invalid peer certificate"):
        run_on_asyncio(reach_past_a_near_one(Trusting, near))


async def reach_past_a_near_one(kind: type[Reaching], near: set[str]) -> None:
    """Dial the slow right node, whose quick loopback address is another's."""
    async with scene(kind) as here:
        near.add(here.wrong)
        reached = await here.reach(here.wrong, here.slow)
        assert NodeId(reached.connection.remote_id().to_bytes()) == here.peer
        assert reached.spare is None


def test_an_address_that_changed_hands_does_not_stand_in_the_way(near: set[str]) -> None:
    """A lease or port that is another node's now: the others are tried one by one."""

    async def work() -> None:
        async with scene() as here:
            for _ in range(2):  # the endpoint never forgets the wrong address: again by a spare
                reached = await here.reach(here.wrong, here.slow)
                assert NodeId(reached.connection.remote_id().to_bytes()) == here.peer
                assert reached.spare is not None
                here.reaching.let_go(reached.spare)

    run_on_asyncio(work())


def test_two_nodes_of_one_machine_meet_by_loopback_when_its_network_is_gone(near: set[str]) -> None:
    """Their other addresses do not answer any more."""

    async def work() -> None:
        async with scene() as here:
            near.add(here.right)
            reached = await here.reach("192.0.2.1:7311", here.right)
            assert NodeId(reached.connection.remote_id().to_bytes()) == here.peer
            assert reached.spare is not None
            here.reaching.let_go(reached.spare)

    run_on_asyncio(work())


class Hasty(Reaching):
    """Takes any wrong answer for the peer's: the planted bug."""

    async def _by_spare(self, dial: _Dial, address: str) -> Reached:
        self._mistake(dial.peer)
        return await super()._by_spare(dial, address)


@pytest.mark.parametrize(("kind", "expected"), [(Reaching, 0), (Hasty, 1)])
def test_this_machines_other_node_says_nothing_of_a_peer_that_is_away(
    near: set[str], kind: type[Reaching], expected: int
) -> None:
    """It answers at the loopback address that every machine has; the peer is switched off."""

    async def work() -> None:
        async with scene(kind) as here:
            near.add(here.wrong)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(HEAD_START_S + 1):
                    await here.reach("192.0.2.1:7311", here.wrong)
            assert len(here.reaching._mistaken) == expected

    run_on_asyncio(work())


def test_so_many_spares_dial_at_once_and_no_more(near: set[str]) -> None:
    """For all dials together: each has descriptors, which the store and the folder need too."""

    async def work() -> None:
        async with scene() as here:
            addresses = [f"127.0.0.1:{port}" for port in range(9, 9 + SPARES_MAX)]
            near.update(addresses)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEAD_START_S + 0.5), asyncio.TaskGroup() as group:
                    for _ in range(3):
                        group.create_task(here.reach("192.0.2.1:7311", *addresses))
                    await asyncio.sleep(HEAD_START_S + 0.3)
                    at_once = len(here.reaching._spares)
            assert at_once == SPARES_MAX

    run_on_asyncio(work())


def test_who_is_nowhere_is_told_so() -> None:
    """By the words that tell most; no address at all is told at once."""

    async def work() -> None:
        async with scene() as here:
            with pytest.raises(NotReachedError, match="invalid peer certificate"):
                await here.reach(here.wrong)
            with pytest.raises(NotReachedError, match="no address"):
                await here.reach("0.0.0.0:7")
            here.reaching._mistaken.clear()

    run_on_asyncio(work())


def test_a_dial_given_up_leaves_nothing_behind(near: set[str]) -> None:
    """Its spares are closed, also when it is cancelled while they dial."""

    async def work() -> None:
        async with scene() as here:
            near.add("127.0.0.1:9")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(HEAD_START_S + 0.3):
                    await here.reach("192.0.2.1:7311", "127.0.0.1:9")
            assert len(here.reaching._spares) == 1
            async with asyncio.timeout(10):
                while here.reaching._spares:  # noqa: ASYNC110 - iroh tells nobody
                    await asyncio.sleep(0.05)

    run_on_asyncio(work())
