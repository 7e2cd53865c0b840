"""Timeout: the time that one attempt may take, waiting for a permit not included.

Who is to blame when the time for the whole request ends first? An attempt that had at least half of
its own time and got no answer is the upstream's failure all the same: its timer is set just inside
the deadline, so that a breaker sees an upstream that hangs even where timeout and deadline are the
same. With less than that the deadline ends it, which is no verdict on the upstream.
"""

from __future__ import annotations

import time
from asyncio import CancelledError
from typing import TYPE_CHECKING

from pydantic import Field

from gateway.aio.deadlines import ATTEMPT_MARGIN, TICK, DeadlineTimer
from gateway.aio.timers import Timer, Wheel
from gateway.errors import UpstreamTimeout
from gateway.values.base import Policy
from gateway.values.units import Positive, format_duration

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response

__all__ = ["TimeoutPolicy", "timeout"]


class TimeoutPolicy(Policy):
    """How long one attempt may take."""

    after: Positive = Field(default="3s", validate_default=True)
    """From the start of an attempt to its complete answer."""


def timeout(policy: TimeoutPolicy, *, upstream: str, clock: Clock = time.monotonic) -> Layer:
    """Return a layer that ends an attempt after `policy.after` with `UpstreamTimeout`.

    Args:
        policy: how long one attempt may take.
        upstream: name of the upstream, for errors.
        clock: that of the deadlines.
    """
    after = policy.after
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
                # Just inside the deadline, which may yet be put off by who joins the flight.
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
                    said = detail if whole else "no answer in the time that was left"
                    raise UpstreamTimeout(said, upstream=upstream) from None
                raise
            finally:
                timer.stop()

        return timed

    return layer
