"""A histogram of durations that costs little to add to."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["BOUNDS", "Histogram"]

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in seconds; a last bucket has what is longer."""


class Histogram:
    """Counts durations by bucket.

    Attributes:
        counts: how many durations are in each bucket of `BOUNDS` and in the last one.
        total: the sum of all durations in seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
