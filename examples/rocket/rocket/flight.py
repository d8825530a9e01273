"""The flight: two dimensions, small steps, from ignition to the ground."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rocket.airframe import Airframe
from rocket.atmosphere import GRAVITY_M_S2, density_kg_m3, wind_m_s
from rocket.motor import Motor

STEP_S = 0.005
FLIGHT_S_MAX = 600.0


@dataclass(frozen=True)
class Flight:
    """What came of it."""

    motor: str
    apogee_m: float
    apogee_at_s: float
    speed_max_m_s: float
    landing_speed_m_s: float
    drift_m: float
    duration_s: float


def fly(airframe: Airframe, motor: Motor, ground_wind_m_s: float = 3.0) -> Flight:
    """Fly once, straight up from the rail; the wind carries the rocket, the fins keep it upright.

    Raises:
        ValueError: the motor cannot lift the rocket.
    """
    time_s = altitude_m = climb_m_s = drift_m = speed_max_m_s = 0.0
    apogee_m, apogee_at_s = 0.0, None
    while time_s < FLIGHT_S_MAX:
        mass_kg = airframe.dry_mass_kg + motor.mass_kg(time_s)
        is_under_parachute = airframe.parachute.is_open(time_s, apogee_at_s)
        drag_area_m2 = (airframe.parachute if is_under_parachute else airframe).drag_area_m2
        drag_n = 0.5 * density_kg_m3(altitude_m) * drag_area_m2 * climb_m_s * abs(climb_m_s)
        climb_m_s += STEP_S * ((motor.thrust_n(time_s) - drag_n) / mass_kg - GRAVITY_M_S2)
        altitude_m += STEP_S * climb_m_s
        time_s += STEP_S
        if altitude_m > airframe.rail_length_m:
            share = 1.0 if is_under_parachute else 0.1
            drift_m += STEP_S * share * wind_m_s(altitude_m, ground_wind_m_s)
        speed_max_m_s = max(speed_max_m_s, climb_m_s)
        if altitude_m > apogee_m:
            apogee_m = altitude_m
        elif apogee_at_s is None and climb_m_s < 0 and apogee_m > airframe.rail_length_m:
            apogee_at_s = time_s
        if altitude_m <= 0:
            if apogee_at_s is not None:
                break
            if time_s > motor.burn_time_s:
                raise ValueError(f"{motor.name} cannot lift {mass_kg:.3f} kg off the rail.")
            altitude_m = climb_m_s = 0.0
    return Flight(
        motor=motor.name,
        apogee_m=apogee_m,
        apogee_at_s=apogee_at_s or math.nan,
        speed_max_m_s=speed_max_m_s,
        landing_speed_m_s=-climb_m_s,
        drift_m=drift_m,
        duration_s=time_s,
    )
