"""The way down."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Parachute:
    """Opens a fixed time after the highest point."""

    diameter_m: float
    drag_coefficient: float
    delay_s: float

    @property
    def drag_area_m2(self) -> float:
        """Return drag coefficient times the area of the open canopy."""
        return self.drag_coefficient * math.pi * self.diameter_m**2 / 4

    def is_open(self, time_s: float, apogee_at_s: float | None) -> bool:
        """Return whether it has opened; there is no highest point yet on the way up."""
        return apogee_at_s is not None and time_s >= apogee_at_s + self.delay_s
