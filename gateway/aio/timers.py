"""Timers that are nearly always stopped before they are due, cheaper than `asyncio.timeout`.

Setting and stopping must cost next to nothing, ringing may be coarse: alarms that are due in the
same tick share one timer of the event loop (a hashed timing wheel: Varghese and Lauck, "Hashed and
Hierarchical Timing Wheels", 1987). To set one is to put it into a set, to stop it to take it out.
"""

from __future__ import annotations

from asyncio import current_task, get_running_loop
from typing import Any

__all__ = ["Alarm", "Timer", "Wheel"]


class Alarm:
    """Something that is to happen unless it is stopped in time."""

    __slots__ = ("slot",)

    slot: set[Alarm]

    def ring(self) -> None:
        """Do what is due; called by the wheel."""
        raise NotImplementedError


class Wheel:
    """Alarms by the tick in which they are due.

    Args:
        tick: seconds that an alarm may be late; it is never early.
    """

    __slots__ = ("_loop", "_rate", "_slots")

    def __init__(self, tick: float = 0.004) -> None:
        self._rate = 1 / tick
        self._slots: dict[int, set[Alarm]] = {}
        self._loop: Any = object()  # none yet

    def task(self) -> Any:
        """Return the current task, and turn in its event loop from now on.

        A wheel serves one loop at a time. To ask the known loop for its task is half the price of
        asking for the running loop first, and answers `None` where another one runs.
        """
        return current_task(self._loop) or self._moved()

    def _moved(self) -> Any:
        self._loop = get_running_loop()
        self._slots = {}  # those of another loop, closed since, would never ring
        task = current_task(self._loop)
        if task is None:
            raise RuntimeError("an alarm is set by a task")
        return task

    def set(self, alarm: Alarm, seconds: float) -> None:
        """Let `alarm` ring in `seconds`; `alarm.slot.discard(alarm)` stops it.

        The event loop is the one that `task` has last turned in.
        """
        due = int((self._loop.time() + seconds) * self._rate) + 1
        slot = self._slots.get(due)
        if slot is None:
            slot = self._slots[due] = set()
            self._loop.call_at(due / self._rate, self._ring, due)
        slot.add(alarm)
        alarm.slot = slot

    def _ring(self, due: int) -> None:
        slot = self._slots.pop(due, None)
        while slot:
            slot.pop().ring()


class Timer(Alarm):
    """Cancels the task that made it unless it is stopped in time.

    It tells its own cancellation from everybody else's by the task's count of cancellations
    (`Task.cancelling`), the way `asyncio.timeout` does.

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
        """Stop it; to be called however the bounded work ends, and as often as you like.

        Returns:
            Whether the task was cancelled by this timer and by nobody else: then, and only then, a
            `CancelledError` may be translated.
        """
        self.slot.discard(self)
        if not self.rang:
            return False
        self.rang = False
        return bool(self._task.uncancel() <= self._before)
