"""Pinging: how long a message takes to a peer's event loop and back."""

from __future__ import annotations

import asyncio
from typing import Final

from aiplatform.mesh_ide.mesh.codec import encode
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import Ping, Pong
from aiplatform.mesh_ide.node.clock import SteadyClock
from aiplatform.mesh_ide.ports.transport import Transport

PING_NONCE_FIRST: Final = 1 << 32
"""People's pings count from here, heartbeats from one: neither takes the other's answer."""


class Pinging:
    """Sends people's pings and knows their answers by the number each carries."""

    def __init__(self, transport: Transport, clock: SteadyClock) -> None:
        self._transport = transport
        self._clock = clock
        self._waiting: dict[int, asyncio.Future[float]] = {}
        self._nonce = PING_NONCE_FIRST

    async def ping(self, peer: NodeId, timeout_s: float) -> float | None:
        """Return how many ms a message took to a peer and back; ``None``: no answer in time.

        Raises:
            NoLinkError: there is no link to this peer.
        """
        self._nonce += 1
        nonce = self._nonce
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[float] = loop.create_future()
        self._waiting[nonce] = answered
        began = loop.time()
        try:
            frame = encode(Ping(nonce, self._clock.now_ms()))
            self._transport.send_nowait(peer, Channel.CONTROL, frame)
            async with asyncio.timeout(timeout_s):
                return (await answered - began) * 1000
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(nonce, None)

    def came(self, pong: Pong, now_s: float) -> None:
        """Take an answer; those of heartbeats, and late ones, are nobody's here."""
        answered = self._waiting.pop(pong.nonce, None)
        if answered is not None and not answered.done():
            answered.set_result(now_s)
