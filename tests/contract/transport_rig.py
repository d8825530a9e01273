"""The transports under test, and a wrapper to plant bugs with; adapters join ``NETWORKS``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.transport import (
    LinkListener,
    LinkStats,
    Transport,
)
from tests.contract.transport_kit import (
    IrohNetwork,
    MemoryNetwork,
    Network,
    SimulatedNetwork,
)

NETWORKS: dict[str, Callable[[], Network]] = {
    "memory": MemoryNetwork,
    "iroh": IrohNetwork,
    "simulated": SimulatedNetwork,
}

MIB = 1024 * 1024


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
