from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cache.cache_control import (
    Windows,
    field_value,
    forbids_keeping,
    parse_age,
    parse_cache_control,
    restrictions,
    shared_lifetime,
    upstream_windows,
)
from gateway.values.restrictions import UNRESTRICTED, Restriction

YEAR = 366 * 86400


def headers(**fields: str) -> list[tuple[bytes, bytes]]:
    return [(n.replace("_", "-").encode(), v.encode("latin-1")) for n, v in fields.items()]


@pytest.mark.parametrize(
    ("text", "directives"),
    [
        ("", {}),
        (None, {}),
        ("max-age=60", {"max-age": "60"}),
        ("Max-Age=60, No-Store", {"max-age": "60", "no-store": None}),
        ('private="set-cookie, no-store", max-age=1', {"private": "set-cookie, no-store", "max-age": "1"}),
        ("max-age = 5", {"max-age": "5"}),
        ("max-age=1, max-age=2", {"max-age": "1"}),
        (", ,no-cache,,", {"no-cache": None}),
        ('x="a\\"b"', {"x": 'a\\"b'}),
    ],
)  # fmt: skip
def test_directives(text: str | None, directives: Any) -> None:
    assert parse_cache_control(text) == directives


@pytest.mark.no_cover
@given(st.text(max_size=200))
def test_no_text_is_too_strange(text: str) -> None:
    directives = parse_cache_control(text)
    windows = upstream_windows([], directives, 5, 6)
    assert all(0 <= window <= YEAR for window in windows)


def test_several_lines_are_one_list() -> None:
    fields = [(b"cache-control", b"max-age=5"), (b"x", b"y"), (b"cache-control", b"no-store")]
    assert field_value(fields, b"cache-control") == "max-age=5,no-store"
    assert field_value(fields, b"age") is None


@pytest.mark.parametrize(
    ("text", "forbids"),
    [
        ("no-store", True),
        ("private", True),
        ('private="x"', True),
        ("no-cache", False),
        ("", False),
    ],
)
def test_what_forbids_keeping(text: str, forbids: bool) -> None:
    assert forbids_keeping(parse_cache_control(text)) is forbids


@pytest.mark.parametrize(
    ("text", "age"),
    [("10", 10), ("10, 20", 10), ("-1", 0), ("ten", 0), ("²", 0), ("9" * 400, YEAR), ("", 0)],
)
def test_age(text: str, age: float) -> None:
    assert parse_age(headers(age=text)) == age
    assert parse_age([]) == 0


DATE = "Thu, 01 Jan 2026 12:00:00 GMT"
LATER = "Thu, 01 Jan 2026 12:01:40 GMT"


@pytest.mark.parametrize(
    ("fields", "windows"),
    [
        ({}, (0, 5, 6)),
        ({"cache_control": "max-age=60"}, (60, 5, 6)),
        ({"cache_control": "max-age=60", "age": "20"}, (40, 5, 6)),
        ({"cache_control": "max-age=60", "age": "90"}, (0, 5, 6)),
        ({"cache_control": "max-age=60, s-maxage=30"}, (30, 0, 0)),
        ({"cache_control": "s-maxage=30, stale-while-revalidate=7"}, (30, 7, 0)),
        ({"cache_control": "max-age=60, stale-if-error=9"}, (60, 5, 9)),
        ({"cache_control": "max-age=60, must-revalidate, stale-if-error=9"}, (60, 0, 0)),
        ({"cache_control": "max-age=60, proxy-revalidate"}, (60, 0, 0)),
        ({"cache_control": "max-age=60, no-cache"}, (0, 0, 0)),
        ({"cache_control": "max-age=60", "vary": "*"}, (0, 0, 0)),
        ({"cache_control": "max-age=60", "vary": "accept"}, (60, 5, 6)),
        ({"cache_control": "max-age=60", "vary": "accept, *"}, (0, 0, 0)),
        ({"cache_control": "max-age=sixty", "date": DATE, "expires": LATER}, (0, 5, 6)),
        ({"cache_control": "max-age"}, (0, 5, 6)),
        ({"cache_control": "max-age=999999999999999999"}, (YEAR, 5, 6)),
        ({"date": DATE, "expires": LATER}, (100, 5, 6)),
        ({"date": DATE, "expires": LATER, "age": "30"}, (70, 5, 6)),
        ({"date": LATER, "expires": DATE}, (0, 5, 6)),
        ({"date": DATE, "expires": "0"}, (0, 5, 6)),
        ({"expires": LATER}, (0, 5, 6)),
        ({"date": "Thu, 01 Jan 2026 12:00:00 -0000", "expires": LATER}, (100, 5, 6)),
    ],
)
def test_windows(fields: dict[str, str], windows: tuple[float, ...]) -> None:
    own = headers(**fields)
    directives = parse_cache_control(field_value(own, b"cache-control"))
    assert upstream_windows(own, directives, 5, 6) == Windows(*windows)


REVALIDATE = Restriction.MUST_REVALIDATE
PROXY = Restriction.PROXY_REVALIDATE


@pytest.mark.parametrize(
    ("fields", "restriction"),
    [
        ({}, UNRESTRICTED),
        ({"cache_control": "public, max-age=60"}, UNRESTRICTED),
        ({"cache_control": "No-Store"}, Restriction.NO_STORE),
        ({"cache_control": "max-age=60, Private"}, Restriction.PRIVATE),
        ({"cache_control": 'private="set-cookie"'}, Restriction.PRIVATE),
        ({"cache_control": "no-cache"}, Restriction.NO_CACHE),
        ({"cache_control": "private, no-store"}, Restriction.PRIVATE | Restriction.NO_STORE),
        ({"cache_control": "max-age=1, must-revalidate"}, REVALIDATE),
        ({"cache_control": "max-age=1, proxy-revalidate"}, PROXY),
        ({"cache_control": "max-age=1, S-MaxAge=9"}, PROXY),
        ({"cache_control": 'x="no-store"'}, UNRESTRICTED),
        ({"cache_control": "not-private, no-stored"}, UNRESTRICTED),
        ({"vary": "*"}, Restriction.VARIES),
        ({"vary": "accept, * "}, Restriction.VARIES),
        ({"vary": "accept, x*"}, UNRESTRICTED),
        ({"pragma": "no-store"}, UNRESTRICTED),
    ],
)
def test_what_an_answer_forbids_others(fields: dict[str, str], restriction: Restriction) -> None:
    assert restrictions(headers(**fields)) == restriction


def test_what_any_line_forbids_is_forbidden() -> None:
    lines = [(b"cache-control", b"max-age=5"), (b"vary", b"accept"), (b"cache-control", b"private"),
             (b"vary", b"*"), (b"cache-control", b"no-store")]  # fmt: skip
    expected = Restriction.PRIVATE | Restriction.NO_STORE | Restriction.VARIES
    assert restrictions(lines) == expected


@pytest.mark.parametrize(
    ("text", "shared"),
    [("max-age=60", False), ("s-maxage=60", True), ("s-maxage=60, max-age=0", True),
     ("s-maxage=60, max-age=60", False), ("s-maxage=0, max-age=60", False), ("s-maxage=x", False)],
)  # fmt: skip
def test_a_lifetime_for_shared_caches_alone(text: str, *, shared: bool) -> None:
    assert shared_lifetime(parse_cache_control(text)) is shared
