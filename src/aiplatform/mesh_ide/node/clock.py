"""Time for one run of a node: begins at the system's clock, then only goes forward steadily."""

from __future__ import annotations

import time


class SteadyClock:
    """Milliseconds since the Unix epoch as the system said at the start, plus elapsed time.

    A system clock that is set back or ten years ahead while the node runs moves nothing here:
    timers depend on differences alone. Time spent suspended counts (``CLOCK_BOOTTIME``), so that
    links are known to be stale after a laptop wakes up.
    """

    def __init__(self) -> None:
        # The one look at the system's clock; everything else gets its time from here.
        self._offset_ms = time.time_ns() // 1_000_000 - self._elapsed_ms()  # noqa: TID251

    @staticmethod
    def _elapsed_ms() -> int:
        source = getattr(time, "CLOCK_BOOTTIME", None)
        if source is None:
            return time.monotonic_ns() // 1_000_000
        return time.clock_gettime_ns(source) // 1_000_000

    def now_ms(self) -> int:
        """Return the time; never less than before."""
        return self._offset_ms + self._elapsed_ms()
