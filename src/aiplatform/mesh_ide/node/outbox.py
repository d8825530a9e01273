"""Sending long answers: produced off the loop, one piece at a time, paced by the link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiplatform.mesh_ide.mesh.codec import encode
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage
from aiplatform.mesh_ide.ports.errors import NoLinkError
from aiplatform.mesh_ide.ports.transport import Transport

ANSWERS_WAITING_MAX: Final = 4096
ITEMS_WAITING_MAX: Final = 524_288
"""A peer that asks for more answers, or for more files or contents in them, at once than this is
reconnected instead. A first synchronisation of 100,000 files asks for each once."""

Answer = Iterator[AnyMessage]


class Outbox:
    """Per peer and channel one queue of answers, sent one after another.

    Cancellation: ``drop`` ends what was for a peer; a generator that is being advanced on the
    worker ends with its next piece, which is then thrown away.
    """

    def __init__(
        self,
        transport: Transport,
        tasks: asyncio.TaskGroup,
        worker: ThreadPoolExecutor,
        on_problem: Callable[[NodeId, str], None] = lambda _peer, _problem: None,
    ) -> None:
        """Send over a transport; ``on_problem`` hears of answers that could not be finished."""
        self._on_problem = on_problem
        self._items: dict[tuple[NodeId, Channel], int] = {}
        self._transport = transport
        self._tasks = tasks
        self._worker = worker
        self._queues: dict[tuple[NodeId, Channel], asyncio.Queue[tuple[Answer, int]]] = {}
        self._senders: dict[tuple[NodeId, Channel], asyncio.Task[None]] = {}

    def put(self, peer: NodeId, channel: Channel, answer: Answer, items: int = 1) -> bool:
        """Queue an answer about so many items; ``False``: too many wait for this peer."""
        key = (peer, channel)
        waiting = self._queues.get(key)
        if waiting is None:
            waiting = self._queues[key] = asyncio.Queue(ANSWERS_WAITING_MAX)
            self._senders[key] = self._tasks.create_task(self._send(peer, channel, waiting))
        held = self._items.get(key, 0)
        if waiting.full() or (held and held + items > ITEMS_WAITING_MAX):
            return False
        self._items[key] = held + items
        waiting.put_nowait((answer, items))
        return True

    def drop(self, peer: NodeId) -> None:
        """Forget what was for a peer (its link is gone)."""
        for key in [key for key in self._queues if key[0] == peer]:
            del self._queues[key]
            self._items.pop(key, None)
            self._senders.pop(key).cancel()

    def close(self) -> None:
        """End all sending."""
        for peer in {peer for peer, _ in self._queues}:
            self.drop(peer)

    async def _send(
        self, peer: NodeId, channel: Channel, waiting: asyncio.Queue[tuple[Answer, int]]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            answer, items = await waiting.get()
            while True:
                try:
                    frame = await loop.run_in_executor(self._worker, _next_frame, answer)
                except MeshIDEError as error:
                    self._on_problem(peer, str(error))
                    break
                if frame is None:
                    break
                try:
                    await self._transport.send(peer, channel, frame)
                except NoLinkError:
                    return
            if (peer, channel) in self._items:
                self._items[peer, channel] -= items


def _next_frame(answer: Answer) -> bytes | None:
    message = next(answer, None)
    return None if message is None else encode(message)
