from typing import Any

import orjson
import pytest

from gateway.mock.forecast import Forecast
from gateway.mock.places import CITIES
from gateway.mock.weather import DAILY, HOURLY, Cell

FORECAST = Forecast()
CORRUPTED = "Data corrupted at path ''. Cannot initialize"
BERLIN = "latitude=52.52&longitude=13.41"


def ask(query: str) -> Any:
    answer = FORECAST.answer(query.encode())
    assert answer.start["status"] == 200, answer.body
    return orjson.loads(answer.body["body"])


def reason(query: str) -> str:
    answer = FORECAST.answer(query.encode())
    assert answer.start["status"] == 400
    body = orjson.loads(answer.body["body"])
    assert body["error"] is True
    return str(body["reason"])


def test_current_weather_has_the_shape_of_the_real_one() -> None:
    answer = ask(f"{BERLIN}&current=temperature_2m,wind_speed_10m")
    assert list(answer) == [
        "latitude",
        "longitude",
        "generationtime_ms",
        "utc_offset_seconds",
        "timezone",
        "timezone_abbreviation",
        "elevation",
        "current_units",
        "current",
    ]
    assert answer["current_units"] == {
        "time": "iso8601",
        "interval": "seconds",
        "temperature_2m": "°C",
        "wind_speed_10m": "km/h",
    }
    assert answer["current"]["time"] == "2026-01-01T12:00"
    assert answer["current"]["interval"] == 900
    assert isinstance(answer["current"]["temperature_2m"], float)


def test_the_cell_is_answered_and_not_the_place() -> None:
    answer = ask("latitude=51.5074&longitude=-0.1278")
    assert (answer["latitude"], answer["longitude"]) == (51.5, -0.125)


def test_values_depend_on_place_variable_and_model_and_on_nothing_else() -> None:
    wind = f"{BERLIN}&current=wind_speed_10m"
    assert ask(wind) == ask(wind) == orjson.loads(Forecast().answer(wind.encode()).body["body"])
    here = ask(f"{BERLIN}&current=wind_speed_10m,wind_gusts_10m")["current"]
    assert here["wind_speed_10m"] == ask(wind)["current"]["wind_speed_10m"]
    assert here["wind_speed_10m"] != here["wind_gusts_10m"]
    there = ask("latitude=-33.9&longitude=18.4&current=wind_speed_10m")["current"]
    assert here["wind_speed_10m"] != there["wind_speed_10m"]
    other = ask(f"{wind}&models=gfs_seamless")["current"]
    assert here["wind_speed_10m"] != other["wind_speed_10m"]


def test_hourly_and_daily_have_as_many_values_as_times() -> None:
    answer = ask(f"{BERLIN}&hourly={','.join(HOURLY)}&daily={','.join(DAILY)}")
    assert answer["hourly"]["time"][0] == "2026-01-01T00:00"
    assert answer["daily"]["time"][-1] == "2026-01-07"
    for section, count in (("hourly", 168), ("daily", 7)):
        assert list(answer[f"{section}_units"]) == list(answer[section])
        assert {len(column) for column in answer[section].values()} == {count}
    assert answer["daily"]["sunrise"][0].startswith("2026-01-01T0")
    assert set(answer["hourly"]["is_day"]) == {0, 1}


def test_the_hour_of_now_reads_as_the_current_weather() -> None:
    answer = ask(f"{BERLIN}&current=temperature_2m&hourly=temperature_2m&timezone=Asia/Tokyo")
    now = answer["hourly"]["time"].index(answer["current"]["time"])
    assert answer["current"]["time"] == "2026-01-01T21:00"
    assert answer["hourly"]["temperature_2m"][now] == answer["current"]["temperature_2m"]


def test_days_can_be_asked_for() -> None:
    assert len(ask(f"{BERLIN}&daily=rain_sum&forecast_days=1")["daily"]["time"]) == 1
    assert len(ask(f"{BERLIN}&hourly=rain&forecast_days=16")["hourly"]["time"]) == 384


def test_variables_may_be_repeated_or_separated_by_commas() -> None:
    expected = ask(f"{BERLIN}&current=rain,cape")
    assert ask(f"{BERLIN}&current=rain&current=cape&current=rain,") == expected


def test_several_models_suffix_their_columns_and_one_does_not() -> None:
    two = ask(f"{BERLIN}&hourly=rain&models=icon_eu,gfs_seamless")["hourly"]
    assert list(two) == ["time", "rain_icon_eu", "rain_gfs_seamless"]
    one = ask(f"{BERLIN}&hourly=rain&models=icon_eu")["hourly"]
    assert one["rain"] == two["rain_icon_eu"] != two["rain_gfs_seamless"]


def test_several_coordinates_are_answered_by_a_list() -> None:
    several = ask("latitude=52.52,35.69&longitude=13.41,139.69&current=rain")
    assert [place["latitude"] for place in several] == [52.5, 35.6875]
    assert "location_id" not in several[0]
    assert several[1].pop("location_id") == 1
    assert several[0] == ask("latitude=52.52&longitude=13.41&current=rain")
    assert several[1] == ask("latitude=35.69&longitude=139.69&current=rain")


