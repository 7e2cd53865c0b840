from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.engine.outcome import Outcome, State
from gateway.errors import UpstreamTimeout
from gateway.values.provenance import Provenance
from gateway.values.restrictions import Restriction
from gateway.web.response_headers import ServerTiming, etag, freshness, matches
from tests.planning import plan

NOW = 1000.0
HIT = {"as_of": 990.0, "fresh_until": 1030.0, "cache": "hit"}
MISS = {"as_of": 1000.0, "fresh_until": 1060.0, "cache": "miss"}
STALE = {"state": State.STALE, "as_of": 900.0, "fresh_until": 950.0, "cache": "stale"}
FAILING = {**STALE, "reason": UpstreamTimeout("late")}
NOT_KEPT: dict[str, Any] = {}
PASS = {"cache": "pass"}
EXPIRED = {**MISS, "cache": "expired"}
COLLAPSED = {**MISS, "cache": "collapsed"}
FAILED = {"state": State.FAILED}
SKIPPED = {"state": State.SKIPPED}


def outcome(told: dict[str, Any]) -> Outcome:
    more = {key: value for key, value in told.items() if key != "state"}
    return Outcome(told.get("state", State.OK), provenance=Provenance(**more))


def fields(*outcomes: dict[str, Any], complete: bool = True, private: bool = False) -> list[str]:
    landed = [outcome(told) for told in outcomes]
    made = freshness(landed, complete=complete).fields(NOW, private=private)
    return [f"{name.decode()}: {value.decode()}" for name, value in made]


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([HIT], ["cache-control: public, max-age=40", "age: 10", "cache-status: gateway; hit; ttl=30"]),
        ([HIT, HIT], ["cache-control: public, max-age=40", "age: 10",
                      "cache-status: gateway; hit; ttl=30"]),
        ([MISS], ["cache-control: public, max-age=60", "age: 0", "cache-status: gateway; fwd=miss; stored"]),
        ([HIT, MISS], ["cache-control: public, max-age=40", "age: 10",
                       "cache-status: gateway; fwd=miss; stored"]),
        ([EXPIRED], ["cache-control: public, max-age=60", "age: 0",
                     "cache-status: gateway; fwd=stale; stored"]),
        ([COLLAPSED, HIT], ["cache-control: public, max-age=40", "age: 10",
                            "cache-status: gateway; fwd=miss; collapsed"]),
        ([STALE], ["cache-control: no-cache", "age: 100",
                   "cache-status: gateway; hit; detail=stale-while-revalidate; ttl=-50"]),
        ([STALE, HIT], ["cache-control: no-cache", "age: 100",
                        "cache-status: gateway; hit; detail=stale-while-revalidate; ttl=-50"]),
        ([FAILING, HIT], ["cache-control: no-cache", "age: 100",
                          "cache-status: gateway; fwd=stale; detail=stale-if-error"]),
        ([NOT_KEPT], ["cache-control: no-cache"]),
        ([NOT_KEPT, HIT], ["cache-control: no-cache", "age: 10", "cache-status: gateway; fwd=miss"]),
        ([PASS, HIT], ["cache-control: no-cache", "age: 10", "cache-status: gateway; fwd=miss"]),
        ([HIT, SKIPPED], ["cache-control: public, max-age=40", "age: 10",
                          "cache-status: gateway; hit; ttl=30"]),
        ([SKIPPED], ["cache-control: no-cache"]),
    ],
)  # fmt: skip
def test_the_fields_are_those_of_the_least_fresh_section(
    outcomes: list[dict[str, Any]], expected: list[str]
) -> None:
    assert fields(*outcomes) == expected


def test_a_partial_answer_is_kept_by_nobody() -> None:
    assert fields(FAILED, HIT, complete=False)[0] == "cache-control: no-store"


def test_what_was_made_for_one_principal_is_private() -> None:
    assert fields(HIT, private=True)[0] == "cache-control: private, max-age=40"
    assert fields(NOT_KEPT, private=True)[0] == "cache-control: private, no-cache"


NO_STORE, PRIVATE, NO_CACHE, VARIES = (
    {"restrictions": restriction}
    for restriction in (Restriction.NO_STORE, Restriction.PRIVATE, Restriction.NO_CACHE,
                        Restriction.VARIES)
)  # fmt: skip
REVALIDATE = {"restrictions": Restriction.MUST_REVALIDATE}
PROXY = {"restrictions": Restriction.PROXY_REVALIDATE}
SHARED = {"restrictions": Restriction.SHARED_LIFETIME | Restriction.PROXY_REVALIDATE}


