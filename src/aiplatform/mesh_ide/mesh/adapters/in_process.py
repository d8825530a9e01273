"""What transports without sockets have in common: how frames wait, and in which order they leave.

Two of them exist: ``memory`` joins nodes of one process, and the simulator's transport puts the
network of its virtual world between them. Where a frame goes once it left its queue, who may link
and what a listener hears is theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from aiplatform.mesh_ide.mesh.adapters.channels import SendQueue, check_frame, no_link
from aiplatform.mesh_ide.mesh.adapters.tasks import TaskOwner
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.transport import LinkStats

_BATCH_BYTES_MAX: Final = 256 * 1024
"""Leaves in one turn of a channel, as much as a write of the iroh adapter brings."""


class InProcessEnd:
    """This side of a link: its outgoing queues and the task that empties them.

    Invariant: no frame stays behind. Whoever adds one, or makes room for one, sets ``filled``; it
    is cleared only when every queue is empty.
    """

    def __init__(self, peer: NodeId, address: str, rtt_ms: float | None) -> None:
        self.peer = peer
        self.address = address
        self.queues = {channel: SendQueue(peer, channel) for channel in Channel}
        self.filled = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.sent_bytes = 0
        self.received_bytes = 0
        self._rtt_ms = rtt_ms

    async def carry(self, hand_over: Callable[[Channel, SendQueue, list[bytes]], None]) -> None:
        """Let frames leave for ever, the most urgent channel first at every turn.

        Args:
            hand_over: takes a turn's frames, in order; it owes the queue a ``done`` for each.
        """
        while True:
            await self.filled.wait()
            ready = next((item for item in self.queues.items() if not item[1].is_empty), None)
            if ready is None:
                self.filled.clear()
                continue
            channel, queue = ready
            frames = queue.take(_BATCH_BYTES_MAX)
            self.sent_bytes += sum(map(len, frames))
            hand_over(channel, queue, frames)
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Drop what is queued and let nothing more leave."""
        for queue in self.queues.values():
            queue.close()
        if self.task is not None:
            self.task.cancel()

    def stats(self) -> LinkStats:
        """Return what is measured now."""
        return LinkStats(
            peer=self.peer,
            address=self.address,
            rtt_ms=self._rtt_ms,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            queued_bytes=sum(queue.queued_bytes for queue in self.queues.values()),
        )


End = TypeVar("End", bound=InProcessEnd)


class InProcessTransport(Generic[End]):
    """The sending half of ``Transport``, over the ends that a subclass puts up and takes down."""

    def __init__(self, node: NodeId, tasks: TaskOwner) -> None:
        self.node = node
        self._ends: dict[NodeId, End] = {}
        self._tasks = tasks

    def send_nowait(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """See ``Transport.send_nowait``."""
        check_frame(frame)
        end = self._standing(peer)
        end.queues[channel].put_nowait(frame)
        end.filled.set()

    async def send(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """See ``Transport.send``."""
        check_frame(frame)
        end = self._standing(peer)
        await end.queues[channel].put(frame)
        end.filled.set()

    def stats(self) -> tuple[LinkStats, ...]:
        """See ``Transport.stats``."""
        return tuple(end.stats() for end in self._ends.values())

    def _standing(self, peer: NodeId) -> End:
        end = self._ends.get(peer)
        if end is None or not self._tasks.is_running:
            raise no_link(peer)
        return end
