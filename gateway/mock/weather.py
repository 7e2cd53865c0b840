"""The forecast mock's weather: a smooth, plausible function of place and hour."""

import math
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Variable(NamedTuple):
    """One variable of a forecast: its unit and the range of its values."""

    unit: str
    low: float
    high: float
    decimals: int


_CODES = (0, 1, 2, 3, 45, 51, 61, 63, 71, 80, 95)
"""WMO weather interpretation codes, from a clear sky to a thunderstorm."""

HOURLY: Mapping[str, Variable] = MappingProxyType(
    {
        "temperature_2m": Variable("°C", -5, 5, 1),
        "relative_humidity_2m": Variable("%", 35, 98, 0),
        "dew_point_2m": Variable("°C", -11, -3, 1),
        "apparent_temperature": Variable("°C", -8, 4, 1),
        "precipitation": Variable("mm", 0, 2, 2),
        "precipitation_probability": Variable("%", 0, 100, 0),
        "rain": Variable("mm", 0, 2, 2),
        "showers": Variable("mm", 0, 1, 2),
        "snowfall": Variable("cm", 0, 0.7, 2),
        "snow_depth": Variable("m", 0, 0.3, 2),
        "weather_code": Variable("wmo code", 0, len(_CODES), 0),
        "pressure_msl": Variable("hPa", 995, 1030, 1),
        "surface_pressure": Variable("hPa", 985, 1020, 1),
        "cloud_cover": Variable("%", 0, 100, 0),
        "cloud_cover_low": Variable("%", 0, 100, 0),
        "cloud_cover_mid": Variable("%", 0, 100, 0),
        "cloud_cover_high": Variable("%", 0, 100, 0),
        "visibility": Variable("m", 800, 24140, 0),
        "wind_speed_10m": Variable("km/h", 1, 35, 1),
        "wind_speed_80m": Variable("km/h", 3, 50, 1),
        "wind_speed_120m": Variable("km/h", 4, 55, 1),
        "wind_direction_10m": Variable("°", 0, 359, 0),
        "wind_direction_80m": Variable("°", 0, 359, 0),
        "wind_gusts_10m": Variable("km/h", 10, 70, 1),
        "soil_temperature_0cm": Variable("°C", -4, 4, 1),
        "shortwave_radiation": Variable("W/m²", 0, 600, 1),
        "sunshine_duration": Variable("s", 0, 3600, 2),
        "cape": Variable("J/kg", 0, 900, 1),
        "uv_index": Variable("", 0, 8, 2),
        "is_day": Variable("", 0, 1, 0),
    }
)

DAILY: Mapping[str, Variable] = MappingProxyType(
    {
        "temperature_2m_max": Variable("°C", 1, 6, 1),
        "temperature_2m_min": Variable("°C", -6, -1, 1),
        "temperature_2m_mean": Variable("°C", -1, 1, 1),
        "apparent_temperature_max": Variable("°C", -1, 4, 1),
        "apparent_temperature_min": Variable("°C", -9, -3, 1),
        "precipitation_sum": Variable("mm", 0, 14, 2),
        "precipitation_hours": Variable("h", 0, 24, 1),
        "precipitation_probability_max": Variable("%", 0, 100, 0),
        "rain_sum": Variable("mm", 0, 12, 2),
        "showers_sum": Variable("mm", 0, 4, 2),
        "snowfall_sum": Variable("cm", 0, 5, 2),
        "weather_code": Variable("wmo code", 0, len(_CODES), 0),
        "sunrise": Variable("iso8601", 360, 480, 0),  # minutes of the day
        "sunset": Variable("iso8601", 960, 1140, 0),
        "daylight_duration": Variable("s", 28800, 50400, 2),
        "sunshine_duration": Variable("s", 0, 36000, 2),
        "wind_speed_10m_max": Variable("km/h", 8, 50, 1),
        "wind_gusts_10m_max": Variable("km/h", 20, 90, 1),
        "wind_direction_10m_dominant": Variable("°", 0, 359, 0),
        "shortwave_radiation_sum": Variable("MJ/m²", 1, 25, 2),
        "uv_index_max": Variable("", 0, 9, 2),
    }
)

MODELS = frozenset(
    {
        "best_match", "ecmwf_ifs", "ecmwf_ifs025", "ecmwf_aifs025_single", "gfs_seamless",
        "gfs_global", "gfs_hrrr", "gfs_graphcast025", "icon_seamless", "icon_global", "icon_eu",
        "icon_d2", "gem_seamless", "gem_global", "meteofrance_seamless",
        "meteofrance_arpege_world", "meteofrance_arome_france", "jma_seamless", "jma_gsm",
        "metno_seamless", "metno_nordic", "knmi_seamless", "dmi_seamless", "ukmo_seamless",
        "ukmo_global_deterministic_10km", "cma_grapes_global", "bom_access_global",
        "kma_seamless", "meteoswiss_icon_seamless",
    }
)  # fmt: skip


class Cell(NamedTuple):
    """One cell of the forecast's grid, by its centre in degrees."""

    latitude: float
    longitude: float

    @property
    def elevation(self) -> float:
        """Metres above the sea."""
        return float(zlib.crc32(f"elevation {self}".encode()) % 600)

    def value(self, name: str, variable: Variable, hour: float, model: str) -> int | float:
        """`name` at `hour` (hours since the fixed day began in Greenwich) according to `model`.

        A daily wave whose level and phase come from a checksum of place and name, which unlike
        Python's hash is the same on every machine and in every process.
        """
        if name == "is_day":
            return int(6 <= (hour + self.longitude / 15) % 24 < 18)  # noqa: PLR2004 - six to six
        drawn = zlib.crc32(f"{name} {self} {model}".encode())
        level, phase = (drawn >> 16) / 0xFFFF, (drawn & 0xFFFF) / 0xFFFF
        # The second, slower wave makes the days differ.
        wave = math.sin(math.tau * (hour / 24 + phase)) + math.sin(math.tau * (hour / 113 + level))
        share = (level + (wave + 2) / 4) / 2
        value = variable.low + (variable.high - variable.low) * share
        if variable.unit == "wmo code":
            return _CODES[min(int(value), len(_CODES) - 1)]
        if variable.unit == "°C":
            # January: warmest a little south of the equator.
            value += 28 - 0.45 * abs(self.latitude + 10)
        return round(value, variable.decimals) if variable.decimals else round(value)
