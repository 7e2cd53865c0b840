"""Gradient: an adaptive concurrency limit, derived from an upstream's round trip times.

It follows Gradient2 of Netflix' concurrency-limits: while calls take their usual time, the limit
grows by a small queue; when they take longer, calls are queueing somewhere and the limit shrinks by
the ratio. Gradient2 uses a long average as the usual time, which creeps up under lasting overload,
and the limit with it. Here the usual time is measured at intervals at half the limit, where nothing
queues. Pure: no clock, no calls.
"""

from __future__ import annotations

import math

__all__ = ["Gradient", "Window"]

_QUEUE = 0.5  # growth per window while nothing queues, times the root of the limit
_SMOOTHING = 0.2  # weight of a new limit
_TOLERANCE = 1.5  # factor by which round trips may exceed the usual time
_STEEPEST = 0.5  # one window never reduces the limit by more than half
_BACKOFF = 0.9  # factor after a dropped call
_PROBE_EVERY = 100  # windows; the first of two at half the limit drains, the second is measured
_LEARNING = 0.5  # weight of a measured round trip
_SAMPLES = 10  # minimum calls in a window
_SHORTEST = 0.1  # minimum seconds of a window


class Gradient:
    """The limit, and the usual round trip time that it is based on.

    Attributes:
        limit: concurrent calls, not rounded.
        usual: seconds that a call takes while nothing queues; 0 before the first call.
    """

    __slots__ = ("_highest", "_lowest", "_window", "limit", "usual")

    def __init__(self, initial: float = 20, lowest: float = 1, highest: float = 200) -> None:
        self.limit = min(max(float(initial), lowest), highest)
        self.usual = 0.0
        self._lowest = float(lowest)
        self._highest = float(highest)
        self._window = -10  # the first probe comes early, the initial limit may be far off

    def update(self, rtt: float, in_flight: int, *, dropped: bool) -> int:
        """Process one window of calls and return the limit for the next one.

        Args:
            rtt: mean round trip in seconds of the window's good answers, 0 without any.
            in_flight: the maximum number of calls in flight.
            dropped: a call timed out, or the upstream rejected it because of overload.
        """
        self._window += 1
        if dropped:
            self._become(self.limit * _BACKOFF)
        if self._window in {0, 1}:
            return self._probing()
        if rtt > 0:
            idle = in_flight < self.limit / 2
            if self._window == 2 or idle or rtt < self.usual or not self.usual:  # noqa: PLR2004
                self.usual += (rtt - self.usual) * (_LEARNING if self.usual else 1)
            if not (dropped or idle or self._window == 2):  # noqa: PLR2004
                gradient = min(1.0, max(_STEEPEST, _TOLERANCE * self.usual / rtt))
                wanted = self.limit * gradient + _QUEUE * math.sqrt(self.limit)
                self._become(self.limit + (wanted - self.limit) * _SMOOTHING)
        if self._window == _PROBE_EVERY:
            self._window = 0
            return self._probing()
        return int(self.limit)

    def _become(self, limit: float) -> None:
        self.limit = min(max(limit, self._lowest), self._highest)

    def _probing(self) -> int:
        return max(int(self.limit / 2), int(self._lowest))


class Window:
    """The measurements since the limit was last updated.

    Attributes:
        peak: the maximum number of calls in flight.
        dropped: calls that timed out, or that the upstream rejected because of overload.
    """

    __slots__ = ("_answers", "_ends", "_total", "dropped", "peak")

    def __init__(self, now: float) -> None:
        self._ends = now + _SHORTEST
        self._total = 0.0
        self._answers = self.dropped = self.peak = 0

    def answered(self, rtt: float) -> None:
        """Record a good answer after `rtt` seconds."""
        self._total += rtt
        self._answers += 1

    def is_over(self, now: float) -> bool:
        """Return whether the window has enough samples and is long enough."""
        return now >= self._ends and self._answers + self.dropped >= _SAMPLES

    def judge(self, gradient: Gradient, now: float) -> int:
        """Return the limit that `gradient` derives from it, and start a new window at `now`."""
        mean = self._total / self._answers if self._answers else 0.0
        limit = gradient.update(mean, self.peak, dropped=self.dropped > 0)
        # At least two round trips, so that most calls of the old limit have ended.
        self._ends = now + max(_SHORTEST, 2 * mean)
        self._total = 0.0
        self._answers = self.dropped = self.peak = 0
        return limit
