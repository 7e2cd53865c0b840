"""Open-Meteo's geocoding: cities by a prefix of their name."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from gateway.mock.answer import Answer, json_answer
from gateway.mock.open_meteo import Parameters, Refusal
from gateway.mock.places import CITIES, City

_GENERATION_TIME = 0.5
_EXACT_UP_TO = 2  # characters; from the third on a name may be unfinished


class Geocoding:
    """Answers `/v1/search`; knows English names only and ignores `language`."""

    __slots__ = ("_cities",)

    def __init__(self, cities: Sequence[City] = CITIES) -> None:
        by_size = sorted(cities, key=lambda city: -city.population)
        self._cities = [(_fold(city.name), city) for city in by_size]

    def answer(self, query: bytes) -> Answer:
        """The cities that match, the largest first; no `results` at all when none does."""
        try:
            found = self._search(Parameters(query))
        except Refusal as refusal:
            return refusal.answer
        results = {"results": [_result(city) for city in found]} if found else {}
        return json_answer({**results, "generationtime_ms": _GENERATION_TIME})

    def _search(self, parameters: Parameters) -> list[City]:
        name = parameters.last("name")
        if name is None:
            raise Refusal(
                "No value found (expected type 'String') at path 'name'. "
                "No String was found at 'name'."
            )
        count = parameters.whole_number("count", 10)
        if not 1 <= count <= 100:  # noqa: PLR2004 - the range that the message names
            raise Refusal("Parameter count must be between 1 and 100.")
        found = self._named(name)
        if country_code := parameters.last("countryCode"):
            found = [city for city in found if city.country_code == country_code]
        return found[:count]

    def _named(self, name: str) -> list[City]:
        """The cities called `name`, or `name, region or country`; exact matches first."""
        wanted, _, area = (_fold(part.strip()) for part in name.partition(","))
        if len(wanted) <= 1:
            return []
        exact = [city for folded, city in self._cities if folded == wanted]
        if len(wanted) > _EXACT_UP_TO:
            exact += [
                c for folded, c in self._cities if folded.startswith(wanted) and c not in exact
            ]
        if len(area) <= 1:
            return exact
        return [
            city
            for city in exact
            if _fold(city.country).startswith(area) or _fold(city.admin1).startswith(area)
        ]


def _fold(name: str) -> str:
    """`name` in lower case and without accents, for comparisons."""
    decomposed = unicodedata.normalize("NFKD", name)
    return "".join(char for char in decomposed if not unicodedata.combining(char)).lower()


def _result(city: City) -> dict[str, Any]:
    return {
        "id": city.id,
        "name": city.name,
        "latitude": city.latitude,
        "longitude": city.longitude,
        "elevation": float(city.elevation),
        "feature_code": city.feature_code,
        "country_code": city.country_code,
        "timezone": city.timezone,
        "population": city.population,
        "country_id": city.country_id,
        "country": city.country,
        # Protocol Buffers leave empty text out of their JSON.
        **({"admin1": city.admin1} if city.admin1 else {}),
    }
