from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.cache.freshness import (
    CachePolicy,
    CacheState,
    Decision,
    Entry,
    decide,
    keep,
    keep_negative,
    speaks_against_keeping,
)
from gateway.call import Response
from gateway.errors import BreakerOpen, CallError, UpstreamStatus, UpstreamTimeout
from gateway.values.provenance import Provenance
from gateway.values.restrictions import Restriction
from gateway.values.units import WRITTEN


def entry(**changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "status": 200, "stored_at": 1000, "as_of": 1000, "fresh_until": 1060,
        "revalidate_until": 1070, "error_until": 1080, "cost": 0, "mark": 0,
    }  # fmt: skip
    return Entry("k", b"[1]", [1], **(fields | changes))


@pytest.mark.parametrize(
    ("now", "decision"),
    [
        (900, Decision.HIT),  # another replica's clock is ahead
        (1000, Decision.HIT),
        (1059.999, Decision.HIT),
        (1060, Decision.STALE),
        (1069.999, Decision.STALE),
        (1070, Decision.FETCH),
        (2000, Decision.FETCH),
    ],
)
def test_decisions(now: float, decision: Decision) -> None:
    assert decide(entry(), now, 1, lambda: 0.999) is decision


def test_the_nearer_the_end_and_the_dearer_the_likelier_is_an_early_refresh() -> None:
    rng = random.Random(7)

    def share(left: float, cost: float, beta: float = 1) -> float:
        one = entry(cost=cost)
        drawn = [decide(one, 1060 - left, beta, rng.random) for _ in range(4000)]
        return drawn.count(Decision.EARLY) / 4000

    # The chance is exp(-left / (cost * beta)).
    assert share(1, 1) == pytest.approx(0.368, abs=0.03)
    assert share(2, 1) == pytest.approx(0.135, abs=0.03)
    assert share(2, 1, beta=2) == pytest.approx(0.368, abs=0.03)
    assert share(1, 0.1) < 0.01
    assert share(1, 1, beta=0) == 0
    assert share(1, 0) == 0


@pytest.mark.parametrize(
    ("left", "decision"), [(13, Decision.HIT), (11.9, Decision.EARLY), (1, Decision.EARLY)]
)
def test_what_has_to_stay_fresh_for_a_while_is_refreshed_in_time(
    left: float, decision: Decision
) -> None:
    assert decide(entry(cost=2), 1060 - left, 0, lambda: 0.5, min_fresh=10) is decision


@pytest.mark.no_cover
@given(st.floats(0, 1, exclude_max=True), st.floats(0, 60), st.floats(0, 5))
def test_a_fresh_entry_is_always_served(drawn: float, age: float, cost: float) -> None:
    decision = decide(entry(cost=cost), 1000 + age, 1, lambda: drawn)
    assert decision in {Decision.HIT, Decision.EARLY} or 1000 + age >= 1060


def kept(policy: CachePolicy, *headers: tuple[bytes, bytes], drawn: float = 0) -> Entry | None:
    response = Response({"a": 1}, headers=headers, body=b'{"a":1}')
    return keep(policy, "k", response, now=1000, cost=2, mark=3, random=lambda: drawn)


def test_what_is_stored() -> None:
    one = kept(CachePolicy(ttl=60, stale_while_revalidate=10, stale_if_error=100))
    assert one is not None
    assert (one.body, one.status, one.cost, one.mark) == (b'{"a":1}', 200, 2, 3)
    assert (one.stored_at, one.as_of, one.fresh_until) == (1000, 1000, 1060)
    assert (one.revalidate_until, one.error_until, one.useful_until) == (1070, 1160, 1160)
    hit = one.serve("u")
    assert hit is one.serve("u")  # made once
    assert (hit.value, hit.provenance.cache, hit.provenance.stale) == ({"a": 1}, "hit", False)
    reason = UpstreamTimeout("late")
    stale = one.serve_stale("u", reason)
    assert (stale.value, stale.provenance.cache, stale.provenance.stale) == (
        {"a": 1},
        "stale",
        True,
    )
    assert (stale.provenance.reason, stale.provenance.as_of, stale.provenance.fresh_until) == (
        reason,
        1000,
        1060,
    )
    assert "k" in repr(one)


def test_lifetimes_are_spread_and_only_ever_shorter() -> None:
    ends = []
    rng = random.Random(1)
    for _ in range(200):
        one = kept(CachePolicy(ttl=100, jitter=0.2), drawn=rng.random())
        assert one is not None
        ends.append(one.fresh_until)
    assert 1080 <= min(ends) < 1085
    assert 1095 < max(ends) <= 1100


def test_age_is_part_of_as_of_and_counts_when_the_upstream_decides() -> None:
    cached = ((b"age", b"15"), (b"cache-control", b"max-age=60"))
    fixed, asked = (kept(CachePolicy(ttl=ttl), *cached) for ttl in (100, "upstream"))
    assert fixed is not None
    assert asked is not None
    assert (fixed.as_of, fixed.fresh_until) == (985, 1100)
    assert (asked.as_of, asked.fresh_until) == (985, 1045)


