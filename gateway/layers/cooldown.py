"""Cool-down: obeys the Retry-After of an overloaded upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gateway.errors import BreakerOpen, ErrorCode, Failed
from gateway.events import CoolDown, Rejection
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["CoolDownPolicy", "cooldown"]


class CoolDownPolicy(Policy):
    """How far an upstream's Retry-After is obeyed."""

    max: Positive = Field(default="30s", validate_default=True)
    """Longest time for which calls are stopped, even if the upstream asks for more."""


def cooldown(policy: CoolDownPolicy, context: LayerContext) -> Layer:
    """Return a layer that refuses calls until the time that an overloaded upstream has asked for.

    Refused calls raise `BreakerOpen`, because callers handle both alike: no call until
    `retry_after`. The event's `why` is `cooldown`.
    """
    upstream, events, clock = context.upstream, context.events, context.clock
    until = float("-inf")

    def refuse(section: str, seconds: float) -> BreakerOpen:
        if events.wants(Rejection):
            events.emit(Rejection(upstream, section, ErrorCode.BREAKER_OPEN, "cooldown"))
        return BreakerOpen(
            "the upstream is overloaded and asked callers to wait",
            upstream=upstream,
            retry_after=seconds,
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
