"""Solid motors, and how hard they push."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Motor:
    """One motor of the table."""

    name: str
    total_impulse_ns: float
    burn_time_s: float
    propellant_kg: float
    loaded_kg: float

    def thrust_n(self, time_s: float) -> float:
        """Return the thrust: a peak in the first tenth, then even, with the same total impulse."""
        if not 0 <= time_s < self.burn_time_s:
            return 0.0
        mean = self.total_impulse_ns / self.burn_time_s
        return 2.8 * mean if time_s < 0.1 * self.burn_time_s else 0.8 * mean

    def mass_kg(self, time_s: float) -> float:
        """Return what is left of the motor; the propellant burns evenly."""
        burnt = min(max(time_s / self.burn_time_s, 0.0), 1.0)
        return self.loaded_kg - burnt * self.propellant_kg


def read_motors(path: Path) -> list[Motor]:
    """Read the table of motors."""
    with path.open(encoding="utf-8", newline="") as table:
        return [
            Motor(row.pop("name"), **{key: float(value) for key, value in row.items()})
            for row in csv.DictReader(table)
        ]
