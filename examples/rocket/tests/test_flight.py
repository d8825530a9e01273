"""The flight does what physics says."""

from __future__ import annotations

import dataclasses
import unittest
from pathlib import Path

from rocket.airframe import read_airframe
from rocket.atmosphere import density_kg_m3
from rocket.flight import fly
from rocket.motor import read_motors

DATA = Path(__file__).parent.parent / "data"


class FlightTest(unittest.TestCase):
    """One rocket, all motors."""

    def setUp(self) -> None:
        """Read the data."""
        self.airframe = read_airframe(DATA / "airframe.toml")
        self.motors = {motor.name: motor for motor in read_motors(DATA / "motors.csv")}

    def test_more_impulse_flies_higher(self) -> None:
        """The order of the motors is the order of the heights."""
        heights = [fly(self.airframe, motor).apogee_m for motor in self.motors.values()]
        self.assertEqual(heights, sorted(heights))

    def test_thrust_adds_up_to_the_impulse(self) -> None:
        """Thrust over time is the total impulse of the table."""
        motor = self.motors["C6"]
        total = sum(motor.thrust_n(step * 0.001) * 0.001 for step in range(3000))
        self.assertAlmostEqual(total, motor.total_impulse_ns, delta=0.05)

    def test_parachute_lands_softly(self) -> None:
        """Nothing comes down faster than 7 m/s."""
        for motor in self.motors.values():
            self.assertLess(fly(self.airframe, motor).landing_speed_m_s, 7)

    def test_wind_carries_it_away(self) -> None:
        """Twice the wind is twice the drift."""
        motor = self.motors["B6"]
        self.assertAlmostEqual(
            fly(self.airframe, motor, 6).drift_m, 2 * fly(self.airframe, motor, 3).drift_m, places=6
        )

    def test_too_heavy_stays_on_the_ground(self) -> None:
        """A brick does not fly, and says so."""
        brick = dataclasses.replace(self.airframe, dry_mass_kg=5)
        with self.assertRaisesRegex(ValueError, "cannot lift"):
            fly(brick, self.motors["A8"])

    def test_air_gets_thinner(self) -> None:
        """Half way up the sky the air is thinner than at the sea."""
        self.assertLess(density_kg_m3(5_000), density_kg_m3(0))


if __name__ == "__main__":
    unittest.main()
