"""Medians, spreads and ratios of rounds."""

from __future__ import annotations

import statistics
from typing import NamedTuple

Rows = list[dict[str, float]]


class Spread(NamedTuple):
    """A median with the least and the most."""

    median: float
    least: float
    most: float


def spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def of(rows: Rows, key: str = "rate") -> Spread:
    return spread([row[key] for row in rows])


def ratio(over: Rows, under: Rows, key: str = "rate") -> Spread:
    """Return the ratio round by round: what disturbs the machine disturbs both sides of one."""
    return spread([a[key] / b[key] for a, b in zip(over, under, strict=True)])
