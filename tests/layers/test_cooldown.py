from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import BreakerOpen, ErrorCode, UpstreamStatus, UpstreamTimeout
from gateway.events import CoolDown, Events, Rejection
from gateway.layers.cooldown import CoolDownPolicy, cooldown
from tests.layers.fakes import NAME, FakeUpstream, context, request
from tests.virtual_time import run

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.events import Event


def cooled(upstream: Call, events: Events | None = None, **policy: Any) -> Call:
    return cooldown(CoolDownPolicy(**policy), context(events))(upstream)


def busy(status: int, after: float | None) -> UpstreamStatus:
    return UpstreamStatus("no", status=status, retry_after=after)


@pytest.mark.parametrize("status", [429, 503])
def test_nothing_is_sent_before_the_named_moment(status: int) -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((0, busy(status, 7)), (0, None))
        call = cooled(upstream, Events([heard.append]))
        with pytest.raises(UpstreamStatus):
            await call(request())
        await asyncio.sleep(2)
        with pytest.raises(BreakerOpen, match="asked callers to wait") as caught:
            await call(request())
        assert caught.value.retry_after == pytest.approx(5)
        assert upstream.calls == 1
        await asyncio.sleep(5)
        await call(request())
        assert upstream.calls == 2
        assert heard == [
            CoolDown(NAME, "section", 7),
            Rejection(NAME, "section", ErrorCode.BREAKER_OPEN, "cooldown"),
        ]

    run(main())


def test_a_cool_down_ends() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, busy(503, 86400)), (0, None))
        call = cooled(upstream, max=30)
        with pytest.raises(UpstreamStatus):
            await call(request())
        await asyncio.sleep(29.9)
        with pytest.raises(BreakerOpen):
            await call(request())
        await asyncio.sleep(0.2)
        await call(request())

    run(main())


def test_a_shorter_wish_does_not_undo_a_longer_one() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.0, busy(503, 9)), (0.1, busy(503, 1)), (0, None))
        call = cooled(upstream)
        await asyncio.gather(call(request()), call(request()), return_exceptions=True)
        await asyncio.sleep(5)
        with pytest.raises(BreakerOpen):
            await call(request())

    run(main())


@pytest.mark.parametrize(
    "error",
    [busy(429, None), busy(503, 0), busy(500, 7), UpstreamTimeout("late", retry_after=7)],
)
def test_only_429_and_503_with_a_time_count(error: Exception) -> None:
    async def main() -> None:
        upstream = FakeUpstream((0, error), (0, None))
        call = cooled(upstream)
        with pytest.raises(type(error)):
            await call(request())
        await call(request())

    run(main())
