"""Gradient: how many calls at once an upstream likes, learnt from its round trip times.

The idea is Gradient2 of Netflix' concurrency-limits: while calls take as long as they usually do,
the limit grows by a small queue; when they take longer, calls are queueing somewhere and the limit
shrinks by the ratio. Pure: no clock, no calls.
"""

from __future__ import annotations

__all__ = ["Gradient"]

_QUEUE = 4.0  # growth per window while nothing queues
_SMOOTHING = 0.2  # weight of a new limit
_TOLERANCE = 1.5  # round trips may be that much longer than usual
_LONG = 600  # windows that make up "usual"
_STEEPEST = 0.5  # one window never takes more than half
_BACKOFF = 0.9  # factor after a dropped call
_DRIFT = 0.95  # how fast "usual" comes down again after a bad time


class Gradient:
    """The limit and the long-term round trip time that it follows.

    Attributes:
        limit: calls at once, as a fraction; `int(limit)` counts.
    """

    __slots__ = ("_highest", "_long", "_lowest", "_windows", "limit")

    def __init__(self, initial: float = 20, lowest: float = 1, highest: float = 200) -> None:
        self.limit = float(initial)
        self._lowest = float(lowest)
        self._highest = float(highest)
        self._long = 0.0
        self._windows = 0

    def update(self, rtt: float, in_flight: int, *, dropped: bool) -> int:
        """Take in one window of calls and return the new limit.

        Args:
            rtt: mean round trip in seconds of the window's good answers, 0 where there was none.
            in_flight: the most calls that were in flight at once.
            dropped: some call timed out or was turned away by the upstream.
        """
        if rtt > 0:
            self._windows = min(self._windows + 1, _LONG)
            self._long += (rtt - self._long) * 2 / (self._windows + 1)
            if self._long > 2 * rtt:
                self._long *= _DRIFT
        if dropped:
            wanted = self.limit * _BACKOFF
        elif rtt <= 0 or in_flight < self.limit / 2:
            return int(self.limit)  # too little asked of it to learn anything
        else:
            gradient = min(1.0, max(_STEEPEST, _TOLERANCE * self._long / rtt))
            target = self.limit * gradient + _QUEUE
            wanted = self.limit + (target - self.limit) * _SMOOTHING
        self.limit = min(max(wanted, self._lowest), self._highest)
        return int(self.limit)
