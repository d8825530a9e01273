"""A node's time goes forward, whatever is done to the machine's clock."""

from __future__ import annotations

import time

from aiplatform.mesh_ide.node.clock import SteadyClock


def test_time_never_goes_back() -> None:
    """A thousand looks in a row ascend."""
    clock = SteadyClock()
    looks = [clock.now_ms() for _ in range(1000)]
    assert looks == sorted(looks)


def test_time_begins_at_the_systems_clock() -> None:
    """It is shown to people: it must be about right where the system's is."""
    before = time.time_ns() // 1_000_000  # noqa: TID251 - the very thing it is compared with
    now_ms = SteadyClock().now_ms()
    after = time.time_ns() // 1_000_000  # noqa: TID251 - as above
    assert before - 2 <= now_ms <= after + 2


def test_time_passes_as_the_machine_counts_it() -> None:
    """Differences are those of the clock that counts suspension too, and no setting moves."""
    clock = SteadyClock()
    outer, begun = time.clock_gettime_ns(time.CLOCK_BOOTTIME), clock.now_ms()
    inner = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    sum(range(100_000))
    least_ms = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - inner) / 1_000_000
    elapsed_ms = clock.now_ms() - begun
    most_ms = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - outer) / 1_000_000
    assert least_ms - 1 <= elapsed_ms <= most_ms + 1
