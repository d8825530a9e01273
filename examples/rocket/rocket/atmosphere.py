"""The air, as the International Standard Atmosphere has it below 11 km (ISO 2533)."""

from __future__ import annotations

GRAVITY_M_S2 = 9.80665
_SEA_LEVEL_KELVIN = 288.15
_SEA_LEVEL_DENSITY_KG_M3 = 1.225
_LAPSE_KELVIN_PER_M = 0.0065
_EXPONENT = 4.2559


def density_kg_m3(altitude_m: float) -> float:
    """Return the air's density at an altitude above the sea."""
    share = 1 - _LAPSE_KELVIN_PER_M * max(0.0, altitude_m) / _SEA_LEVEL_KELVIN
    return _SEA_LEVEL_DENSITY_KG_M3 * share**_EXPONENT


def wind_m_s(altitude_m: float, ground_wind_m_s: float) -> float:
    """Return the wind at an altitude: it grows with height by the usual one-seventh power."""
    return ground_wind_m_s * (max(altitude_m, 2.0) / 10.0) ** (1 / 7)
