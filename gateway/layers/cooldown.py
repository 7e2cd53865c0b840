"""Cool-down: obeys the Retry-After of an overloaded upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gateway.errors import BreakerOpen, ErrorCode, Failed
from gateway.events import CoolDown, Rejection
from gateway.layers.passage import Gate
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from gateway.errors import CallError
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

__all__ = ["CoolDownPolicy", "cooldown"]


class CoolDownPolicy(Policy):
    """How far an upstream's Retry-After is obeyed."""

    max: Positive = Field(default="30s", validate_default=True)
    """Longest time for which calls are stopped, even if the upstream asks for more."""


def cooldown(policy: CoolDownPolicy, context: LayerContext) -> Gate:
    """Return a layer that refuses calls until the time that an overloaded upstream has asked for.

    Refused calls raise `BreakerOpen`, because callers handle both alike: no call until
    `retry_after`. The event's `why` is `cooldown`.
    """
    return _CoolDownGate(policy, context)


class _CoolDownGate(Gate):
    __slots__ = ("_policy", "_until")

    def __init__(self, policy: CoolDownPolicy, context: LayerContext) -> None:
        super().__init__(context)
        self._policy = policy
        self._until = float("-inf")

    def admit(self, passage: Passage) -> None:
        if self._until > passage.now:
            seconds = self._until - self.clock()
            if seconds > 0:
                raise self._refused(passage.request.section, seconds)

    def failed(self, passage: Passage, error: CallError) -> None:
        if not isinstance(error, Failed) or not error.overloaded or not error.retry_after:
            return
        seconds = min(error.retry_after, self._policy.max)
        self._until = max(self._until, self.clock() + seconds)
        if self.events.wants(CoolDown):
            self.events.emit(CoolDown(self.upstream, passage.request.section, seconds))

    def _refused(self, section: str, seconds: float) -> BreakerOpen:
        if self.events.wants(Rejection):
            code = ErrorCode.BREAKER_OPEN
            self.events.emit(Rejection(self.upstream, section, code, "cooldown"))
        return BreakerOpen(
            "the upstream is overloaded and asked callers to wait",
            upstream=self.upstream,
            retry_after=seconds,
        )
