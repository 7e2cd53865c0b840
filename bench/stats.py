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


def cpu_each(rows: Rows) -> Spread:
    """Return the CPU seconds of the measured server for each answer."""
    return spread([row["cpu"] / row["answers"] for row in rows])


def cpu_ratio(over: Rows, under: Rows) -> Spread:
    """Return how many answers `over` gives for the CPU time of one answer of `under`.

    The CPU time is user and system of the whole process tree. Robust if other processes use the
    cores, or if the load generator was the limit.
    """
    pairs = zip(over, under, strict=True)
    return spread(
        [(b["cpu"] / b["answers"]) / max(1e-9, a["cpu"] / a["answers"]) for a, b in pairs]
    )


def cpu_more(rows: Rows, than: Rows) -> Spread:
    """Return the microseconds of CPU that an answer of `rows` needs more, round by round."""
    pairs = zip(rows, than, strict=True)
    return spread([(a["cpu"] / a["answers"] - b["cpu"] / b["answers"]) * 1e6 for a, b in pairs])


def ratio(over: Rows, under: Rows, key: str = "rate") -> Spread:
    """Return the ratio round by round: a disturbance of the machine affects both sides."""
    return spread([a[key] / b[key] for a, b in zip(over, under, strict=True)])
