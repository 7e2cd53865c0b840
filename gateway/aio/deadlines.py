"""The five timers that enforce one deadline, and the order in which they fire.

=========  ===========================  ====================  ====================================
timer      fires                        set by                what it reports
=========  ===========================  ====================  ====================================
queue      `QUEUE_MARGIN` before        layers/concurrency    the gateway is too busy: the call
           the deadline at the latest   .py                   was never begun
attempt    `ATTEMPT_MARGIN` before      layers/timeout.py     the upstream is too slow: a breaker
           the deadline at the latest                         sees an upstream that hangs
call       at the deadline              layers/deadline.py    the request ran out of time
caller     `CALLER_GRACE` after it      layers/collapse.py    the same, where the shared flight
                                                              itself has not reported an error
execution  `execution_grace` after it   engine/execution.py   the backstop: sections not yet done
=========  ===========================  ====================  ====================================

Each timer leaves the one before it time to report, because the inner one knows more. A timer of a
`Wheel` may fire one tick late, so the distances are longer than a tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gateway.aio.timers import Alarm

if TYPE_CHECKING:
    from gateway.aio.timers import Wheel
    from gateway.call import Clock, Deadline

__all__ = [
    "ATTEMPT_MARGIN",
    "CALLER_GRACE",
    "QUEUE_MARGIN",
    "TICK",
    "DeadlineAlarm",
    "Watcher",
    "execution_grace",
]

TICK = 0.004
"""Seconds by which a timer may be late."""

QUEUE_MARGIN = 0.010
"""Seconds before the deadline at which a wait for a permit ends; more than two ticks."""

ATTEMPT_MARGIN = 0.010
"""Seconds before the deadline at which an attempt ends; more than two ticks."""

CALLER_GRACE = 0.008
"""Seconds after the deadline at which a caller stops waiting for a shared flight; two ticks."""

_GRACE_SHARE = 0.05
_LONGEST_GRACE = 0.1


def execution_grace(seconds: float) -> float:
    """Return the seconds after a deadline of `seconds` at which an execution is ended.

    The layers enforce the deadline themselves and may still serve a cached value when it passes.
    """
    return min(_LONGEST_GRACE, seconds * _GRACE_SHARE)


class Watcher(Protocol):
    """Ends something at its deadline."""

    def expired(self, watched: Any) -> None:
        """End `watched`: its deadline has passed."""


class DeadlineAlarm(Alarm):
    """One alarm for everything that one deadline ends; it rings when the deadline has passed.

    It is the deadline's `alarm` until then, or until it rests.

    Args:
        wheel: the wheel that runs it.
        deadline: the deadline; it may be extended in the meantime.
        clock: the clock of the deadline.

    Attributes:
        watched: what ends at the deadline, with the watcher that ends it.
    """

    __slots__ = ("_clock", "_wheel", "deadline", "watched")

    def __init__(self, wheel: Wheel, deadline: Deadline, clock: Clock) -> None:
        self._wheel = wheel
        self._clock = clock
        self.deadline = deadline
        self.watched: dict[Any, Watcher] = {}
        deadline.alarm = self

    def set(self, seconds: float) -> None:
        """Ring in `seconds`."""
        self._wheel.set(self, seconds)

    def ring(self) -> None:
        """End what is watched, unless there is time left."""
        left = self.deadline.remaining(self._clock())
        if left > 0:
            self._wheel.set(self, left)
        else:
            self.expire()

    def expire(self) -> None:
        """End what is watched."""
        self.deadline.alarm = None
        while self.watched:
            watched, watcher = self.watched.popitem()
            try:
                watcher.expired(watched)
            except Exception as error:  # the others end all the same
                self._wheel.report(error)

    def rest(self) -> None:
        """Stop; nothing is left to watch."""
        self.slot.discard(self)
        self.deadline.alarm = None
