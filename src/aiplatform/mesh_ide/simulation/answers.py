"""Long answers on their way out: per peer and channel one after another, piece by piece."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage
from aiplatform.mesh_ide.simulation.clock import US_PER_MS

Answer = Iterator[AnyMessage]


class Answers:
    """What ``node.outbox`` does, under virtual time: each piece is read when its turn comes."""

    def __init__(
        self,
        later: Callable[[int, Callable[[], None]], None],
        send: Callable[[NodeId, Channel, AnyMessage], None],
    ) -> None:
        """Join the two ways out.

        Args:
            later: does something after so many microseconds, if the node still lives.
            send: sends a message.
        """
        self._later = later
        self._send = send
        self._waiting: dict[tuple[NodeId, Channel], deque[Answer]] = {}

    def __bool__(self) -> bool:
        """Return whether anything waits to be sent."""
        return any(self._waiting.values())

    def put(self, peer: NodeId, channel: Channel, answer: Answer) -> None:
        """Queue an answer."""
        waiting = self._waiting.setdefault((peer, channel), deque())
        waiting.append(answer)
        if len(waiting) == 1:
            self._later(US_PER_MS, lambda: self._step(peer, channel, waiting))

    def _step(self, peer: NodeId, channel: Channel, waiting: deque[Answer]) -> None:
        if not waiting or self._waiting.get((peer, channel)) is not waiting:
            return
        message = next(waiting[0], None)
        if message is None:
            waiting.popleft()
        else:
            self._send(peer, channel, message)
        if waiting:
            self._later(US_PER_MS, lambda: self._step(peer, channel, waiting))

    def drop(self, peer: NodeId) -> None:
        """Forget what was for a peer (its link is gone)."""
        for key in [key for key in self._waiting if key[0] == peer]:
            del self._waiting[key]
