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
    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["deadline"]


def deadline(context: LayerContext) -> Layer:
    """Return the layer that raises `DeadlineExceeded` when the request's time is up.

    Args:
        context: its events receive rejections.
    """
    wheel, clock = Wheel(), context.clock

    def layer(call: Call) -> Call:
        async def bounded(request: Request) -> Response:
            remaining = request.deadline.at - clock()
            if remaining <= 0:
                raise _exceeded("too little time was left to start", context, request)
            timer = DeadlineTimer(wheel, remaining, request.deadline, clock)
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    spent = "the request's deadline has passed"
                    raise _exceeded(spent, context, request) from None
                raise
            finally:
                timer.stop()

        return bounded

    return layer


def _exceeded(detail: str, context: LayerContext, request: Request) -> DeadlineExceeded:
    upstream, events = context.upstream, context.events
    if events.wants(Rejection):
        events.emit(Rejection(upstream, request.section, ErrorCode.DEADLINE_EXCEEDED, "deadline"))
    return DeadlineExceeded(detail, upstream=upstream)