@pytest.mark.parametrize(
    ("outcomes", "private", "control"),
    [
        ([PRIVATE], False, "private, no-cache"),
        ([NO_STORE], False, "no-store"),
        ([NO_STORE], True, "no-store"),
        ([PRIVATE, NO_STORE, HIT], False, "no-store"),
        ([HIT, PRIVATE], False, "private, no-cache"),
        ([{**HIT, **PRIVATE}], False, "private, max-age=40"),
        ([HIT, NO_STORE], False, "no-store"),
        ([STALE, PRIVATE], False, "private, no-cache"),
        ([{**STALE, **NO_STORE}], False, "no-store"),
        ([{**FAILING, **PRIVATE}], False, "private, no-cache"),
        ([{**HIT, **NO_CACHE}], False, "no-cache"),
        ([{**HIT, **NO_CACHE}], True, "private, no-cache"),
        ([HIT, {**HIT, **VARIES}], False, "no-cache"),
        ([HIT, {**HIT, **REVALIDATE}], False, "public, max-age=40, must-revalidate"),
        ([{**HIT, **REVALIDATE}], True, "private, max-age=40, must-revalidate"),
        ([HIT, {**HIT, **PROXY}], False, "public, max-age=40, proxy-revalidate"),
        ([HIT, {**HIT, **SHARED}], False, "public, max-age=0, s-maxage=40, proxy-revalidate"),
        ([HIT, {**HIT, **SHARED}], True, "private, no-cache"),
        ([{**HIT, **SHARED}, PRIVATE], False, "private, no-cache"),
        ([{**NOT_KEPT, **REVALIDATE}], False, "no-cache"),
    ],
)  # fmt: skip
def test_an_answer_is_as_restricted_as_its_strictest_section(
    outcomes: list[dict[str, Any]], control: str, *, private: bool
) -> None:
    assert fields(*outcomes, private=private)[0] == f"cache-control: {control}"


@pytest.mark.parametrize("each", [HIT, MISS, STALE, NOT_KEPT])
@pytest.mark.parametrize("forbidden", [NO_STORE, PRIVATE, NO_CACHE, VARIES])
def test_one_hit_later_it_is_as_restricted(each: Any, forbidden: Any) -> None:
    first = freshness([outcome(each | forbidden)], complete=True)
    again = first.as_hit()
    assert again.fields(NOW)[0] == first.fields(NOW)[0]
    assert (again.varies, again.reusable) == (first.varies, first.reusable)


def test_an_answer_that_has_run_out_since_is_no_longer_fresh() -> None:
    hit = freshness(
        [Outcome(State.OK, provenance=Provenance(as_of=900.0, fresh_until=999.0, cache="hit"))],
        complete=True,
    )
    assert dict(hit.fields(NOW))[b"cache-control"] == b"no-cache"


def test_an_etag_is_weak_and_of_all_parts_as_one() -> None:
    assert etag([b"ab"]) == etag([b"a", b"b"]) == etag([memoryview(b"abc")[:2], b""])
    assert etag([b"ab"]) != etag([b"ac"])
    assert re.fullmatch(rb'W/"[0-9a-f]{32}"', etag([b"ab"]))


@pytest.mark.parametrize(
    ("field", "matching"),
    [(b'"x"', True), (b'W/"x"', True), (b'"a", "x"', True), (b'"a",W/"x"', True), (b"*", True),
     (b" * ", True), (b'W/"a" , W/"x" ', True), (b'"a"', False), (b'W/"a"', False), (b"x", False),
     (b'"x', False), (b'w/"x"', False), (b"", False)],
)  # fmt: skip
@pytest.mark.parametrize("tag", [b'"x"', b'W/"x"'])
def test_if_none_match_is_compared_weakly(field: bytes, tag: bytes, *, matching: bool) -> None:
    assert matches(field, tag) is matching


def test_every_section_has_a_timing() -> None:
    two = plan('a: {get: "a:/"}\nb: {get: "a:/", hidden: true}')
    assert ServerTiming(two).of([0.01234, 0.0]) == b"a;dur=12.3, b;dur=0.0"
    assert ServerTiming(two).nothing == b"a;dur=0.0, b;dur=0.0"