@pytest.mark.parametrize("said", [b"no-store", b"private"])
@pytest.mark.parametrize("ttl", [60, "upstream"])
def test_no_store_and_private_are_always_honoured(said: bytes, ttl: Any) -> None:
    assert kept(CachePolicy(ttl=ttl, stale_if_error=60), (b"cache-control", said)) is None


def test_an_answer_without_a_lifetime_is_not_stored() -> None:
    assert kept(CachePolicy(ttl="upstream")) is None
    assert kept(CachePolicy(ttl="upstream", stale_if_error=60)) is not None
    assert kept(CachePolicy(ttl=60), (b"cache-control", b"no-cache")) is not None


def test_no_content_is_stored_as_null() -> None:
    response = Response(None, status=204)
    one = keep(CachePolicy(ttl=60), "k", response, now=0, cost=0, mark=0, random=lambda: 0)
    assert one is not None
    assert (one.body, one.status) == (b"null", 204)


def test_a_negative_entry_raises_what_was_raised() -> None:
    assert keep_negative(CachePolicy(ttl=60), "k", now=0, cost=0, mark=0) is None
    one = keep_negative(CachePolicy(ttl=60, negative=5), "k", now=1000, cost=0, mark=0)
    assert one is not None
    assert one.useful_until == 1005
    with pytest.raises(UpstreamStatus) as raised:
        one.serve("users")
    assert (raised.value.status, raised.value.upstream) == (404, "users")


def test_a_marked_copy_leaves_the_shared_response_alone() -> None:
    response = Response(1, body=b"1", provenance=Provenance(as_of=5, fresh_until=6, cache="hit"))
    copy = response.marked(CacheState.EXPIRED)
    assert (response.provenance.cache, copy.provenance.cache, copy.provenance.as_of, copy.body) == (
        "hit",
        "expired",
        5,
        b"1",
    )


@pytest.mark.parametrize(
    ("error", "speaks"),
    [
        (UpstreamStatus("", status=404), True),
        (UpstreamStatus("", status=410), True),
        (UpstreamStatus("", status=403), True),
        (UpstreamStatus("", status=429, retryable=True), False),
        (UpstreamStatus("", status=500, retryable=True), False),
        (UpstreamStatus("", status=302), False),
        (UpstreamTimeout(""), False),
        (BreakerOpen(""), False),
    ],
)
def test_what_speaks_against_keeping(error: CallError, speaks: bool) -> None:
    assert speaks_against_keeping(error) is speaks


def test_the_policy_as_it_is_written() -> None:
    policy = CachePolicy.model_validate(
        {"ttl": "1m", "stale_while_revalidate": "10m", "stale_if_error": "1d", "negative": "5s"},
        context=WRITTEN,
    )
    assert (policy.ttl, policy.stale_while_revalidate) == (60, 600)
    assert (policy.stale_if_error, policy.negative) == (86400, 5)
    assert CachePolicy.model_validate({"ttl": "upstream"}, context=WRITTEN).ttl == "upstream"


@pytest.mark.parametrize(
    "fields",
    [{}, {"ttl": "upstraem"}, {"ttl": 60}, {"ttl": "1m", "jitter": 0.6}, {"ttl": "1m", "x": 1}],
)
def test_invalid_policies_are_rejected(fields: Any) -> None:
    with pytest.raises(ValidationError) as raised:
        CachePolicy.model_validate(fields, context=WRITTEN)
    assert raised.value.error_count() == 1


def test_the_policy_describes_itself() -> None:
    schema = CachePolicy.model_json_schema()
    assert all("description" in field for field in schema["properties"].values())


def test_whether_a_policy_stores_anything() -> None:
    assert not CachePolicy(ttl=0).keeps
    for field in ("ttl", "stale_while_revalidate", "stale_if_error", "negative"):
        assert CachePolicy(**({"ttl": 0} | {field: 1})).keeps


def test_what_is_forbidden_goes_with_the_entry_and_all_that_it_serves() -> None:
    forbidden = Restriction.MUST_REVALIDATE | Restriction.VARIES
    response = Response([1], body=b"[1]", provenance=Provenance(restrictions=forbidden))
    one = keep(CachePolicy(ttl=60), "k", response, now=0, cost=0, mark=0, random=lambda: 0)
    assert one is not None
    for served in (one.serve("a"), one.serve_stale("a"), response.marked(CacheState.MISS),
                   response.marked("x")):  # fmt: skip
        assert served.provenance.restrictions == forbidden


@pytest.mark.parametrize(
    ("ttl", "restriction"), [("upstream", Restriction.SHARED_LIFETIME), (60, Restriction(0))]
)
def test_a_lifetime_for_shared_caches_counts_where_the_upstream_decides(
    ttl: Any, restriction: Restriction
) -> None:
    one = kept(CachePolicy(ttl=ttl), (b"cache-control", b"s-maxage=60, max-age=0"))
    assert one is not None
    assert one.restrictions == restriction
