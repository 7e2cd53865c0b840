from __future__ import annotations

import json

import pytest

from gateway.errors import (
    BreakerOpen,
    CallError,
    DeadlineExceeded,
    DependencyFailed,
    LimiterFull,
    UpstreamPayload,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.web.problems import invalid, problem, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UpstreamStatus("", status=404), 404),
        (UpstreamStatus("", status=410), 502),
        (UpstreamStatus("", status=500), 502),
        (UpstreamTimeout(""), 504),
        (DeadlineExceeded(""), 504),
        (LimiterFull(""), 503),
        (BreakerOpen(""), 502),
        (UpstreamUnreachable(""), 502),
        (UpstreamPayload(""), 502),
        (DependencyFailed(""), 502),
    ],
)
def test_the_status_of_a_failed_required_section(error: CallError, status: int) -> None:
    assert status_of(error) == status


def test_a_problem_is_rfc_9457() -> None:
    response = problem(503, "later", retry_after=1.2, errors=[])
    assert response.media_type == "application/problem+json"
    assert response.headers["retry-after"] == "2"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "later",
        "errors": [],
    }


def test_everything_that_is_wrong_is_listed_and_the_first_is_the_detail() -> None:
    one, two = ("id", "is not an integer"), ("q", "is required")
    told = json.loads(bytes(invalid([one, two]).body))
    assert told["detail"] == "id is not an integer, and 1 more"
    assert told["invalid_parameters"] == [
        {"name": "id", "detail": "is not an integer"},
        {"name": "q", "detail": "is required"},
    ]
    assert "left_out" not in told
    assert json.loads(bytes(invalid([one]).body))["detail"] == "id is not an integer"


def test_a_refusal_repeats_little_and_counts_what_it_leaves_out() -> None:
    many = invalid([(f"n{number}", "is wrong") for number in range(500)])
    told = json.loads(bytes(many.body))
    assert (len(told["invalid_parameters"]), told["left_out"]) == (10, 490)
    long = invalid([(f"{number}" + "n" * 50_000, "x" * 50_000) for number in range(9)])
    told = json.loads(bytes(long.body))
    assert len(told["invalid_parameters"]) + told["left_out"] == 9
    assert told["left_out"] > 0
    assert len(long.body) < 2_000


def test_no_character_makes_a_refusal_large() -> None:
    worst = invalid([("\x01" * 9_000, "\x01" * 9_000)] * 9_000)
    assert len(worst.body) < 8_000
