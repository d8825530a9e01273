"""What watchers of a node hear: a bounded queue that says how much it lost."""

from __future__ import annotations

import asyncio

from aiplatform.mesh_ide.node.events import Told

LOST_KIND = "lost"


class Listening(asyncio.Queue[Told]):
    """One watcher's queue: the newest are kept, and what was lost is told in its place.

    Invariant: ``lost`` is the number of events that were dropped since the watcher last heard of
    a loss; while it is not zero the queue is not empty, so nobody waits for that word.
    """

    def __init__(self, waiting_max: int) -> None:
        """Hold at most this many (one at least)."""
        super().__init__(max(1, waiting_max))
        self.lost = 0

    def tell(self, told: Told) -> None:
        """Add an event; the oldest makes way."""
        if self.full():
            super().get_nowait()
            self.lost += 1
        self.put_nowait(told)

    def get_nowait(self) -> Told:
        """Return the next event; ``get`` ends here too.

        Raises:
            asyncio.QueueEmpty: nothing happened.
        """
        if not self.lost:
            return super().get_nowait()
        count, self.lost = self.lost, 0
        events = "1 event was" if count == 1 else f"{count} events were"
        return Told(LOST_KIND, f"{events} not shown: what reads them is too slow")
