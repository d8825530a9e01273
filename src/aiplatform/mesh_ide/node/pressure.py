"""How much of each peer's words waits to be taken in, and when that is too much.

A link hands over frames as fast as they come. What checking and storing them costs is ours, so a
peer that sends faster than that, or goes on while our disk is full, must be ended before it fills
memory; it is reconciled after it linked again, thus an honest one loses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
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

_Check = VerifySlices | ReceiveParts
_Lane = type[VerifySlices] | type[ReceiveParts]


class Pressure:
    """Counts what waits, per peer: in the inbox, on the lane that checks it, then for the disk.

    What waits for the disk, or for another look, is kept by the intake and counted there; entries
    on their way back to the lane are counted here again. Counted is what came over the wire: an
    entry that was checked and waits for the disk has its payload in memory once more, decoded.

    Invariants:
        1. ``_bytes[peer]`` is the cost of its frames that came and were not checked, and of what
           it sent that is checked once more.
        2. ``_on_lane`` has one cost for each job under way, in order: jobs of a lane end in the
           order in which they were asked for.
    """

    def __init__(self, held_bytes: Callable[[NodeId], int]) -> None:
        """Count beside ``held_bytes``, what was checked of a peer's words and still waits."""
        self._held_bytes = held_bytes
        self._bytes: dict[NodeId, int] = {}
        self._on_lane: dict[tuple[NodeId, _Lane], deque[int]] = {}

    def came(self, peer: NodeId, frame_bytes: int) -> int | None:
        """Count a frame; returns its cost, or ``None`` if it is too much."""
        cost = FRAME_COST_BYTES + frame_bytes
        waiting = self._bytes.get(peer, 0)
        if waiting + self._held_bytes(peer) + cost > WAITING_BYTES_MAX:
            return None
        self._bytes[peer] = waiting + cost
        return cost

    def handled(self, peer: NodeId, cost: int, commands: Iterable[object]) -> None:
        """A frame was handled; what it left on a lane goes on counting until that is done."""
        for command in commands:
            if not isinstance(command, VerifySlices | ReceiveParts):
                continue
            if command.peer == peer:
                self._enter(command, cost)
                cost = 0
            else:
                self._enter_anew(command)
        self._release(peer, cost)

    def asked(self, commands: Iterable[object]) -> None:
        """Something else was handled; what it has checked counts as if it came again."""
        for command in commands:
            if isinstance(command, VerifySlices | ReceiveParts):
                self._enter_anew(command)

    def _enter_anew(self, job: _Check) -> None:
        cost = _cost_of(job)
        self._bytes[job.peer] = self._bytes.get(job.peer, 0) + cost
        self._enter(job, cost)

    def _enter(self, job: _Check, cost: int) -> None:
        self._on_lane.setdefault((job.peer, type(job)), deque()).append(cost)

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


def _cost_of(job: _Check) -> int:
    if isinstance(job, VerifySlices):
        return FRAME_COST_BYTES + sum(piece.entries_bytes() for piece in job.slices)
    return FRAME_COST_BYTES + sum(len(part.content) for part in job.parts)
