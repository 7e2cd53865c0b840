"""Meter: what the layers of one upstream count, for metrics.

Counting must cost next to nothing, because every call pays for it. So a layer adds to a plain
number, and only a scrape turns the numbers into metrics. What happens rarely is an event instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.values.histogram import MANY, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["UpstreamMeter"]


class UpstreamMeter:
    """The counts of one upstream.

    Attributes:
        bad: attempts that brought no good answer, by the code of their error or `cancelled`.
        durations: of all attempts.
        lookups: look-ups in the cache, by their result.
        gauges: functions that return a value as it is now, by name.
    """

    __slots__ = ("bad", "durations", "gauges", "lookups")

    def __init__(self) -> None:
        self.bad: dict[str, int] = {}
        self.durations = Histogram()
        self.lookups: dict[str, int] = {}
        self.gauges: dict[str, Callable[[], float]] = {}

    @property
    def good(self) -> int:
        """Attempts that brought a good answer."""
        return sum(self.durations.counts) - sum(self.bad.values())

    def ended(self, seconds: float) -> None:
        """Count an attempt; it brought a good answer unless `failed` says otherwise."""
        durations = self.durations
        durations.add(seconds)
        if len(durations.recent) > MANY:
            durations.sort()

    def failed(self, outcome: str, seconds: float) -> None:
        """Count an attempt that brought none."""
        self.bad[outcome] = self.bad.get(outcome, 0) + 1
        self.ended(seconds)

    def looked_up(self, result: str) -> None:
        """Count a look-up in the cache."""
        self.lookups[result] = self.lookups.get(result, 0) + 1
