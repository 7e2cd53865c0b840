"""A scripted upstream, on virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.call import Deadline, Request, Response
from gateway.events import Events
from gateway.layers.context import LayerContext
from gateway.layers.meter import UpstreamMeter
from gateway.upstreams.http.operation import HttpOperation
from tests.virtual_time import loop_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.events import Event

NAME = "weather"

Turn = tuple[float, BaseException | None]
"""How long one call takes, and what it raises then."""


class FakeUpstream:
    """A Call: takes its turns one after the other, then the last one for ever."""

    def __init__(self, *turns: Turn) -> None:
        self.turns = turns or ((0.01, None),)
        self.requests: list[Request] = []
        self.started: list[float] = []
        self.in_flight = 0
        self.peak = 0
        self.cancelled = 0

    @property
    def calls(self) -> int:
        return len(self.requests)

    async def __call__(self, request: Request) -> Response:
        number = self.calls
        seconds, error = self.turns[min(number, len(self.turns) - 1)]
        self.requests.append(request)
        self.started.append(loop_time())
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        if error is not None:
            raise error
        return Response({"number": number})


def request(
    seconds: float = 10.0,
    *,
    method: str = "GET",
    target: str = "/",
    tags: tuple[str, ...] = (),
) -> Request:
    """Return a request that must be answered within that many seconds."""
    operation = HttpOperation(target, method)
    return Request(operation, Deadline(loop_time() + seconds), "section", tags=tags)


def context(
    events: Events | None = None, random: Callable[[], float] = lambda: 0.5
) -> LayerContext:
    """Return what layers have in common, on virtual time."""
    heard = Events() if events is None else events
    return LayerContext(NAME, heard, loop_time, loop_time, asyncio.sleep, random, UpstreamMeter())


def kinds(events: Iterable[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


def about(seconds: float) -> Any:
    """Return what equals `seconds` but for rounding, wherever a float is expected."""
    return pytest.approx(seconds, abs=1e-6)


def sequence(*numbers: float) -> Callable[[], float]:
    """Return a random source that gives `numbers` in turn and the last one for ever."""
    remaining = list(numbers)
    return lambda: remaining.pop(0) if len(remaining) > 1 else remaining[0]
