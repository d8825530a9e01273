"""Virtual time: one agenda of actions for the whole world."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

US_PER_MS: Final = 1000


class Agenda:
    """Actions in the order of their time; those of one time in the order they were entered.

    Invariant: ``now_us`` never goes back.
    """

    def __init__(self) -> None:
        self.now_us = 0
        self.done = 0
        self._entered = 0
        self._actions: list[tuple[int, int, Callable[[], None]]] = []

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Enter an action ``delay_us`` microseconds from now (negative: now)."""
        self.at(self.now_us + max(0, delay_us), action)

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        """Enter an action at a time that is not past."""
        self._entered += 1
        heapq.heappush(self._actions, (max(time_us, self.now_us), self._entered, action))

    def run_until(self, time_us: int) -> None:
        """Do everything due up to a time; the clock then stands there."""
        while self._actions and self._actions[0][0] <= time_us:
            self.now_us, _, action = heapq.heappop(self._actions)
            self.done += 1
            action()
        self.now_us = max(self.now_us, time_us)

    def step(self, time_us: int | None = None) -> bool:
        """Do what is due next, if it is by ``time_us``; else the clock stands there then.

        Returns:
            ``False``: there is nothing to come, and no time to wait for.
        """
        times = [self._actions[0][0]] if self._actions else []
        if time_us is not None:
            times.append(time_us)
        if times:
            self.run_until(min(times))
        return bool(times)
