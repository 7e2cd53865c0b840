from typing import Any

import orjson
import pytest

from gateway.mock.geocoding import Geocoding
from gateway.mock.places import CITIES

GEOCODING = Geocoding()


def search(query: str) -> Any:
    return orjson.loads(GEOCODING.answer(query.encode()).body["body"])


def names(query: str) -> list[tuple[str, str]]:
    return [(city["name"], city["country_code"]) for city in search(query).get("results", [])]


def test_a_city_has_the_shape_of_the_real_one() -> None:
    assert search("name=London&count=1&language=en&format=json") == {
        "results": [
            {
                "id": 2643743,
                "name": "London",
                "latitude": 51.50853,
                "longitude": -0.12574,
                "elevation": 25.0,
                "feature_code": "PPLC",
                "country_code": "GB",
                "timezone": "Europe/London",
                "population": 8961989,
                "country_id": 2635167,
                "country": "United Kingdom",
                "admin1": "England",
            }
        ],
        "generationtime_ms": 0.5,
    }


def test_an_empty_region_is_left_out() -> None:
    assert "admin1" not in search("name=Singapore")["results"][0]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=london", [("London", "GB"), ("London", "CA")]),
        ("name=london&countryCode=CA", [("London", "CA")]),
        ("name=London,+Canada", [("London", "CA")]),
        ("name=London,ontario", [("London", "CA")]),
        ("name=London,+C", [("London", "GB"), ("London", "CA")]),
        ("name=tok", [("Tokyo", "JP")]),
        ("name=SAO+PAULO", [("São Paulo", "BR")]),
        ("name=S%C3%A3o", [("São Paulo", "BR")]),
        ("name=san", [("Santiago", "CL"), ("San Francisco", "US")]),
        ("name=san&count=1", [("Santiago", "CL")]),
        ("name=to", []),
        ("name=t", []),
        ("name=,Canada", []),
    ],
)
def test_names_match_as_in_the_real_one(query: str, expected: list[tuple[str, str]]) -> None:
    assert names(query) == expected


def test_an_exact_name_comes_before_a_larger_city_that_only_begins_with_it() -> None:
    small = CITIES[0]._replace(name="Pari", population=5)
    paris = CITIES[0]._replace(name="Paris", population=2_000_000)
    answer = Geocoding([paris, small]).answer(b"name=pari")
    assert [c["name"] for c in orjson.loads(answer.body["body"])["results"]] == ["Pari", "Paris"]


def test_no_match_has_no_results_at_all() -> None:
    assert search("name=Nowhere") == {"generationtime_ms": 0.5}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "No value found (expected type 'String') at path 'name'"),
        ("count=1", "at path 'name'"),
        ("name=London&count=0", "Parameter count must be between 1 and 100."),
        ("name=London&count=101", "Parameter count must be between 1 and 100."),
        ("name=London&count=x", "Value was not of type 'Int' at path 'count'"),
    ],
)
def test_refusals(query: str, reason: str) -> None:
    answer = GEOCODING.answer(query.encode())
    assert answer.start["status"] == 400
    body = orjson.loads(answer.body["body"])
    assert body["error"] is True
    assert reason in body["reason"]


def test_there_are_enough_cities_and_their_facts_are_plausible() -> None:
    assert len(CITIES) >= 40
    assert len({city.id for city in CITIES}) == len(CITIES)
    for city in CITIES:
        assert -90 <= city.latitude <= 90
        assert -180 <= city.longitude <= 180
        # Clocks follow the sun within a few hours: catches a swapped sign or column.
        assert abs(city.utc_offset / 60 - city.longitude / 15) < 3
