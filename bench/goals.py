"""The ratios that the gateway is to reach, taken from the figures of one run."""

from __future__ import annotations

from typing import Any, NamedTuple

import stats
from stats import Spread

Results = dict[str, Any]


class Goal(NamedTuple):
    """One line: what, how much is wanted, what was found (`None`: not measured)."""

    what: str
    wanted: float
    at_least: bool
    found: Spread | None
    unit: str = "times"

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        value = self.found.median
        return value >= self.wanted if self.at_least else value <= self.wanted


def _closed(results: Results, scenario: str, over: str, under: str) -> Spread | None:
    rows = results.get(scenario, {}).get("closed", {})
    return stats.ratio(rows[over], rows[under]) if over in rows and under in rows else None


def _inverse(found: Spread | None) -> Spread | None:
    return Spread(1 / found.median, 1 / found.most, 1 / found.least) if found else None


def _open(results: Results, over: str, under: str, key: str) -> Spread | None:
    rows = results.get("delay", {}).get("open", {})
    return stats.ratio(rows[over], rows[under], key) if over in rows and under in rows else None


def scaling(results: Results) -> Spread | None:
    """Return what two processes would do with a core each, against one process with a core.

    Answers for each second of CPU that the gateway's processes used, two processes against one,
    times the even sharing of the work (all CPU time over that of the busiest process).
    """
    rows = results.get("processes", {}).get("closed", {})
    if "two" not in rows:
        return None
    pairs = zip(rows["two"], rows["one"], strict=True)
    return stats.spread(
        [
            (two["answers"] / two["cpu"])
            / (one["answers"] / one["cpu"])
            * (two["cpu"] / two["busiest"])
            for two, one in pairs
        ]
    )


def goals(results: Results) -> list[Goal]:
    memory = results.get("in_flight", {}).get("memory")
    each = stats.spread([row["each"] / 1024 for row in memory]) if memory else None
    gw = "gateway"
    return [
        Goal("cold, FastAPI + shared httpx", 25.0, True, _closed(results, "cold", gw, "shared_httpx")),
        Goal("cold, Node fastify + undici", 1.0, True, _closed(results, "cold", gw, "node")),
        Goal("cold, nginx + Lua with cjson", 0.7, True, _closed(results, "cold", gw, "nginx_lua")),
        Goal("cold, KrakenD CE", 1.0, True, _closed(results, "cold", gw, "krakend")),
        Goal("cached in process, constant bytes from bare ASGI", 0.6, True,
             _closed(results, "cached", "cached", "constant")),
        Goal("304, the cached answer", 1.0, True,
             _closed(results, "cached", "not_modified", "cached")),
        Goal("20 ms upstreams, half load: p50, slowest upstream alone", 1.05, False,
             _open(results, "three", "upstream", "p50")),
        Goal("20 ms upstreams, half load: p99, slowest upstream alone", 1.25, False,
             _open(results, "three", "upstream", "p99")),
        Goal("ten equal upstreams: p50, one of them", 1.1, False,
             _open(results, "ten", "one", "p50")),
        Goal("1,000 declared dashboards: time of a request, one declared", 1.05, False,
             _inverse(_closed(results, "declared", "declared1000", "declared1"))),
        Goal("5,000 in flight: memory of each", 40, False, each, "KB"),
        Goal("two processes, one", 1.8, True, scaling(results)),
    ]  # fmt: skip
