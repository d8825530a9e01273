"""One order for everything a listener hears, and no call inside another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Delivery:
    """Calls the listener one call at a time, in the order in which things happened.

    What a transport's own task has to say is said at once (``now``). What follows from a call
    *into* the transport, which may stand inside a call of the listener, is said from the event
    loop soon after (``soon``); ``now`` says such things first. At most one up or down per peer
    waits, so the queue is bounded by the number of peers.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()

    def soon(self, call: Callable[[], None]) -> None:
        """Say it from the event loop, after what was said before."""
        self._waiting.append(call)
        if len(self._waiting) == 1:
            self._loop.call_soon(self.flush)

    def now(self, call: Callable[[], None]) -> None:
        """Say it, after what still waits. For tasks of the transport only."""
        self.flush()
        call()

    def flush(self) -> None:
        """Say all that waits."""
        while self._waiting:
            self._waiting.popleft()()
