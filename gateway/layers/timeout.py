"""Timeout: limits the time of one attempt, not including the wait for a permit.

When the deadline of the whole request comes first, an attempt that had at least half of its own
time still counts as the upstream's failure: its timer fires just before the deadline, so that a
breaker sees an upstream that hangs even where timeout and deadline are equal. An attempt with less
time is ended by the deadline, which does not count against the upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.aio.deadlines import ATTEMPT_MARGIN, TICK
from gateway.aio.timers import Wheel
from gateway.errors import UpstreamTimeout
from gateway.layers.passage import Gate
from gateway.values.base import Policy
from gateway.values.units import Positive, format_duration

if TYPE_CHECKING:
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

__all__ = ["TimeoutPolicy", "timeout"]


class TimeoutPolicy(Policy):
    """How long one attempt may take: a key of the upstream itself."""

    timeout: Positive = 5.0
    """Time for one attempt, from sending to the last byte."""


def timeout(policy: TimeoutPolicy, context: LayerContext) -> Gate:
    """Return a layer that ends an attempt after `policy.timeout` with `UpstreamTimeout`.

    Args:
        policy: how long one attempt may take.
        context: its clock is the clock of the deadlines.
    """
    return _TimeoutGate(policy.timeout, context)


class _TimeoutGate(Gate):
    """Sets the alarm of each attempt.

    An attempt that is *cut* would reach the deadline before its own time is over. Its alarm rings
    just before the deadline, which a caller that joins the flight may still extend.
    """

    __slots__ = ("_after", "_ample", "_half", "_margin", "_wheel")

    def __init__(self, after: float, context: LayerContext) -> None:
        super().__init__(context)
        self._after = after
        self._half = after / 2
        self._margin = min(ATTEMPT_MARGIN, after / 10)
        self._ample = after + self._margin
        self._wheel = Wheel(min(TICK, after / 20))

    def admit(self, passage: Passage) -> None:
        after, now = self._after, passage.now
        remaining = passage.request.deadline.at - now
        passage.alarmed = self
        passage.ends = now + after
        if self._half <= remaining < self._ample:
            after = remaining - self._margin
        self._wheel.set(passage, after)

    def settled(self, passage: Passage, _: object) -> None:
        """Stop the alarm, however the attempt ended."""
        passage.slot.discard(passage)

    succeeded = failed = abandoned = settled

    def rang(self, passage: Passage) -> None:
        """End an attempt whose time is over; one that was cut may have got more time."""
        now, ends = self.clock(), passage.ends
        left = min(ends, passage.request.deadline.at - self._margin) - now
        if now < ends and left > 0:
            self._wheel.set(passage, left)
            return
        text = f"no answer within {format_duration(self._after)}"
        if now < ends:
            text = "no answer in the time that was left"
        passage.interrupt(self, UpstreamTimeout(text, upstream=self.upstream))
