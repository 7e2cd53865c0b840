"""Log lines that may repeat without end, written at a bounded rate.

The first line of a kind is written at once, then one line in `every` seconds, with the count of
those left out.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.call import Clock

__all__ = ["Line", "RepeatedLines"]

_Key = tuple[str, ...]


class Line(Protocol):
    """One line, ready to be written."""

    def write(self, more: int) -> None:
        """Write it, with the count of those that were left out before it."""


class RepeatedLines:
    """Writes lines at a bounded rate.

    Args:
        every: seconds in which lines of one kind make at most one.
        most: most kinds that are tracked at once; beyond it lines whose keys begin alike share a
            line, so that memory and rate stay bounded.
        clock: monotonic seconds.
    """

    __slots__ = ("_clock", "_every", "_loop", "_most", "_timer", "_windows")

    def __init__(
        self, *, every: float = 10.0, most: int = 1000, clock: Clock = time.monotonic
    ) -> None:
        self._every = every
        self._most = most
        self._clock = clock
        self._windows: dict[_Key, _Window] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, key: _Key, line: Line) -> None:
        """Write `line` now, or count it among those of its kind that are left out."""
        window = self._windows.get(key)
        if window is None and len(self._windows) >= self._most:
            key = key[:1]
            window = self._windows.get(key)
        now = self._clock()
        if window is not None and now < window.ends:
            window.leave_out(line)
        else:
            line.write(window.left_out if window is not None else 0)
            self._windows[key] = _Window(now + self._every)
        self._set_timer(self._every)

    def close(self) -> None:
        """Write the counts of what was left out so far."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        windows, self._windows = self._windows, {}
        for window in windows.values():
            window.close()

    def _set_timer(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        # A timer of another loop that has since been closed would never fire.
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(seconds, self._ring)

    def _ring(self) -> None:
        """Write what was left out in the windows that have ended, and drop quiet kinds."""
        self._timer = None
        now = self._clock()
        for key, window in list(self._windows.items()):
            if now < window.ends:
                continue
            if window.left_out:
                window.close()
                self._windows[key] = _Window(now + self._every)
            else:
                del self._windows[key]
        if self._windows:
            first = min(window.ends for window in self._windows.values())
            self._set_timer(max(first - now, 0.0))


class _Window:
    """The time after a line in which lines of its kind are counted and not written."""

    __slots__ = ("_last", "ends", "left_out")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.left_out = 0
        self._last: Line | None = None

    def leave_out(self, line: Line) -> None:
        """Count `line`."""
        self.left_out += 1
        self._last = line

    def close(self) -> None:
        """Write the last line that was left out, with the count of those before it."""
        if self._last is not None:
            self._last.write(self.left_out - 1)
