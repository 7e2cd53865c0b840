"""Deadline: limits the time of the whole request, all attempts included.

The layer wraps retry and hedge, and cancels whatever still runs when the time is up. The upstream's
kind sends the remaining time to the upstream with each attempt.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from gateway.aio.deadlines import DeadlineTimer
from gateway.aio.timers import Wheel
from gateway.errors import DeadlineExceeded, ErrorCode
from gateway.events import Rejection

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["deadline"]


def deadline(*, upstream: str, events: Events, clock: Clock) -> Layer:
    """Return the layer that raises `DeadlineExceeded` when the request's time is up.

    Args:
        upstream: name of the upstream, for events and errors.
        events: receives rejections.
        clock: the clock of the deadlines.
    """
    wheel = Wheel()

    def layer(call: Call) -> Call:
        async def bounded(request: Request) -> Response:
            remaining = request.deadline.at - clock()
            if remaining <= 0:
                raise _exceeded("too little time was left to start", upstream, events, request)
            timer = DeadlineTimer(wheel, remaining, request.deadline, clock)
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    spent = "the request's deadline has passed"
                    raise _exceeded(spent, upstream, events, request) from None
                raise
            finally:
                timer.stop()

        return bounded

    return layer


def _exceeded(detail: str, upstream: str, events: Events, request: Request) -> DeadlineExceeded:
    if events.wants(Rejection):
        events.emit(Rejection(upstream, request.section, ErrorCode.DEADLINE_EXCEEDED, "deadline"))
    return DeadlineExceeded(detail, upstream=upstream)
