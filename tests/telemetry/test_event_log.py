from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from gateway.cache.refreshes import Refresh
from gateway.errors import ErrorCode
from gateway.events import Attempt, BreakerChange, Event, Events, SectionFailed
from gateway.telemetry.event_log import EventLog
from gateway.telemetry.logs import JsonFormatter
from tests.serving import application, asked
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from collections.abc import Callable


def failed(**given: Any) -> SectionFailed:
    said: dict[str, Any] = {
        "upstream": "weather",
        "section": "now",
        "dashboard": "user",
        "state": "failed",
        "count": 1,
        "code": ErrorCode.UPSTREAM_STATUS,
        "status": 503,
        "detail": "answered with status 503",
        "excerpt": "no room",
        "cause": "",
    }
    return SectionFailed(**said | given)


def logging_events(**options: Any) -> tuple[Events, EventLog]:
    events, log = Events(), EventLog(clock=loop_time, **options)
    log.listen_to(events)
    return events, log


def written(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            failed(),
            "section user.now failed: upstream weather, upstream_status (status 503): "
            "answered with status 503; it said: no room",
        ),
        (
            failed(state="fallback", detail="answered with status 503: no room"),
            "section user.now failed and its fallback is served: upstream weather, "
            "upstream_status (status 503): answered with status 503: no room",
        ),
        (
            failed(
                state="stale", code=ErrorCode.UPSTREAM_UNREACHABLE, status=None, excerpt="",
                detail="no connection", cause="[Errno 111] refused",
            ),
            "section user.now failed and a stored value is served: upstream weather, "
            "upstream_unreachable: no connection ([Errno 111] refused)",
        ),
        (
            failed(state="ok", count=3, excerpt=""),
            "section user.now has 3 failed elements: upstream weather, upstream_status (status "
            "503): answered with status 503",
        ),
        (
            failed(upstream="", code=ErrorCode.DEPENDENCY_FAILED, status=None, excerpt="",
                   detail="a\nb, which this section refers to, failed"),
            r"section user.now failed: dependency_failed: a\nb, which this section refers to, failed",
        ),
        (
            Refresh(
                "weather", "now", "failed", "user", ErrorCode.UPSTREAM_TIMEOUT, detail="too late"
            ),
            "section user.now could not be refreshed in the background: upstream weather, "
            "upstream_timeout: too late",
        ),
        (
            BreakerChange(
                "weather", "now", "closed", "open", 5.25, ErrorCode.UPSTREAM_TIMEOUT,
                detail="too late",
            ),
            "upstream weather: the breaker is open and refuses calls for 5.2 s, as too many calls "
            "failed; the last one: upstream_timeout: too late",
        ),
        (
            BreakerChange(
                "weather", "now", "half_open", "open", 10.0, ErrorCode.UPSTREAM_STATUS, 500,
                detail="answered with status 500", excerpt="oops",
            ),
            "upstream weather: the breaker is open and refuses calls for 10.0 s, as it still "
            "fails; the last one: upstream_status (status 500): answered with status 500; it "
            "said: oops",
        ),
    ],
)  # fmt: skip
def test_what_fails_and_what_opens_is_a_warning_that_says_why(
    event: Event, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        events, _ = logging_events()
        assert events.wants(type(event))
        events.emit(event)

    run(main())
    assert written(caplog) == [("WARNING", line)]


def test_recovery_is_logged_at_info(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        events, _ = logging_events()
        with caplog.at_level(logging.INFO, "gateway"):
            events.emit(BreakerChange("weather", "now", "open", "half_open"))
            events.emit(BreakerChange("weather", "now", "half_open", "closed"))

    run(main())
    assert written(caplog) == [
        ("INFO", "upstream weather: the breaker is half open and lets a few calls through"),
        ("INFO", "upstream weather: the breaker is closed, the upstream has recovered"),
    ]


def test_of_failures_of_one_kind_the_first_is_written_at_once_and_then_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> list[tuple[float, str]]:
        events, _ = logging_events(every=10)
        lines: list[tuple[float, str]] = []

        def note() -> None:
            lines.extend(
                (loop_time() - 1000, message.partition("; it said")[2] or message)
                for _, message in written(caplog)
            )
            caplog.clear()

        for _ in range(1000):  # 25 s of failures, one every 25 ms, then quiet
            events.emit(failed())
            note()
            await asyncio.sleep(0.025)
            note()
        await asyncio.sleep(60)
        note()
        events.emit(failed())
        note()
        return lines

    lines = run(main())
    assert [round(at) for at, _ in lines] == [0, 10, 20, 85, 85]
    counts = [int(line.split("and ")[1].split()[0]) if "and " in line else 0 for _, line in lines]
    assert sum(counts) + len(counts) == 1001
    assert counts[0] == counts[-1] == 0
    assert lines[1][1] == f": no room; and {counts[1]} more since the last line"


def test_what_differs_in_dashboard_section_upstream_or_code_is_another_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        events, _ = logging_events()
        for _ in range(5):
            events.emit(failed())
            events.emit(failed(dashboard="other"))
            events.emit(failed(section="other"))
            events.emit(failed(upstream="other"))
            events.emit(failed(code=ErrorCode.UPSTREAM_PAYLOAD))
            events.emit(Refresh("weather", "now", "failed", "user", ErrorCode.UPSTREAM_STATUS, 503))

    run(main())
    assert len(caplog.records) == 6


def test_memory_and_rate_are_bounded_however_many_kinds_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        events, log = logging_events(every=10, most=3)
        for number in range(500):
            events.emit(failed(dashboard=f"d{number}"))
        assert len(log._lines._windows) == 4
        assert len(caplog.records) == 4
        await asyncio.sleep(30)
        assert len(log._lines._windows) == 0
        assert log._lines._timer is None

    run(main())
    assert len(caplog.records) == 5
    assert caplog.records[-1].getMessage().endswith("; and 495 more since the last line")


def test_closing_writes_what_was_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        events, log = logging_events()
        for _ in range(3):
            events.emit(failed())
        await log.aclose()
        await log.aclose()

    run(main())
    assert len(caplog.records) == 2
    assert caplog.records[1].getMessage().endswith("; and 1 more since the last line")


def test_a_window_of_a_closed_event_loop_ends_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    events, log = Events(), EventLog(every=10, clock=lambda: now)
    log.listen_to(events)

    async def fail(times: int) -> None:
        for _ in range(times):
            events.emit(failed())

    asyncio.run(fail(3))
    now = 11.0
    asyncio.run(fail(1))
    messages = [message for _, message in written(caplog)]
    assert len(messages) == 2
    assert messages[1].endswith("; and 2 more since the last line")


ATTEMPT = Attempt(
    "weather", "now", 2, 0.01234, ErrorCode.UPSTREAM_STATUS, 503, dashboard="user",
    operation="GET /v1?lat=1", detail="answered with status 503", excerpt="no room",
)  # fmt: skip


def test_attempts_are_wanted_and_written_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    events, _ = logging_events()
    with caplog.at_level(logging.INFO, "gateway"):
        assert not events.wants(Attempt)
        events.emit(ATTEMPT)
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "gateway"):
        assert events.wants(Attempt)
        events.emit(ATTEMPT)
        events.emit(
            Attempt("weather", "now", 1, 0.5, None, 200, dashboard="user", operation="GET /v1")
        )
        events.emit(
            Attempt("weather", "now", 1, 0.5, None, None, True, "user", operation="GET /v1")
        )
    assert written(caplog) == [
        (
            "DEBUG",
            "upstream weather: attempt 2 for user.now, GET /v1?lat=1, 12.3 ms: upstream_status "
            "(status 503): answered with status 503; it said: no room",
        ),
        ("DEBUG", "upstream weather: attempt 1 for user.now, GET /v1, 500.0 ms: status 200"),
        ("DEBUG", "upstream weather: attempt 1 for user.now, GET /v1, 500.0 ms: cancelled"),
    ]


def test_failures_are_no_events_where_warnings_are_off(caplog: pytest.LogCaptureFixture) -> None:
    events, _ = logging_events()
    with caplog.at_level(logging.ERROR, "gateway"):
        assert not events.wants(SectionFailed)
        assert not events.wants(Refresh)
    assert events.wants(SectionFailed)


@pytest.mark.parametrize(
    ("emit", "members"),
    [
        (
            lambda events: [events.emit(failed()) for _ in range(3)],
            {
                "event": "section_failed", "dashboard": "user", "section": "now",
                "upstream": "weather", "state": "failed", "code": "upstream_status", "status": 503,
                "detail": "answered with status 503", "excerpt": "no room", "more": 1,
            },
        ),
        (
            lambda events: events.emit(ATTEMPT),
            {
                "event": "attempt", "dashboard": "user", "section": "now", "upstream": "weather",
                "attempt": 2, "duration": 0.01234, "operation": "GET /v1?lat=1",
                "code": "upstream_status", "status": 503, "detail": "answered with status 503",
                "excerpt": "no room",
            },
        ),
        (
            lambda events: events.emit(
                BreakerChange("weather", "now", "closed", "open", 5.0, ErrorCode.UPSTREAM_TIMEOUT,
                              detail="too late")
            ),
            {
                "event": "breaker_change", "upstream": "weather", "section": "now",
                "before": "closed", "state": "open", "open_for": 5.0, "code": "upstream_timeout",
                "detail": "too late",
            },
        ),
    ],
)  # fmt: skip
def test_the_parts_of_a_line_are_members_in_json(
    emit: Callable[[Events], None], members: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        events, log = logging_events()
        with caplog.at_level(logging.DEBUG, "gateway"):
            emit(events)
            await log.aclose()

    run(main())
    told = json.loads(JsonFormatter().format(caplog.records[-1]))
    own = {"time", "level", "logger", "message"}
    assert own <= told.keys()
    assert {name: value for name, value in told.items() if name not in own} == members


APP = """
upstreams:
  a: {base_url: http://a.test, breaker: {minimum: 3}, forward_headers: [authorization]}
  b: {base_url: http://b.test}
dashboards:
  d: {path: /d, parameters: {q: {type: string}}, sections: {x: {get: "a:/x?q={q}"}, y: {get: "b:/y"}}}
"""


@respx.mock
async def test_an_application_logs_failures_and_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    respx.get("http://a.test/x").mock(side_effect=httpx.ConnectError("[Errno 111] refused"))
    respx.get("http://b.test/y").respond(json=1)
    headers = {"authorization": "Bearer hunter2"}
    async with asked(application(APP)) as client:
        for number in range(5):
            await client.get("/d", params={"q": f"private{number}"}, headers=headers)
    assert [message for _, message in written(caplog)] == [
        "section d.x failed: upstream a, upstream_unreachable: the connection failed ([Errno 111] refused)",
        "upstream a: the breaker is open and refuses calls for "
        f"{caplog.records[1].__dict__['open_for']:.1f} s, as too many calls failed; the last one: "
        "upstream_unreachable: the connection failed ([Errno 111] refused)",
        "section d.x failed: upstream a, breaker_open: the upstream failed too often recently",
    ]
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "gateway"):
        async with asked(application(APP)) as client:
            await client.get("/d", params={"q": "private"}, headers=headers)
    attempts = [r for r in caplog.records if r.levelno == logging.DEBUG]
    assert {(r.__dict__["upstream"], r.__dict__["dashboard"]) for r in attempts} == {
        ("a", "d"),
        ("b", "d"),
    }
    assert "hunter2" not in str([vars(record) for record in caplog.records])
