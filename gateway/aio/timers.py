"""Timers that are nearly always stopped before they fire, cheaper than `asyncio.timeout`.

Setting and stopping must cost next to nothing, firing may be coarse: alarms that are due in the
same tick share one timer of the event loop (a hashed timing wheel: Varghese and Lauck, "Hashed and
Hierarchical Timing Wheels", 1987). Setting an alarm adds it to a set, stopping it removes it.
"""

from __future__ import annotations

from asyncio import current_task, get_running_loop
from typing import Any

__all__ = ["Alarm", "Wheel"]


class Alarm:
    """An action that runs at a given time unless it is stopped before."""

    __slots__ = ("slot",)

    slot: set[Alarm]

    def ring(self) -> None:
        """Run the action; called by the wheel."""
        raise NotImplementedError


class Wheel:
    """Alarms, grouped by the tick in which they are due.

    Args:
        tick: seconds by which an alarm may be late; it is never early.
    """

    __slots__ = ("_loop", "_rate", "_slots")

    def __init__(self, tick: float = 0.004) -> None:
        self._rate = 1 / tick
        self._slots: dict[int, set[Alarm]] = {}
        self._loop: Any = object()  # none yet

    def attach(self) -> Any:
        """Return the running event loop, and use it from now on."""
        loop = get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._slots = {}  # alarms of the previous loop, now closed, would never fire
        return loop

    def task(self) -> Any:
        """Return the current task, and use its event loop from now on.

        A wheel serves one loop at a time. Asking the known loop for its task costs half as much as
        looking up the running loop first, and returns `None` where another loop runs.
        """
        return current_task(self._loop) or self._moved()

    def _moved(self) -> Any:
        task = current_task(self.attach())
        if task is None:
            raise RuntimeError("an alarm can only be set inside a task")
        return task

    def set(self, alarm: Alarm, seconds: float) -> None:
        """Fire `alarm` in `seconds`; `alarm.slot.discard(alarm)` stops it."""
        loop = get_running_loop()
        if loop is not self._loop:
            self.attach()
        due = int((loop.time() + seconds) * self._rate) + 1
        slot = self._slots.get(due)
        if slot is None:
            slot = self._slots[due] = set()
            loop.call_at(due / self._rate, self._ring, due)
        slot.add(alarm)
        alarm.slot = slot

    def _ring(self, due: int) -> None:
        slot = self._slots.pop(due, None)
        while slot:
            try:
                slot.pop().ring()
            except Exception as error:  # the others ring all the same
                self.report(error)

    def report(self, error: Exception) -> None:
        """Report an error that an alarm has raised."""
        self._loop.call_exception_handler({"message": "an alarm failed", "exception": error})
