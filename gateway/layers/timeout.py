"""Timeout: limits the time of one attempt, not including the wait for a permit.

When the deadline of the whole request comes first, an attempt that had at least half of its own
time still counts as the upstream's failure: its timer fires just before the deadline, so that a
breaker sees an upstream that hangs even where timeout and deadline are equal. An attempt with less
time is ended by the deadline, which does not count against the upstream.
"""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from gateway.aio.deadlines import ATTEMPT_MARGIN, TICK, DeadlineTimer
from gateway.aio.timers import Timer, Wheel
from gateway.errors import UpstreamTimeout
from gateway.values.base import Policy
from gateway.values.units import Positive, format_duration

if TYPE_CHECKING:
    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["TimeoutPolicy", "timeout"]


class TimeoutPolicy(Policy):
    """How long one attempt may take: a key of the upstream itself."""

    timeout: Positive = 5.0
    """Time for one attempt, from sending to the last byte."""


def timeout(policy: TimeoutPolicy, context: LayerContext) -> Layer:
    """Return a layer that ends an attempt after `policy.timeout` with `UpstreamTimeout`.

    Args:
        policy: how long one attempt may take.
        context: its clock is the clock of the deadlines.
    """
    upstream, clock, after = context.upstream, context.clock, policy.timeout
    margin = min(ATTEMPT_MARGIN, after / 10)
    ample = after + margin
    half = after / 2
    wheel = Wheel(min(TICK, after / 20))
    detail = f"no answer within {format_duration(after)}"

    def layer(call: Call) -> Call:
        async def timed(request: Request) -> Response:
            now = clock()
            remaining = request.deadline.at - now
            timer: Timer
            if half <= remaining < ample:
                # Just before the deadline, which a caller that joins the flight may still extend.
                timer = cut = DeadlineTimer(
                    wheel, remaining - margin, request.deadline, clock,
                    margin=margin, ends=now + after,
                )  # fmt: skip
            else:
                timer, cut = Timer(wheel, after), None
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    whole = cut is None or clock() >= cut.ends
                    text = detail if whole else "no answer in the time that was left"
                    raise UpstreamTimeout(text, upstream=upstream) from None
                raise
            finally:
                timer.stop()

        return timed

    return layer
