from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway.errors import DeadlineExceeded, ErrorCode, UpstreamStatus, UpstreamUnreachable
from gateway.events import Attempt, Events
from gateway.layers.observe import observe
from tests.layers.fakes import NAME, FakeUpstream, about, context, request
from tests.virtual_time import run

if TYPE_CHECKING:
    from gateway.events import Event


def test_every_end_of_an_attempt_is_reported() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream(
            (0.5, None),
            (0.25, UpstreamStatus("no", status=404, excerpt="gone")),
            (0, UpstreamUnreachable("no connection", cause="refused")),
            (0, DeadlineExceeded("spent")),
            (0, ZeroDivisionError()),
            (60, None),
        )
        events = Events([heard.append])
        call = observe(context(events))(upstream)
        await call(request())
        with pytest.raises(UpstreamStatus):
            await call(request(target="/a?b=c", tags=("tag:t", "dashboard:d")).again(2))
        with pytest.raises(UpstreamUnreachable):
            await call(request())
        with pytest.raises(DeadlineExceeded):
            await call(request())
        with pytest.raises(ZeroDivisionError):
            await call(request())
        task = asyncio.ensure_future(call(request()))
        await asyncio.sleep(2)
        task.cancel()
        await asyncio.wait([task])
        assert heard == [
            Attempt(NAME, "section", 1, about(0.5), None, 200, operation="GET /"),
            Attempt(
                NAME,
                "section",
                2,
                about(0.25),
                ErrorCode.UPSTREAM_STATUS,
                404,
                dashboard="d",
                operation="GET /a?b=c",
                detail="no",
                excerpt="gone",
            ),
            Attempt(
                NAME,
                "section",
                1,
                about(0),
                ErrorCode.UPSTREAM_UNREACHABLE,
                None,
                operation="GET /",
                detail="no connection",
                cause="refused",
            ),
            Attempt(NAME, "section", 1, about(2), None, None, cancelled=True, operation="GET /"),
        ]

    run(main())


def test_a_listener_may_come_at_any_time() -> None:
    async def main() -> None:
        heard: list[Event] = []
        events = Events()
        call = observe(context(events))(FakeUpstream())
        await call(request())
        events.listen(heard.append)
        await call(request())
        assert len(heard) == 1

    run(main())
