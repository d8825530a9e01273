"""What the transport suite needs of an adapter, and a listener that writes everything down."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, NamedTuple, Protocol, TypeVar

from msgspec.structs import replace

from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.mesh.adapters.memory import MemoryHub
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.transport import LinkEnd, Transport
from aiplatform.mesh_ide.simulation import network as links
from aiplatform.mesh_ide.simulation.clock import Agenda
from aiplatform.mesh_ide.simulation.faults import CALM, Faults
from aiplatform.mesh_ide.simulation.loop import VirtualLoop
from aiplatform.mesh_ide.simulation.transport import SimulatedTransport

T = TypeVar("T")

TIMEOUT_S = 20.0
VIRTUAL_TIMEOUT_S = 600.0
"""Virtual time costs nothing; a deadlock is noticed without it."""


class Up(NamedTuple):
    """``on_link_up`` was called."""

    peer: NodeId


class Down(NamedTuple):
    """``on_link_down`` was called."""

    peer: NodeId
    end: LinkEnd
    detail: str


class Frame(NamedTuple):
    """``on_frame`` was called."""

    peer: NodeId
    channel: Channel
    content: bytes


Heard = Up | Down | Frame


class Recorder:
    """A listener that keeps what it heard, and checks that no call stands inside another."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.reaction: Callable[[Heard], None] = lambda _: None
        self.answer_join: Callable[[NodeId, bytes], Coroutine[Any, Any, bytes]] = _reversed
        self.is_nested = False
        self._is_busy = False
        self._changed = asyncio.Event()

    def on_link_up(self, peer: NodeId, address: str) -> None:
        self._hear(Up(peer))

    def on_link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        self._hear(Down(peer, end, detail))

    def on_frame(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        self._hear(Frame(peer, channel, frame))

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        return await self.answer_join(peer, request)

    async def until(self, is_there: Callable[[], bool]) -> None:
        """Return once this holds; it is looked at after every call."""
        while not is_there():
            self._changed.clear()
            await self._changed.wait()

    async def until_count(self, kind: type[Heard], count: int) -> None:
        """Return once so many calls of this kind came."""
        await self.until(lambda: self.count(kind) >= count)

    def count(self, kind: type[Heard]) -> int:
        return sum(isinstance(heard, kind) for heard in self.heard)

    @property
    def frames(self) -> list[Frame]:
        return [heard for heard in self.heard if isinstance(heard, Frame)]

    @property
    def downs(self) -> list[Down]:
        return [heard for heard in self.heard if isinstance(heard, Down)]

    def contents(self, channel: Channel) -> list[bytes]:
        return [frame.content for frame in self.frames if frame.channel is channel]

    def _hear(self, heard: Heard) -> None:
        self.is_nested |= self._is_busy
        self._is_busy = True
        self.heard.append(heard)
        self._changed.set()
        self.reaction(heard)
        self._is_busy = False


async def _reversed(peer: NodeId, request: bytes) -> bytes:
    return request[::-1]


class Ghost(Protocol):
    """A peer in a process of its own, or as good as that."""

    async def vanish(self) -> None:
        """Die without a word."""


class Network(Protocol):
    """One adapter under test: makes transports that can reach each other."""

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a test; a simulated network brings its own loop."""

    def transport(self, name: str) -> Transport:
        """Return a transport whose key follows from ``name``; the same again for the same name."""

    def node(self, name: str) -> NodeId:
        """Return the key of that transport."""

    async def haunt(self, name: str, peer: NodeId, addresses: Sequence[str]) -> Ghost:
        """Let a node of that name begin to dial ``peer``, in a way that it can die of."""


class Party(NamedTuple):
    """A started transport, its listener and where it is."""

    transport: Transport
    recorder: Recorder
    node: NodeId
    addresses: tuple[str, ...]

    @classmethod
    async def start(cls, network: Network, name: str, *friends: str) -> Party:
        """Start a transport that allows the named others."""
        transport, recorder = network.transport(name), Recorder()
        addresses = await transport.start(recorder)
        transport.allow(frozenset(map(network.node, friends)))
        return cls(transport, recorder, network.node(name), addresses)

    def dial(self, other: Party) -> None:
        """Dial where the other said it is."""
        self.transport.dial(other.node, other.addresses)

    def say(self, other: Party, channel: Channel, frame: bytes) -> None:
        """Send without waiting."""
        self.transport.send_nowait(other.node, channel, frame)


async def linked_pair(network: Network) -> tuple[Party, Party]:
    """Return two parties with a link that both know of."""
    a = await Party.start(network, "a", "b", "c")
    b = await Party.start(network, "b", "a", "c")
    a.dial(b)
    await a.recorder.until_count(Up, 1)
    await b.recorder.until_count(Up, 1)
    return a, b


async def close_all(*parties: Party) -> None:
    """Close them at once."""
    await asyncio.gather(*(party.transport.close() for party in parties))


def run_on_asyncio(
    work: Coroutine[Any, Any, T],
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> T:
    """Run a test in a loop of its own, bounded in time; leftover tasks are an error."""

    async def bounded() -> T:
        async with asyncio.timeout(timeout_s):
            result = await work
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks without an owner: {left}"
        return result

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(bounded())


def seed_of(name: str) -> bytes:
    """Return a seed that follows from a name."""
    return hashlib.sha256(name.encode()).digest()


class MemoryNetwork:
    """``MemoryTransport`` on a hub of its own."""

    def __init__(self) -> None:
        self._hub = MemoryHub()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        run_on_asyncio(work)

    def transport(self, name: str) -> Transport:
        return self._hub.transport(self.node(name))

    def node(self, name: str) -> NodeId:
        return NodeId(seed_of(name))

    async def haunt(self, name: str, peer: NodeId, addresses: Sequence[str]) -> Ghost:
        hub, node = self._hub, self.node(name)
        transport = hub.transport(node)
        await transport.start(Recorder())
        transport.allow(frozenset({peer}))
        transport.dial(peer, addresses)

        class Killed:
            async def vanish(self) -> None:
                await hub.kill(node)

        return Killed()


_GHOST = """
import asyncio, sys
from tests.contract.transport_kit import IrohNetwork, Party
async def main():
    network = IrohNetwork()
    name, peer, *addresses = sys.argv[1:]
    party = await Party.start(network, name)
    party.transport.allow(frozenset({bytes.fromhex(peer)}))
    party.transport.dial(bytes.fromhex(peer), addresses)
    await asyncio.Event().wait()
asyncio.run(main())
"""


class IrohNetwork:
    """``IrohTransport`` on the loopback interface."""

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        run_on_asyncio(work)

    def transport(self, name: str) -> Transport:
        return IrohTransport(seed_of(name), listen=Listen.LOOPBACK, dial_timeout_s=2.0)

    def node(self, name: str) -> NodeId:
        return IrohTransport(seed_of(name)).node

    async def haunt(self, name: str, peer: NodeId, addresses: Sequence[str]) -> Ghost:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _GHOST, name, peer.hex(), *addresses, stdin=subprocess.DEVNULL
        )

        class Killed:
            async def vanish(self) -> None:
                process.kill()
                await process.wait()

        return Killed()


LIVELY = replace(CALM, link_delay_ms=(1.0, 80.0), slow_link=0.3)
"""Delays that differ from link to link and from frame to frame; duplicates are no part of the
port, which promises each frame once."""


class SimulatedNetwork:
    """``SimulatedTransport`` on the network of the simulator, in virtual time."""

    def __init__(self, seed: int = 1, faults: Faults = LIVELY) -> None:
        self.agenda = Agenda()
        self.links = links.Network(self.agenda, Random(seed), faults)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        run_on_asyncio(work, lambda: VirtualLoop(self.agenda), VIRTUAL_TIMEOUT_S)

    def transport(self, name: str) -> Transport:
        return SimulatedTransport(self.links, self.node(name))

    def node(self, name: str) -> NodeId:
        return NodeId(seed_of(name))

    async def haunt(self, name: str, peer: NodeId, addresses: Sequence[str]) -> Ghost:
        ghost = SimulatedTransport(self.links, self.node(name))
        await ghost.start(Recorder())
        ghost.allow(frozenset({peer}))
        ghost.dial(peer, addresses)
        return ghost
