"""The rocket itself, as ``data/airframe.toml`` describes it."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from rocket.parachute import Parachute


@dataclass(frozen=True)
class Airframe:
    """A tube with fins, without its motor."""

    name: str
    dry_mass_kg: float
    diameter_m: float
    drag_coefficient: float
    rail_length_m: float
    parachute: Parachute

    @property
    def drag_area_m2(self) -> float:
        """Return drag coefficient times cross-section."""
        return self.drag_coefficient * math.pi * self.diameter_m**2 / 4


def read_airframe(path: Path) -> Airframe:
    """Read one rocket."""
    described = tomllib.loads(path.read_text(encoding="utf-8"))
    return Airframe(**(described | {"parachute": Parachute(**described["parachute"])}))
