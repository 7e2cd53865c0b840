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
from gateway.web.problems import problem, status_of


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
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "later",
        "errors": [],
    }