@pytest.mark.parametrize(
    ("zone", "seconds", "abbreviation"),
    [
        ("GMT", 0, "GMT"),
        ("Europe/Berlin", 3600, "GMT+1"),
        ("Asia/Kolkata", 19800, "GMT+5:30"),
        ("America/New_York", -18000, "GMT-5"),
        ("auto", 3600, "GMT+1"),
    ],
)
def test_time_zones(zone: str, seconds: int, abbreviation: str) -> None:
    answer = ask(f"{BERLIN}&timezone={zone}&current=rain")
    assert answer["utc_offset_seconds"] == seconds
    assert answer["timezone_abbreviation"] == abbreviation
    assert answer["timezone"] == ("Europe/Berlin" if zone == "auto" else zone)


def test_auto_finds_the_zone_of_every_city_known() -> None:
    for city in CITIES:
        place = f"latitude={city.latitude}&longitude={city.longitude}"
        assert ask(f"{place}&timezone=auto")["timezone"] == city.timezone


def test_a_zone_without_a_known_city_comes_from_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NepalTime:
        def __init__(self, name: str) -> None:
            assert name == "Asia/Kathmandu"

        def utcoffset(self, _: Any) -> Any:
            from datetime import timedelta

            return timedelta(hours=5, minutes=45)

    monkeypatch.setattr("gateway.mock.forecast.ZoneInfo", NepalTime)
    assert ask(f"{BERLIN}&timezone=Asia/Kathmandu")["timezone_abbreviation"] == "GMT+5:45"


def test_each_coordinate_may_have_its_own_zone() -> None:
    two = "latitude=52.52,35.69&longitude=13.41,139.69"
    zones = [place["timezone"] for place in ask(f"{two}&timezone=Europe/Berlin,Asia/Tokyo")]
    assert zones == ["Europe/Berlin", "Asia/Tokyo"]
    assert "'timezone' and coordinates must have" in reason(f"{two}&timezone=GMT,GMT,GMT")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "latitude=123&longitude=1",
            "Latitude must be in range of -90 to 90°. Given: 123.0.",
        ),
        (
            "latitude=1&longitude=-180.5",
            "Longitude must be in range of -180 to 180°. Given: -180.5.",
        ),
        ("latitude=nan&longitude=1", "Latitude must be in range of -90 to 90°. Given: nan."),
        (
            "latitude=north&longitude=1",
            f"{CORRUPTED} Float from invalid String value north.",
        ),
        ("", "Parameter 'latitude' and 'longitude' must not be empty"),
        (
            "latitude=1",
            "Parameter 'latitude' and 'longitude' must have the same number of elements",
        ),
        (
            "latitude=1,2&longitude=1",
            "Parameter 'latitude' and 'longitude' must have the same number of elements",
        ),
        (
            f"{BERLIN}&models=crystal_ball",
            f"{CORRUPTED} MultiDomains from invalid String value crystal_ball.",
        ),
        (
            f"{BERLIN}&daily=temperature_2m",
            f"{CORRUPTED} ForecastVariableDaily from invalid String value temperature_2m.",
        ),
        (
            f"{BERLIN}&hourly=rain&forecast_days=17",
            "Forecast days is invalid. Allowed range 0 to 16. Given 17.",
        ),
        (f"{BERLIN}&timezone=Nowhere/Land", "Invalid timezone"),
        (f"{BERLIN}&timezone=../../etc/passwd", "Invalid timezone"),
        (f"{BERLIN}&timezone=Europe", "Invalid timezone"),
    ],
)
def test_refusals(query: str, expected: str) -> None:
    assert reason(query) == expected


@pytest.mark.parametrize("section", ["current", "hourly"])
def test_an_unknown_variable_is_named_in_the_refusal(section: str) -> None:
    refused = reason(f"{BERLIN}&{section}=tempeture_2m")
    assert refused.startswith(f"{CORRUPTED} Surface")
    assert refused.endswith("from invalid String value tempeture_2m.")


def test_coordinates_are_bounded() -> None:
    many = ",".join(["1"] * 1001)
    assert reason(f"latitude={many}&longitude={many}").endswith("not exceed 1000 coordinates.")


def test_no_cache_control_is_sent() -> None:
    names = {name for name, _ in FORECAST.answer(BERLIN.encode()).start["headers"]}
    assert names == {b"content-type", b"content-length"}


@pytest.mark.parametrize("latitude", [-90, -33.9, 0, 51.5, 90])
def test_values_stay_within_reason(latitude: float) -> None:
    cell = Cell(latitude, 18.4)
    assert 0 <= cell.elevation < 600
    for name, variable in {**HOURLY, **DAILY}.items():
        for hour in (0.0, 12.0, 100.5, 383.0):
            value = cell.value(name, variable, hour, "best_match")
            if variable.unit == "°C":
                assert -35 < value < 40
            elif variable.unit == "wmo code":
                assert value in {0, 1, 2, 3, 45, 51, 61, 63, 71, 80, 95}
            else:
                assert variable.low <= value <= variable.high
