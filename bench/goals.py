"""The goals of the benchmark: ratios that the gateway should reach, from the figures of one run."""

from __future__ import annotations

from typing import Any, NamedTuple

import stats
from stats import Spread

Results = dict[str, Any]


class Goal(NamedTuple):
    """One goal: name, required value, measured value (`None`: not measured).

    Where servers are compared, the CPU time for each answer decides, and `by_rate` is the same ratio
    of answers a second, for the reader.
    """

    what: str
    wanted: float
    at_least: bool
    found: Spread | None
    unit: str = "times"
    by_rate: Spread | None = None

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        value = self.found.median
        return value >= self.wanted if self.at_least else value <= self.wanted


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


_COLD = {
    "shared_httpx": ("FastAPI + shared httpx", 25),
    "node": ("Node fastify + undici", 1.0),
    "node_dispatch": ("Node undici pool.dispatch", 1.8),
    "nginx_lua": ("nginx + Lua with cjson", 1.1),
    "rust": ("Rust axum + reqwest", 0.95),
    "go": ("Go net/http", 2.0),
    "krakend": ("KrakenD CE", 1.0),
    "lura": ("Lura, the engine of KrakenD CE", 1.0),
    "lura_gogc400": ("Lura with GOGC=400", 1.0),
    "before": ("the gateway before", 2.0),
}
_CROWD = ("nginx_lua", "rust", "node_dispatch", "go", "lura_gogc400", "before")


def _against(what: str, wanted: float, rows: dict[str, stats.Rows], over: str, under: str) -> Goal:
    """Return a goal of answers for the same CPU time, against another server."""
    if over not in rows or under not in rows:
        return Goal(what, wanted, at_least=True, found=None)
    pair = rows[over], rows[under]
    found, by_rate = stats.cpu_ratio(*pair), stats.ratio(*pair)
    return Goal(what, wanted, at_least=True, found=found, by_rate=by_rate)


def _costs(what: str, wanted: float, rows: stats.Rows | None, than: stats.Rows | None) -> Goal:
    """Return a goal of at most so many times the CPU time for each answer."""
    found = stats.cpu_ratio(than, rows) if rows and than else None
    return Goal(what, wanted, at_least=False, found=found)


def _growth(results: Results, scenario: str, step: str) -> stats.Rows | None:
    rows: stats.Rows | None = (
        results.get(scenario, {}).get("grows", {}).get(step, {}).get("gateway")
    )
    return rows


def _memory(results: Results, scenario: str) -> Spread | None:
    rows = results.get(scenario, {}).get("memory")
    return stats.spread([row["each"] / 1024 for row in rows]) if rows else None


def select_cost(results: Results) -> Spread | None:
    """Return the microseconds of CPU that `select` adds to an answer."""
    rows = results.get("features", {}).get("closed")
    return stats.cpu_more(rows["select"], rows["list"]) if rows else None


def megabyte_cost(results: Results) -> Spread | None:
    """Return the CPU time for 1 MB as a multiple of that of orjson's loads and dumps alone."""
    rows = results.get("megabyte", {}).get("closed", {}).get("gateway")
    return stats.spread([r["cpu"] / r["answers"] / r["orjson"] for r in rows]) if rows else None


def goals(results: Results) -> list[Goal]:
    cold = results.get("cold", {}).get("closed", {})
    crowd = results.get("clients", {}).get("grows", {}).get("512", {})
    cached = results.get("cached", {}).get("closed", {})
    declared = results.get("declared", {}).get("closed", {})
    clients, sections = (
        {step: _growth(results, name, step) for step in ("3", "30", "64", "512", "4000")}
        for name in ("clients", "sections")
    )

    def most(what: str, wanted: float, found: Spread | None, unit: str = "times") -> Goal:
        return Goal(what, wanted, at_least=False, found=found, unit=unit)

    def late(what: str, wanted: float, over: str, under: str, key: str) -> Goal:
        return most(what, wanted, _open(results, over, under, key))

    found = [
        *(_against(f"cold, {label}", wanted, cold, "gateway", name)
          for name, (label, wanted) in _COLD.items()),
        *(_against(f"cold, 512 clients, {_COLD[name][0]}", 1.0, crowd, "gateway", name)
          for name in _CROWD),
        _costs("512 clients: CPU time, 64 clients", 1.15, clients["512"], clients["64"]),
        _costs("4,000 clients: CPU time, 64 clients", 1.3, clients["4000"], clients["64"]),
        _costs("30 sections: CPU time, 3 sections", 11, sections["30"], sections["3"]),
        most("`select` over 100 elements: additional CPU time", 80, select_cost(results), "µs"),
        most("1 MB passed through: CPU time, orjson's loads and dumps alone", 2,
             megabyte_cost(results)),
        _against("cached in process, constant bytes from bare ASGI", 1.5, cached, "cached",
                 "constant"),
        _against("304, the cached answer", 1.0, cached, "not_modified", "cached"),
        late("20 ms upstreams, half load: p50, slowest upstream alone", 1.03, "three", "upstream",
             "p50"),
        late("20 ms upstreams, half load: p99, slowest upstream alone", 1.15, "three", "upstream",
             "p99"),
        late("ten equal upstreams: p50, one of them", 1.1, "ten", "one", "p50"),
        _costs("1,000 declared dashboards: CPU time, one declared", 1.05,
               declared.get("declared1000"), declared.get("declared1")),
        most("5,000 in flight: memory of each", 14, _memory(results, "in_flight"), "KB"),
        most("5,000 idle keep-alive clients: memory of each", 2, _memory(results, "idle"), "KB"),
        Goal("two processes, one (estimated from CPU time)", 1.8, at_least=True,
             found=scaling(results)),
    ]  # fmt: skip
    compared = "before" in cold or "before" in crowd
    return [goal for goal in found if compared or "the gateway before" not in goal.what]
