"""Cool-down: an upstream that says when to come back is not called before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gateway.errors import BreakerOpen, ErrorCode, Failed
from gateway.events import CoolDown, Rejection
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["CoolDownPolicy", "cooldown"]


class CoolDownPolicy(Policy):
    """How far an upstream's Retry-After is obeyed."""

    max: Positive = Field(default="30s", validate_default=True)
    """The longest time that an upstream is left alone, whatever it asks for."""


def cooldown(policy: CoolDownPolicy, *, upstream: str, events: Events, clock: Clock) -> Layer:
    """Return a layer that calls nothing until the moment that an overloaded upstream has named.

    Refused calls raise `BreakerOpen`: to a caller it is the same thing, the upstream is left alone
    for a known time. The event's `why` is `cooldown`.
    """
    until = float("-inf")

    def refuse(section: str, seconds: float) -> BreakerOpen:
        if events.wants(Rejection):
            events.emit(Rejection(upstream, section, ErrorCode.BREAKER_OPEN, "cooldown"))
        return BreakerOpen(
            "the upstream has asked to be left alone", upstream=upstream, retry_after=seconds
        )

    def heed(error: Failed, section: str) -> None:
        nonlocal until
        if not error.overloaded or not error.retry_after:
            return
        seconds = min(error.retry_after, policy.max)
        until = max(until, clock() + seconds)
        if events.wants(CoolDown):
            events.emit(CoolDown(upstream, section, seconds))

    def layer(call: Call) -> Call:
        async def cooled(request: Request) -> Response:
            seconds = until - clock()
            if seconds > 0:
                raise refuse(request.section, seconds)
            try:
                return await call(request)
            except Failed as error:
                heed(error, request.section)
                raise

        return cooled

    return layer
