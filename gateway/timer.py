"""Timers that cancel the task that started them, cheaper than `asyncio.timeout`.

Nearly every timer of a gateway is stopped long before it is due, so arming and stopping must cost
nothing and firing may be coarse. Timers that are due in the same tick share one timer of the event
loop (a hashed timing wheel: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987); to
arm one is to put it into a set, to stop it is to take it out.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, current_task, get_running_loop
from typing import Any

__all__ = ["Timer", "Timers"]

TICK = 0.004
"""Seconds that a timer may be late."""


class Timer:
    """Cancels the task that made it unless it is stopped in time.

    It tells its own cancellation from everybody else's by the task's count of cancellations
    (`Task.cancelling`), the way `asyncio.timeout` does.
    """

    __slots__ = ("_before", "_task", "fired", "slot")

    slot: set[Timer]

    def __init__(self) -> None:
        task = current_task()
        if task is None:
            raise RuntimeError("a timer needs a task that it can cancel")
        self._task: Any = task
        self._before = task.cancelling()
        self.fired = False

    def fire(self) -> None:
        """Cancel the task; called by the wheel when the time has come."""
        self.fired = True
        self._task.cancel()

    def stop(self) -> bool:
        """Stop it; to be called however the bounded work ends.

        Returns:
            Whether the task's cancellation was this timer's and nobody else wants it cancelled:
            then, and only then, a `CancelledError` may be translated.
        """
        self.slot.discard(self)
        if not self.fired:
            return False
        self.fired = False
        return bool(self._task.uncancel() <= self._before)


class Timers:
    """The wheel: timers by the tick in which they are due.

    Args:
        tick: seconds that a timer may be late; it is never early.
    """

    __slots__ = ("_loop", "_rate", "_slots")

    def __init__(self, tick: float = TICK) -> None:
        self._rate = 1 / tick
        self._slots: dict[int, set[Timer]] = {}
        self._loop: AbstractEventLoop | None = None

    def start(self, seconds: float) -> Timer:
        """Return a timer that cancels the current task in `seconds` unless it is stopped."""
        timer = Timer()
        self.add(timer, seconds)
        return timer

    def add(self, timer: Timer, seconds: float) -> None:
        """Let `timer` fire in `seconds`."""
        loop = get_running_loop()
        if loop is not self._loop:  # slots of another loop, closed since, would never fire
            self._slots = {}
            self._loop = loop
        due = int((loop.time() + seconds) * self._rate) + 1
        slot = self._slots.get(due)
        if slot is None:
            slot = self._slots[due] = set()
            loop.call_at(due / self._rate, self._fire, due)
        slot.add(timer)
        timer.slot = slot

    def _fire(self, due: int) -> None:
        for timer in tuple(self._slots.pop(due, ())):
            timer.slot.discard(timer)
            timer.fire()
