"""Timers that cancel a task, for the layers as coroutines (`tests/layers/reference.py`)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from gateway.aio.timers import Alarm, Wheel

if TYPE_CHECKING:
    from gateway.call import Clock, Deadline


class Timer(Alarm):
    """Cancels the task that created it unless it is stopped in time.

    Like `asyncio.timeout`, it distinguishes its own cancellation from others by the task's count of
    cancellations (`Task.cancelling`).

    ::

        timer = Timer(wheel, 3)
        try:
            return await work()
        except CancelledError:
            if timer.stop():
                raise MyTimeout from None
            raise
        finally:
            timer.stop()
    """

    __slots__ = ("_before", "_task", "rang")

    def __init__(self, wheel: Wheel, seconds: float) -> None:
        self._task = task = wheel.task()
        self._before = task.cancelling()
        self.rang = False
        wheel.set(self, seconds)

    def ring(self) -> None:
        """Cancel the task."""
        self.rang = True
        self._task.cancel()

    def stop(self) -> bool:
        """Stop the timer; call it however the work ends. It is idempotent.

        Returns:
            Whether only this timer cancelled the task: only then may a `CancelledError` be
            translated.
        """
        self.slot.discard(self)
        if not self.rang:
            return False
        self.rang = False
        return bool(self._task.uncancel() <= self._before)


class DeadlineTimer(Timer):
    """Fires when a deadline has passed; the deadline may be extended in the meantime.

    Args:
        wheel: the wheel that runs it.
        seconds: time until its first check.
        deadline: the deadline it enforces.
        clock: the clock of the deadline.
        margin: seconds before the deadline at which it fires.
        ends: the clock's time at which it fires at the latest, even if the deadline is extended.
    """

    __slots__ = ("_clock", "_deadline", "_margin", "_wheel", "ends")

    def __init__(
        self,
        wheel: Wheel,
        seconds: float,
        deadline: Deadline,
        clock: Clock,
        *,
        margin: float = 0.0,
        ends: float = inf,
    ) -> None:
        super().__init__(wheel, seconds)
        self._wheel = wheel
        self._deadline = deadline
        self._clock = clock
        self._margin = margin
        self.ends = ends

    def ring(self) -> None:
        """Cancel the task, unless there is time left."""
        left = min(self.ends, self._deadline.at - self._margin) - self._clock()
        if left > 0:
            self._wheel.set(self, left)
        else:
            super().ring()
