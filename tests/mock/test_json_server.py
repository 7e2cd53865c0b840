from typing import Any
from urllib.parse import parse_qsl

import pytest

from gateway.mock.json_server import query

RECORDS: list[dict[str, Any]] = [
    {"id": number, "title": title, "rank": rank, "place": {"city": city}}
    for number, title, rank, city in [
        (1, "Pear", 2, "Rome"),
        (2, "apple", 1, "Oslo"),
        (3, "Fig", 2, "Oslo"),
        (4, "date", 3, "Lima"),
        (10, "lime", 3, "Lima"),
    ]
]


def ids(text: str) -> list[int]:
    records, _ = query(RECORDS, parse_qsl(text, keep_blank_values=True))
    return [record["id"] for record in records]


def total(text: str) -> int | None:
    return query(RECORDS, parse_qsl(text, keep_blank_values=True))[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4, 10]),
        ("id=2", [2]),
        ("id=1&id=2", [1, 2]),
        ("id=2&id=1", [1, 2]),
        ("id=999", []),
        ("id=", []),
        ("rank=2&title=Fig", [3]),
        ("title=fig", []),
        ("place.city=Oslo", [2, 3]),
        ("place.city.x=Oslo", [1, 2, 3, 4, 10]),
        ("unheard_of=1", [1, 2, 3, 4, 10]),
        ("unheard=1&id=3", [3]),
        ("id_ne=1&id_ne=2", [3, 4, 10]),
        ("id_gte=3", [3, 4, 10]),
        ("id_gte=3&id_lte=4", [3, 4]),
        ("id_gte=abc", []),
        ("title_gte=f", [10]),
        ("title_like=IG", [3]),
        ("title_like=.*", []),
        ("unheard_like=a", []),
        ("q=OSLO", [2, 3]),
        ("q=", [1, 2, 3, 4, 10]),
        ("_ne=1", [1, 2, 3, 4, 10]),
    ],
)
def test_filters(text: str, expected: list[int]) -> None:
    assert ids(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_sort=rank", [2, 1, 3, 4, 10]),
        ("_sort=rank&_order=desc", [4, 10, 1, 3, 2]),
        ("_sort=rank,id&_order=desc,DESC", [10, 4, 3, 1, 2]),
        ("_sort=rank,id&_order=desc", [4, 10, 1, 3, 2]),
        ("_sort=place.city", [4, 10, 2, 3, 1]),
        ("_sort=nothing", [1, 2, 3, 4, 10]),
        ("_sort=place", [1, 2, 3, 4, 10]),
    ],
)
def test_sorts(text: str, expected: list[int]) -> None:
    assert ids(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("_limit=2", [1, 2]),
        ("_limit=0", []),
        ("_limit=abc", []),
        ("_limit=2x&_limit=4", [1, 2]),
        ("_start=1&_limit=2", [2, 3]),
        ("_start=1&_end=3", [2, 3]),
        ("_end=3", [1, 2, 3]),
        ("_end=x", []),
        ("_page=2&_limit=2", [3, 4]),
        ("_page=0&_limit=2", [1, 2]),
        ("_page=1", [1, 2, 3, 4, 10]),
        ("_page=9", []),
        ("_page=" + "9" * 6000, []),
        ("rank=3&_limit=1", [4]),
    ],
)
def test_slices_are_counted_before_slicing(text: str, expected: list[int]) -> None:
    assert ids(text) == expected
    assert total(text) == (2 if "rank" in text else 5)


@pytest.mark.parametrize("text", ["", "_start=1", "id=1", "_limit="])
def test_without_a_slice_there_is_no_total(text: str) -> None:
    assert total(text) is None
