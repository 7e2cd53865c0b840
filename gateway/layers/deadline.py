"""Deadline: limits the time of the whole request, all attempts included.

The layer wraps retry and hedge, and cancels whatever still runs when the time is up. The upstream's
kind sends the remaining time to the upstream with each attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.aio.deadlines import DeadlineAlarm
from gateway.aio.timers import Wheel
from gateway.errors import DeadlineExceeded, ErrorCode
from gateway.events import Rejection
from gateway.layers.passage import Gate

if TYPE_CHECKING:
    from gateway.call import Request
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

__all__ = ["deadline"]


def deadline(context: LayerContext) -> Gate:
    """Return the layer that raises `DeadlineExceeded` when the request's time is up.

    Args:
        context: its events receive rejections.
    """
    return _DeadlineGate(context)


class _DeadlineGate(Gate):
    __slots__ = ("_wheel",)

    def __init__(self, context: LayerContext) -> None:
        super().__init__(context)
        self._wheel = Wheel()

    def admit(self, passage: Passage) -> None:
        request = passage.request
        deadline = request.deadline
        if deadline.at <= passage.now:
            raise self._exceeded("too little time was left to start", request)
        # All calls of one execution share its deadline, and its alarm.
        alarm = deadline.alarm
        if alarm is None:
            alarm = DeadlineAlarm(self._wheel, deadline, self.clock)
            alarm.set(deadline.at - passage.now)
        alarm.watched[passage] = self

    def settled(self, passage: Passage, _: object) -> None:
        """Stop watching a call, however it ended."""
        alarm = passage.request.deadline.alarm
        if alarm is not None:
            alarm.watched.pop(passage, None)
            if not alarm.watched:
                alarm.rest()

    succeeded = failed = abandoned = settled

    def expired(self, passage: Passage) -> None:
        """End a call whose deadline has passed."""
        if passage.done:  # cancelled, and its task is still ending
            return
        error = self._exceeded("the request's deadline has passed", passage.request)
        passage.interrupt(self, error)

    def _exceeded(self, detail: str, request: Request) -> DeadlineExceeded:
        code = ErrorCode.DEADLINE_EXCEEDED
        if self.events.wants(Rejection):
            self.events.emit(Rejection(self.upstream, request.section, code, "deadline"))
        return DeadlineExceeded(detail, upstream=self.upstream)
