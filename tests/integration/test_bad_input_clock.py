"""A system clock that is ten years off: said, and otherwise without effect."""

from __future__ import annotations

from pathlib import Path

from aiplatform.mesh_ide.node.clock import SteadyClock
from tests.integration.kit import Node, converged, run, until

TEN_YEARS_MS = 10 * 365 * 24 * 3600 * 1000


class WrongClock(SteadyClock):
    """A machine whose battery died."""

    def now_ms(self) -> int:
        return super().now_ms() + TEN_YEARS_MS


def test_a_clock_ten_years_ahead_is_told_and_changes_nothing_else(tmp_path: Path) -> None:
    """Both nodes say whose clock is off; edits go both ways and nothing is lost or reordered."""

    async def work() -> None:
        alpha, beta = Node(tmp_path, "alpha"), Node(tmp_path, "beta")
        alpha.found()
        alpha.write("a.txt", "one\n")
        beta.clock = WrongClock()
        async with alpha.up():
            await beta.join(await alpha.ticket())
            async with beta.up():
                await alpha.hears("the clock of beta", "days ahead of ours", kind="warning")
                await beta.hears("the clock of alpha", "days behind ours", kind="warning")
                await beta.shows("a.txt", "one\n")
                beta.write("a.txt", "one\ntwo\n")
                await alpha.shows("a.txt", "one\ntwo\n")
                alpha.write("a.txt", "zero\none\ntwo\n")
                await beta.shows("a.txt", "zero\none\ntwo\n")
                await converged(alpha, beta)
                await until(lambda: alpha.core.ledger.head(alpha.file("a.txt")).version == 3, "v3")

    run(work())
