"""The goals of the benchmark: ratios that the gateway should reach, from the figures of one run."""

from __future__ import annotations

from typing import Any, NamedTuple

import stats
from stats import Spread

Results = dict[str, Any]


class Goal(NamedTuple):
    """One goal: name, required ratio, measured ratio (`None`: not measured)."""

    what: str
    wanted: float
    at_least: bool
    found: Spread | None
    unit: str = "times"
    by_cpu: Spread | None = None

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        value = self.found.median
        return value >= self.wanted if self.at_least else value <= self.wanted


def _inverse(found: Spread | None) -> Spread | None:
    return Spread(1 / found.median, 1 / found.most, 1 / found.least) if found else None


def _open(results: Results, over: str, under: str, key: str) -> Spread | None:
    rows = results.get("delay", {}).get("open", {})
    return stats.ratio(rows[over], rows[under], key) if over in rows and under in rows else None


def scaling(results: Results) -> Spread | None:
    """Return the estimated speedup of two processes with a core each over one process.

    It is the ratio of answers per CPU second of the gateway's processes, times how evenly they
    share the work (total CPU time over that of the busiest process).
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

    def rate(what: str, wanted: float, scenario: str, over: str, under: str) -> Goal:
        rows = results.get(scenario, {}).get("closed", {})
        if over not in rows or under not in rows:
            return Goal(what, wanted, at_least=True, found=None)
        pair = rows[over], rows[under]
        return Goal(what, wanted, at_least=True, found=stats.ratio(*pair),
                    by_cpu=stats.cpu_ratio(*pair))  # fmt: skip

    def late(what: str, wanted: float, over: str, under: str, key: str) -> Goal:
        return Goal(what, wanted, at_least=False, found=_open(results, over, under, key))

    declared = rate("", 1.05, "declared", "declared1000", "declared1")
    return [
        rate("cold, FastAPI + shared httpx", 25, "cold", "gateway", "shared_httpx"),
        rate("cold, Node fastify + undici", 1.0, "cold", "gateway", "node"),
        rate("cold, nginx + Lua with cjson", 0.7, "cold", "gateway", "nginx_lua"),
        rate("cold, KrakenD CE", 1.0, "cold", "gateway", "krakend"),
        rate("cold, Lura, the engine of KrakenD CE", 1.0, "cold", "gateway", "lura"),
        rate("cached in process, constant bytes from bare ASGI", 0.6, "cached", "cached",
             "constant"),
        rate("304, the cached answer", 1.0, "cached", "not_modified", "cached"),
        late("20 ms upstreams, half load: p50, slowest upstream alone", 1.05, "three", "upstream",
             "p50"),
        late("20 ms upstreams, half load: p99, slowest upstream alone", 1.25, "three", "upstream",
             "p99"),
        late("ten equal upstreams: p50, one of them", 1.1, "ten", "one", "p50"),
        Goal("1,000 declared dashboards: cost of a request, one declared", 1.05, at_least=False,
             found=_inverse(declared.found), by_cpu=_inverse(declared.by_cpu)),
        Goal("5,000 in flight: memory of each", 40, at_least=False, found=each, unit="KB"),
        Goal("two processes, one (estimated from CPU time)", 1.8, at_least=True,
             found=scaling(results)),
    ]  # fmt: skip
