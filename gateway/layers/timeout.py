"""Timeout: the time that one attempt may take, waiting for a permit not included."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING

from pydantic import Field

from gateway.errors import UpstreamTimeout
from gateway.policy import Policy
from gateway.timer import TICK, Timers
from gateway.units import Positive, format_duration

if TYPE_CHECKING:
    from gateway.call import Call, Layer, Request, Response

__all__ = ["TimeoutPolicy", "timeout"]


class TimeoutPolicy(Policy):
    """How long one attempt may take."""

    after: Positive = Field(default="3s", validate_default=True)
    """From the start of an attempt to its complete answer."""


def timeout(policy: TimeoutPolicy, *, upstream: str) -> Layer:
    """Return a layer that ends an attempt after `policy.after` with `UpstreamTimeout`."""
    seconds = policy.after
    detail = f"no answer within {format_duration(seconds)}"
    timers = Timers(min(TICK, seconds / 20))

    def layer(call: Call) -> Call:
        async def timed(request: Request) -> Response:
            timer = timers.start(seconds)
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    raise UpstreamTimeout(detail, upstream=upstream) from None
                raise
            finally:
                timer.stop()

        return timed

    return layer
