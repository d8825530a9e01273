"""The measures: their names, their units, and what the project wants of each.

The targets are those the project was started with; what other programs were seen to take stands
in the table itself, measured in the same run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

FIRST_SYNC: Final = "first sync"
ARCHIVED: Final = "first sync, archived"
CPU_LEFT: Final = "first sync, processor time, left"
CPU_RIGHT: Final = "first sync, processor time, right"
EDIT_P50: Final = "saved line, p50"
EDIT_P99: Final = "saved line, p99"
CHECKOUT: Final = "checkout of 1,000"
LIVE_P50: Final = "live edit, p50"
LIVE_P99: Final = "live edit, p99"
TOLD_P50: Final = "live edit, told, p50"
TOLD_P99: Final = "live edit, told, p99"
RATE_SENT: Final = "edits acknowledged"
RATE_SEEN: Final = "edits seen by the reader"
MEMORY_LEFT: Final = "memory, left"
MEMORY_RIGHT: Final = "memory, right"
IDLE_LEFT: Final = "idle processor, left"
IDLE_RIGHT: Final = "idle processor, right"
STATUS: Final = "mesh status"

OURS: Final = "mesh"
RSYNC: Final = "rsync -a"


class Unit(Enum):
    """How a figure is to be read."""

    SECONDS = "s"
    PER_SECOND = "/s"
    BYTES = "B"
    SHARE = "%"


UNITS: Final = {
    RATE_SENT: Unit.PER_SECOND,
    RATE_SEEN: Unit.PER_SECOND,
    MEMORY_LEFT: Unit.BYTES,
    MEMORY_RIGHT: Unit.BYTES,
    IDLE_LEFT: Unit.SHARE,
    IDLE_RIGHT: Unit.SHARE,
}
"""Of measures that are not seconds."""


@dataclass(frozen=True)
class Target:
    """What a figure must reach.

    Attributes:
        at_most: bound from above.
        at_least: bound from below.
        rsync_ratio: at most so many times ``rsync -a`` of the same row.
        ahead_of: programs that must be slower in the same row (where they were measured).
        filesystem: the only one that it is for; empty: all.
        trees: the only ones that it is for; empty: all.
    """

    at_most: float | None = None
    at_least: float | None = None
    rsync_ratio: float | None = None
    ahead_of: tuple[str, ...] = ()
    filesystem: str = ""
    trees: tuple[str, ...] = ()

    def text(self, unit: Unit) -> str:
        """Return it in words."""
        parts: list[str] = []
        if self.at_most is not None:
            parts.append(f"≤ {show(self.at_most, unit)}")
        if self.at_least is not None:
            parts.append(f"≥ {show(self.at_least, unit)}")
        if self.rsync_ratio is not None:
            parts.append(f"≤ {self.rsync_ratio:g} x rsync")
        if self.ahead_of:
            parts.append("ahead of " + ", ".join(self.ahead_of))
        return ", ".join(parts)

    def is_for(self, tree: str, filesystem: str) -> bool:
        """Return whether it is for these."""
        return (not self.trees or tree in self.trees) and self.filesystem in {"", filesystem}

    def verdict(self, figures: Mapping[str, float]) -> str:
        """Return whether our figure of a row reaches it, and if not, what is short."""
        ours = figures.get(OURS)
        if ours is None:
            return "not measured"
        short = self._short_of_bounds(ours)
        others = [RSYNC] * (self.rsync_ratio is not None) + list(self.ahead_of)
        base = figures.get(RSYNC)
        if self.rsync_ratio is not None and base is not None and ours > base * self.rsync_ratio:
            short.append(f"{ours / base:.1f} x rsync")
        for name in self.ahead_of:
            if name in figures and figures[name] <= ours:
                short.append(f"{name} is faster")
        if short:
            return "MISSED: " + ", ".join(short)
        unknown = [name for name in others if name not in figures]
        return "met" + (f" (without {', '.join(unknown)})" if unknown else "")

    def _short_of_bounds(self, ours: float) -> list[str]:
        if self.at_most is not None and ours > self.at_most:
            return [f"{ours / self.at_most:.1f} x the bound"]
        if self.at_least is not None and ours < self.at_least:
            return [f"{ours / self.at_least:.0%} of it"]
        return []


_MB: Final = 1e6
_TENTHS_BELOW_S: Final = 0.01

TARGETS: Final[dict[str, Target]] = {
    FIRST_SYNC: Target(
        rsync_ratio=3.5,
        ahead_of=("unison", "syncthing"),
        filesystem="tmpfs",
        trees=("texts", "library"),
    ),
    EDIT_P50: Target(at_most=0.060),
    EDIT_P99: Target(at_most=0.150),
    CHECKOUT: Target(at_most=1.5),
    LIVE_P50: Target(at_most=0.008),
    LIVE_P99: Target(at_most=0.030),
    RATE_SENT: Target(at_least=10_000),
    RATE_SEEN: Target(at_least=10_000),
    MEMORY_LEFT: Target(at_most=150 * _MB),
    MEMORY_RIGHT: Target(at_most=150 * _MB),
    IDLE_LEFT: Target(at_most=1.0),
    IDLE_RIGHT: Target(at_most=1.0),
    STATUS: Target(at_most=0.250),
}

ORDER: Final = (
    FIRST_SYNC,
    ARCHIVED,
    CPU_LEFT,
    CPU_RIGHT,
    EDIT_P50,
    EDIT_P99,
    CHECKOUT,
    LIVE_P50,
    LIVE_P99,
    TOLD_P50,
    TOLD_P99,
    RATE_SENT,
    RATE_SEEN,
    MEMORY_LEFT,
    MEMORY_RIGHT,
    IDLE_LEFT,
    IDLE_RIGHT,
    STATUS,
)
"""Of the table's rows."""


def show(figure: float, unit: Unit) -> str:
    """Return a figure as people read it: milliseconds below one second, seconds above."""
    match unit:
        case Unit.SECONDS if figure < _TENTHS_BELOW_S:
            return f"{figure * 1000:.1f} ms"
        case Unit.SECONDS if figure < 1:
            return f"{figure * 1000:.0f} ms"
        case Unit.SECONDS:
            return f"{figure:.1f} s"
        case Unit.PER_SECOND:
            return f"{figure:,.0f}/s"
        case Unit.BYTES:
            return f"{figure / _MB:.0f} MB"
        case Unit.SHARE:
            return f"{figure:.1f} %"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below or at which ``share`` of all values lie (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
