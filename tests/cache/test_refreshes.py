from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.cache.refreshes import Refresh, Refreshes
from gateway.errors import ErrorCode, UpstreamTimeout
from gateway.events import Event, Events
from tests.layers.fakes import NAME, FakeUpstream, request
from tests.layers.test_cache import on_virtual_time
from tests.virtual_time import loop_time


def refreshes(**options: Any) -> tuple[Refreshes, list[Event]]:
    heard: list[Event] = []
    return Refreshes(events=Events([heard.append]), clock=loop_time, **options), heard


@on_virtual_time
async def test_one_runs_for_each_key_with_a_deadline_of_its_own() -> None:
    upstream = FakeUpstream((1, None))
    own, heard = refreshes(patience=7)
    asked = request(0.5)
    assert own.start("k", upstream, asked, NAME)
    assert not own.start("k", upstream, asked, NAME)
    assert own.start("j", upstream, asked, NAME)
    assert len(own) == 2
    await own.drain()
    await own.drain()
    assert len(own) == 0
    assert upstream.requests[0].deadline.at == 1007
    assert asked.deadline.at == 1000.5
    assert heard == [Refresh(NAME, "section", "done")] * 2


@on_virtual_time
async def test_too_many_are_not_begun() -> None:
    upstream = FakeUpstream((1, None))
    own, heard = refreshes(limit=2)
    begun = [own.start(f"k{n}", upstream, request(), NAME) for n in range(5)]
    assert begun == [True, True, False, False, False]
    assert heard == [Refresh(NAME, "section", "dropped")] * 3
    await own.drain()
    assert own.start("k4", upstream, request(), NAME)
    await own.aclose()


@on_virtual_time
async def test_one_upstream_that_hangs_stops_no_refresh_of_others() -> None:
    upstream = FakeUpstream((1, None))
    own, _ = refreshes(limit=2)
    assert [own.start(f"k{n}", upstream, request(), "hangs") for n in range(3)][2] is False
    assert own.start("other", upstream, request(), NAME)
    await own.aclose()


@on_virtual_time
async def test_a_failed_one_is_not_repeated_at_once() -> None:
    upstream = FakeUpstream((0.01, UpstreamTimeout("late")))
    own, heard = refreshes()
    for _ in range(100):
        own.start("k", upstream, request(), NAME)
        await asyncio.sleep(0.1)
    assert 8 <= upstream.calls <= 10
    failed = Refresh(NAME, "section", "failed", "", ErrorCode.UPSTREAM_TIMEOUT, detail="late")
    assert set(heard) == {failed}


@on_virtual_time
async def test_the_memory_of_failures_is_bounded() -> None:
    upstream = FakeUpstream((0, UpstreamTimeout("late")))
    own, _ = refreshes(limit=20_000)
    for number in range(10_001):
        own.start(f"{number}", upstream, request(), NAME)
    await own.drain()
    assert len(own._failed) == 1


@on_virtual_time
async def test_a_bug_is_logged_and_affects_no_other_refresh(
    caplog: pytest.LogCaptureFixture,
) -> None:
    own, heard = refreshes()
    own.start("k", FakeUpstream((0, ZeroDivisionError())), request(), NAME)
    await own.drain()
    assert heard == [Refresh(NAME, "section", "failed")]
    assert "ZeroDivisionError" in caplog.text


@on_virtual_time
async def test_closing_waits_a_while_and_then_cancels() -> None:
    quick, slow = FakeUpstream((0.5, None)), FakeUpstream((5, None))
    own, _ = refreshes()
    own.start("q", quick, request(), NAME)
    own.start("s", slow, request(), NAME)
    await own.aclose(grace=1)
    assert loop_time() == pytest.approx(1001)
    assert (quick.cancelled, slow.cancelled) == (0, 1)
    assert len(own) == 0
    await own.aclose()


@on_virtual_time
async def test_refreshes_work_without_listeners() -> None:
    own = Refreshes(events=Events(), clock=loop_time)
    own.start("k", FakeUpstream(), request(), NAME)
    await own.drain()
