"""Open-Meteo's forecast, with a clock fixed at noon of 2026-01-01 in Greenwich."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from gateway.mock.answer import Answer, json_answer
from gateway.mock.open_meteo import Parameters, Refusal, unknown_value
from gateway.mock.places import CITIES
from gateway.mock.weather import DAILY, HOURLY, MODELS, Cell, Variable

_NOW = datetime(2026, 1, 1, 12)  # noqa: DTZ001 - in Greenwich; zones are offsets added to it
_GENERATION_TIME = 0.25
_INTERVAL = 900  # seconds between two current readings
_STEPS_A_DEGREE = 16  # the grid of ICON-EU, 0.0625 degrees
_MAX_COORDINATES = 1000
_MAX_DAYS = 16

_HOURLY_KIND = (
    "SurfacePressureAndHeightVariable<VariableAndPreviousDay, "
    "VariableOrSpread<ForecastPressureVariable>, ForecastHeightVariable>"
)
_SAME_NUMBER = "must have the same number of elements"


class _Zone(NamedTuple):
    name: str
    offset: timedelta

    @property
    def abbreviation(self) -> str:
        hours, minutes = divmod(abs(int(self.offset.total_seconds())) // 60, 60)
        if not hours and not minutes:
            return "GMT"
        sign = "-" if self.offset < timedelta() else "+"
        return f"GMT{sign}{hours}" + (f":{minutes:02}" if minutes else "")


class _Request(NamedTuple):
    """The parameters of one request that apply to every coordinate."""

    current: list[str]
    hourly: list[str]
    daily: list[str]
    models: list[str]
    days: int


class Forecast:
    """Answers `/v1/forecast`; values are metric, and unit parameters are ignored."""

    __slots__ = ("_offsets",)

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {city.timezone: city.utc_offset for city in CITIES}
        self._offsets |= {"GMT": 0, "UTC": 0}

    def answer(self, query: bytes) -> Answer:
        """One forecast, or a list of them for more than one coordinate."""
        try:
            parameters = Parameters(query)
            request = _read(parameters)
            cells = _coordinates(parameters)
            zones = self._zones(parameters.listed("timezone"), cells)
        except Refusal as refusal:
            return refusal.answer
        located = [
            _locate(request, cell, zone, index)
            for index, (cell, zone) in enumerate(zip(cells, zones, strict=True))
        ]
        return json_answer(located if len(located) > 1 else located[0])

    def _zones(self, names: list[str], cells: list[Cell]) -> list[_Zone]:
        if not names:
            names = ["GMT"]
        if len(names) == 1:
            names *= len(cells)
        if len(names) != len(cells):
            raise Refusal(f"Parameter 'timezone' and coordinates {_SAME_NUMBER}")
        return [self._zone(name, cell) for name, cell in zip(names, cells, strict=True)]

    def _zone(self, name: str, cell: Cell) -> _Zone:
        if name == "auto":
            city = min(CITIES, key=lambda city: _distance(cell, city.latitude, city.longitude))
            name = city.timezone
        offset = self._offsets.get(name)
        if offset is not None:
            return _Zone(name, timedelta(minutes=offset))
        try:
            known = ZoneInfo(name).utcoffset(_NOW)
        except (KeyError, ValueError, OSError):
            known = None
        if known is None:
            raise Refusal("Invalid timezone")
        return _Zone(name, known)


def _read(parameters: Parameters) -> _Request:
    days = parameters.whole_number("forecast_days", 7)
    if not 0 <= days <= _MAX_DAYS:
        raise Refusal(f"Forecast days is invalid. Allowed range 0 to {_MAX_DAYS}. Given {days}.")
    return _Request(
        current=_known(parameters, "current", HOURLY, _HOURLY_KIND),
        hourly=_known(parameters, "hourly", HOURLY, _HOURLY_KIND),
        daily=_known(parameters, "daily", DAILY, "ForecastVariableDaily"),
        models=_known(parameters, "models", dict.fromkeys(MODELS), "MultiDomains")
        or ["best_match"],
        days=days,
    )


def _known(
    parameters: Parameters, name: str, allowed: Mapping[str, object], kind: str
) -> list[str]:
    values = parameters.listed(name)
    for value in values:
        if value not in allowed:
            raise unknown_value(kind, value)
    return list(dict.fromkeys(values))


def _coordinates(parameters: Parameters) -> list[Cell]:
    latitudes = _degrees(parameters, "latitude", 90)
    longitudes = _degrees(parameters, "longitude", 180)
    if len(latitudes) != len(longitudes):
        raise Refusal(f"Parameter 'latitude' and 'longitude' {_SAME_NUMBER}")
    if not latitudes:
        raise Refusal("Parameter 'latitude' and 'longitude' must not be empty")
    if len(latitudes) > _MAX_COORDINATES:
        raise Refusal(
            f"Parameter 'latitude' and 'longitude' must not exceed {_MAX_COORDINATES} coordinates."
        )
    return [Cell(_snap(lat), _snap(lng)) for lat, lng in zip(latitudes, longitudes, strict=True)]


def _degrees(parameters: Parameters, name: str, limit: int) -> list[float]:
    degrees = []
    for text in parameters.listed(name):
        try:
            value = float(text)
        except ValueError:
            raise unknown_value("Float", text) from None
        if not -limit <= value <= limit:
            raise Refusal(
                f"{name.capitalize()} must be in range of -{limit} to {limit}°. Given: {value}."
            )
        degrees.append(value)
    return degrees


def _snap(degrees: float) -> float:
    """The centre of the grid cell: like the real API, the mock answers for the cell."""
    return round(degrees * _STEPS_A_DEGREE) / _STEPS_A_DEGREE


def _distance(cell: Cell, latitude: float, longitude: float) -> float:
    """The squared distance to a city in degrees, good enough to find the nearest."""
    east = abs(cell.longitude - longitude)
    return (cell.latitude - latitude) ** 2 + min(east, 360 - east) ** 2


def _locate(request: _Request, cell: Cell, zone: _Zone, index: int) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "latitude": cell.latitude,
        "longitude": cell.longitude,
        "generationtime_ms": _GENERATION_TIME,
        "utc_offset_seconds": int(zone.offset.total_seconds()),
        "timezone": zone.name,
        "timezone_abbreviation": zone.abbreviation,
        "elevation": cell.elevation,
    }
    if index:
        answer["location_id"] = index
    midnight = (_NOW + zone.offset).replace(hour=0, minute=0)
    if request.current:
        answer["current_units"] = {
            "time": "iso8601",
            "interval": "seconds",
            **{name: HOURLY[name].unit for name in request.current},
        }
        read = partial(cell.value, hour=12.0, model=request.models[0])
        answer["current"] = {
            "time": _minute(_NOW + zone.offset),
            "interval": _INTERVAL,
            **{name: read(name, HOURLY[name]) for name in request.current},
        }
    if request.hourly:
        times = [midnight + timedelta(hours=hour) for hour in range(24 * request.days)]
        answer |= _section("hourly", request.hourly, HOURLY, times, _minute, request, cell, zone)
    if request.daily:
        times = [midnight + timedelta(days=day) for day in range(request.days)]
        answer |= _section("daily", request.daily, DAILY, times, _date, request, cell, zone)
    return answer


def _section(
    section: str,
    names: list[str],
    variables: Mapping[str, Variable],
    times: list[datetime],
    stamp: Callable[[datetime], str],
    request: _Request,
    cell: Cell,
    zone: _Zone,
) -> dict[str, Any]:
    units: dict[str, str] = {"time": "iso8601"}
    columns: dict[str, list[Any]] = {"time": [stamp(time) for time in times]}
    for name in names:
        for model in request.models:
            # Several models share an answer by suffixing their columns; a single one does not.
            column = f"{name}_{model}" if len(request.models) > 1 else name
            units[column] = variables[name].unit
            columns[column] = [
                _reading(cell, name, variables[name], time, zone, model) for time in times
            ]
    return {f"{section}_units": units, section: columns}


def _reading(
    cell: Cell, name: str, variable: Variable, time: datetime, zone: _Zone, model: str
) -> int | float | str:
    midnight_in_greenwich = _NOW.replace(hour=0)
    hour = (time - zone.offset - midnight_in_greenwich) / timedelta(hours=1)
    value = cell.value(name, variable, hour, model)
    return _minute(time + timedelta(minutes=value)) if variable.unit == "iso8601" else value


def _minute(time: datetime) -> str:
    return time.isoformat(timespec="minutes")


def _date(time: datetime) -> str:
    return time.date().isoformat()
