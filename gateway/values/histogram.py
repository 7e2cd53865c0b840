"""A histogram of durations that costs next to nothing to add to."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BOUNDS", "MANY", "Histogram"]

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in seconds; a last bucket has what is longer."""

MANY = 1024
"""Durations to sort into buckets at once."""


class Histogram:
    """Counts durations by bucket.

    Adding one is an append to a list. Whoever adds sorts the list into buckets when it is long::

        histogram.add(seconds)
        if len(histogram.recent) > MANY:
            histogram.sort()

    Attributes:
        add: counts one duration in seconds.
        recent: the durations that are not in a bucket yet.
    """

    __slots__ = ("_counts", "_total", "add", "recent")

    def __init__(self) -> None:
        self.recent: list[float] = []
        self.add: Callable[[float], None] = self.recent.append
        self._counts = [0] * (len(BOUNDS) + 1)
        self._total = 0.0

    @property
    def counts(self) -> list[int]:
        """How many durations are in each bucket of `BOUNDS` and in the last one."""
        self.sort()
        return self._counts

    @property
    def total(self) -> float:
        """The sum of all durations in seconds."""
        self.sort()
        return self._total

    def sort(self) -> None:
        """Sort recent durations into buckets."""
        for seconds in self.recent:
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._total += seconds
        self.recent.clear()
