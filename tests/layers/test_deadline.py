from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import DeadlineExceeded, ErrorCode, UpstreamTimeout
from gateway.events import Events, Rejection
from gateway.layers.deadline import deadline
from gateway.layers.timeout import TimeoutPolicy, timeout
from tests.layers.fakes import NAME, FakeUpstream, context, request
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.events import Event

REFUSED = Rejection(NAME, "section", ErrorCode.DEADLINE_EXCEEDED, "deadline")


def bounded(upstream: Call, events: Events | None = None) -> Call:
    return deadline(context(events))(upstream)


def test_whatever_runs_is_ended_at_the_deadline() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((60, None))
        began = loop_time()
        with pytest.raises(DeadlineExceeded, match="deadline has passed") as caught:
            await bounded(upstream, Events([heard.append]))(request(3))
        assert 3 <= loop_time() - began < 3.01
        assert upstream.cancelled == 1
        assert caught.value.upstream == NAME
        assert heard == [REFUSED]

    run(main())


def test_an_answer_in_time_passes() -> None:
    async def main() -> None:
        assert (await bounded(FakeUpstream((2.9, None)))(request(3))).status == 200

    run(main())


@pytest.mark.parametrize(("left", "starts"), [(0, 0), (-1, 0), (1, 1)])
def test_nothing_starts_without_time(left: float, starts: int) -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream()
        call = bounded(upstream, Events([heard.append]))
        if starts:
            await call(request(left))
        else:
            with pytest.raises(DeadlineExceeded, match="too little time"):
                await call(request(left))
            assert heard == [REFUSED]
        assert upstream.calls == starts

    run(main())


def test_a_deadline_that_is_put_off_is_heeded() -> None:
    async def main() -> None:
        asked = request(1)
        task = asyncio.ensure_future(bounded(FakeUpstream((60, None)))(asked))
        await asyncio.sleep(0.5)
        asked.deadline.at += 2
        began = loop_time()
        with pytest.raises(DeadlineExceeded):
            await task
        assert loop_time() - began == pytest.approx(2.5, abs=0.01)

    run(main())


def test_cancellation_by_others_is_not_translated() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(bounded(FakeUpstream((60, None)))(request(3)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


@pytest.mark.parametrize("after", [2.9, 3.0, 3.1])
def test_a_timeout_near_the_deadline_is_the_upstreams(after: float) -> None:
    async def main() -> None:
        call = timeout(TimeoutPolicy(timeout=after), context())(FakeUpstream((60, None)))
        with pytest.raises(UpstreamTimeout):
            await bounded(call)(request(3))

    run(main())
