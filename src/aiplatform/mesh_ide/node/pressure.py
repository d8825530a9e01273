"""How much of each peer's words waits to be taken in, and when that is too much.

A link hands over frames as fast as they come. What checking and storing them costs is ours, so a
peer that sends faster than that must be ended before it fills memory; it is reconciled after it
linked again, thus an honest one loses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.jobs import (
    JobResult,
    PartsReceived,
    ReceiveParts,
    SlicesVerified,
    VerifySlices,
)

WAITING_BYTES_MAX: Final = 96 * 1024 * 1024
"""Per peer. Contents are asked for 16 MiB at a time; histories are what can pile up, and 100,000
entries have 30 MB."""

FRAME_COST_BYTES: Final = 1024
"""What a small frame costs as a decoded event (measured: 300 to 900 bytes)."""

_Lane = type[VerifySlices] | type[ReceiveParts]


class Pressure:
    """Counts what waits, per peer: in the inbox, then on the lane that checks it.

    Invariant: ``_bytes[peer]`` is the cost of its frames that came and were not worked off.
    """

    def __init__(self) -> None:
        self._bytes: dict[NodeId, int] = {}
        self._on_lane: dict[tuple[NodeId, _Lane], deque[int]] = {}

    def came(self, peer: NodeId, frame_bytes: int) -> int | None:
        """Count a frame; returns its cost, or ``None`` if it is too much."""
        cost = FRAME_COST_BYTES + frame_bytes
        waiting = self._bytes.get(peer, 0)
        if waiting + cost > WAITING_BYTES_MAX:
            return None
        self._bytes[peer] = waiting + cost
        return cost

    def handled(self, peer: NodeId, cost: int, commands: Iterable[object]) -> None:
        """A frame was handled; what it left on a lane goes on counting until that is done."""
        for command in commands:
            if isinstance(command, VerifySlices | ReceiveParts) and command.peer == peer:
                self._on_lane.setdefault((peer, type(command)), deque()).append(cost)
                cost = 0
        self._release(peer, cost)

    def done(self, result: JobResult) -> None:
        """A lane is through with what a frame brought."""
        lane: _Lane
        if isinstance(result, SlicesVerified):
            lane = VerifySlices
        elif isinstance(result, PartsReceived):
            lane = ReceiveParts
        else:
            return
        waiting = self._on_lane.get((result.peer, lane))
        if waiting:
            self._release(result.peer, waiting.popleft())
            if not waiting:
                del self._on_lane[result.peer, lane]

    def _release(self, peer: NodeId, cost: int) -> None:
        rest = self._bytes.get(peer, 0) - cost
        if rest > 0:
            self._bytes[peer] = rest
        else:
            self._bytes.pop(peer, None)
