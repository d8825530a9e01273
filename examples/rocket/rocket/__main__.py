"""Fly the motors of the table and print what came of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rocket.airframe import read_airframe
from rocket.flight import fly
from rocket.motor import read_motors

DATA = Path(__file__).parent.parent / "data"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="rocket", description=__doc__)
    parser.add_argument("--motor", help="only this one")
    parser.add_argument("--wind", type=float, default=3.0, help="metres a second, at the ground")
    arguments = parser.parse_args()

    airframe = read_airframe(DATA / "airframe.toml")
    motors = [m for m in read_motors(DATA / "motors.csv") if arguments.motor in {None, m.name}]
    if not motors:
        parser.error(f"no motor {arguments.motor} in {DATA / 'motors.csv'}")
    print(f"{airframe.name}, {arguments.wind:.0f} m/s wind")
    print(f"{'motor':6}{'apogee':>10}{'top speed':>12}{'landing':>11}{'drift':>9}{'time':>8}")
    for motor in motors:
        flight = fly(airframe, motor, arguments.wind)
        print(
            f"{flight.motor:6}{flight.apogee_m:8.1f} m{flight.speed_max_m_s:8.1f} m/s"
            f"{flight.landing_speed_m_s:7.1f} m/s{flight.drift_m:7.0f} m{flight.duration_s:6.0f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
