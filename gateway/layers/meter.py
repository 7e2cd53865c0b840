"""Meter: what the layers of one upstream count, for metrics.

Counting must cost next to nothing, because every call pays for it. So a layer adds to a plain
number, and only a scrape turns the numbers into metrics. What happens rarely is an event instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.values.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["UpstreamMeter"]


class UpstreamMeter:
    """The counts of one upstream.

    Attributes:
        good: attempts that brought a good answer.
        bad: the other attempts, by the code of their error or `cancelled`.
        durations: of all attempts.
        lookups: look-ups in the cache, by their result.
        gauges: functions that return a value as it is now, by name.
    """

    __slots__ = ("bad", "durations", "gauges", "good", "lookups")

    def __init__(self) -> None:
        self.good = 0
        self.bad: dict[str, int] = {}
        self.durations = Histogram()
        self.lookups: dict[str, int] = {}
        self.gauges: dict[str, Callable[[], float]] = {}

    def succeeded(self, seconds: float) -> None:
        """Count an attempt that brought a good answer."""
        self.good += 1
        self.durations.add(seconds)

    def failed(self, outcome: str, seconds: float) -> None:
        """Count an attempt that brought none."""
        self.bad[outcome] = self.bad.get(outcome, 0) + 1
        self.durations.add(seconds)

    def looked_up(self, result: str) -> None:
        """Count a look-up in the cache."""
        self.lookups[result] = self.lookups.get(result, 0) + 1
