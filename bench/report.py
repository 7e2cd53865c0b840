"""The benchmark report: writes `docs/benchmark.md` from the figures of one run."""

from __future__ import annotations

from typing import Any

import peers
import stats
import work
from goals import goals, scaling

Results = dict[str, Any]

NAMES = {
    "gateway": "**the gateway, every feature on**",
    "constant": "floor: constant bytes from bare ASGI under uvicorn",
    "upstream": "limit: the slowest upstream alone",
    "cached": "**cached in process**",
    "not_modified": "**304 Not Modified**",
    "in_redis": "**cached in Redis, nothing cached in process** (clients share reads)",
    "cold": "**cold, for comparison**",
    "declared1": "1 declared",
    "declared100": "100 declared",
    "declared1000": "1,000 declared",
    "one": "one process",
    "two": "two processes",
} | {name: label for name, (label, _) in peers.PEERS.items()}

_PLAIN = {"gateway": "the gateway", "constant": "the floor", "declared1": "one declared"}

_DELAY = {
    "upstream": "one upstream alone, called directly",
    "three": "**the gateway, three sections**",
    "node": "Node fastify + undici, three sections",
    "upstream_at_ten": "one upstream alone, at the rate of ten",
    "one": "**the gateway, one section, at the rate of ten**",
    "ten": "**the gateway, ten sections**",
}


def brief(figures: Results | None) -> str:
    """Return a scenario's medians in a few lines, for the terminal."""
    if not figures:
        return "    failed"
    groups = {"": figures["closed"]} if "closed" in figures else figures.get("grows", {})
    lines = []
    for step, rows in groups.items():
        cells = "  ".join(f"{n} {stats.of(r).median:,.0f}/s" for n, r in rows.items())
        lines.append(f"    {step:5}{cells}")
    for name, rows in figures.get("open", {}).items():
        p50, p99 = (stats.of(rows, key).median * 1e3 for key in ("p50", "p99"))
        lines.append(f"    {name}: {rows[0]['rate']:,.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    lines += [
        f"    {row['each'] / 1024:.1f} KB each, {row['rate']:,.0f}/s"
        for row in figures.get("memory", [])
    ]
    if "seconds" in figures:
        lines.append(f"    {stats.spread(figures['seconds']).median * 1e6:.1f} us")
    return "\n".join(lines)


def must_show(results: Results) -> str:
    """Return the goals as a table in Markdown."""
    lines = [
        "| against | wanted | found (median, least to most) | by CPU time | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for goal in goals(results):
        bound = f"{'≥' if goal.at_least else '≤'} {goal.wanted:g} {goal.unit}"
        if goal.found is None:
            lines.append(f"| {goal.what} | {bound} | not measured | | |")
            continue
        found = goal.found
        verdict = "reached" if goal.met else "**not reached**"
        value = f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})"
        cpu = f"{goal.by_cpu.median:.2f}" if goal.by_cpu else ""
        lines.append(f"| {goal.what} | {bound} | {value} | {cpu} | {verdict} |")
    return "\n".join(lines)


def _closed_table(rows: dict[str, stats.Rows], base: str) -> str:
    """Return rates, times and ratios against `base`, each the median of its rounds."""
    against = f"{_PLAIN[base]} is this many times as fast"
    lines = [
        f"| | answers/s (least to most) | p50 | p99 | {against} | core used | CPU each |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in sorted(rows.items(), key=lambda item: -stats.of(item[1]).median):
        rate, times_as = stats.of(found), stats.ratio(rows[base], found)
        times = [stats.of(found, key).median * 1e3 for key in ("p50", "p99")]
        lines.append(
            f"| {NAMES[name]} | {rate.median:,.0f} ({rate.least:,.0f} to {rate.most:,.0f}) "
            f"| {times[0]:.2f} ms | {times[1]:.2f} ms "
            f"| {times_as.median:.2f} ({times_as.least:.2f} to {times_as.most:.2f}) "
            f"| {stats.of(found, 'core').median:.0%} "
            f"| {stats.cpu_each(found).median * 1e6:,.0f} µs |"
        )
    return "\n".join(lines)


def _growth_table(grows: dict[str, dict[str, stats.Rows]], what: str) -> str:
    names = list(dict.fromkeys(name for rows in grows.values() for name in rows))
    others = [name for name in names if name != "gateway"]
    lines = [
        f"| {what} | gateway: answers/s | p50 | p99 | "
        + " | ".join(f"times {NAMES[name]}" for name in others)
        + " |",
        "| --- | --- | --- | --- |" + " --- |" * len(others),
    ]
    for step, rows in grows.items():
        mine = rows["gateway"]
        cells = [
            f"{step}", f"{stats.of(mine).median:,.0f}",
            f"{stats.of(mine, 'p50').median * 1e3:.2f} ms",
            f"{stats.of(mine, 'p99').median * 1e3:.2f} ms",
        ]  # fmt: skip
        for name in others:
            found = stats.ratio(mine, rows[name]) if name in rows else None
            cells.append(
                f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})" if found else ""
            )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _delay_table(rows: dict[str, stats.Rows]) -> str:
    lines = ["| | rate | p50 | p99 | generator late, p99 |", "| --- | --- | --- | --- | --- |"]
    for name, label in _DELAY.items():
        if name in rows:
            p50, p99, late = (stats.of(rows[name], k) for k in ("p50", "p99", "late_p99"))
            lines.append(
                f"| {label} | {rows[name][0]['rate']:,.0f}/s "
                f"| {p50.median * 1e3:.2f} ms ({p50.least * 1e3:.2f} to {p50.most * 1e3:.2f}) "
                f"| {p99.median * 1e3:.2f} ms ({p99.least * 1e3:.2f} to {p99.most * 1e3:.2f}) "
                f"| {late.median * 1e3:.2f} ms |"
            )
    return "\n".join(lines)


def _memory(rows: stats.Rows) -> str:
    each = stats.spread([row["each"] / 1024 for row in rows])
    last = rows[-1]
    return (
        f"{each.median:.1f} KB per dashboard ({each.least:.1f} to {each.most:.1f}): the peak of "
        "resident memory minus that after a warm-up, divided by 5,000. "
        f"{last['rate']:,.0f} answers a second, p50 {last['p50']:.2f} s, none lost. Each dashboard "
        "holds one client connection and three upstream connections. One process may open 20,000 "
        "files here: each of the three upstreams has 4,900 connections, so up to a hundred calls "
        "wait for one."
    )


def _processes(results: Results) -> str:
    rows = results["processes"]["closed"]
    scale, raw = scaling(results), stats.ratio(rows["two"], rows["one"])
    shares = [row["busiest"] / row["cpu"] for row in rows["two"]]
    if scale is None:
        return ""
    return (
        f"On two cores that nginx and wrk use as well, two processes answer {raw.median:.2f} times "
        f"as much as one ({raw.least:.2f} to {raw.most:.2f}). The speedup with a core each is "
        "estimated from CPU time: the ratio of answers per second of the gateway's CPU time, times "
        "how evenly the processes share the work (their total CPU time over that of the busiest, "
        f"which had {stats.spread(shares).median:.0%}). It is {scale.median:.2f} "
        f"({scale.least:.2f} to {scale.most:.2f})."
    )


def _disturbed(results: Results) -> list[str]:
    loads = results.get("loads", {})
    text = ", ".join(f"{name} {load:.1f}" for name, load in loads.items())
    return (
        [f"Load average after each scenario, the load of the run included: {text}."] if text else []
    )


def _head(results: Results) -> list[str]:
    machine = results["machine"]
    versions = ", ".join(
        f"{name} {v}" if name not in v else v for name, v in machine["versions"].items()
    )
    return [
        "# Benchmark",
        (
            "Written by `make bench`; [bench/README.md](../bench/README.md) explains the method. "
            "Only ratios from one run are meaningful. Every figure is the median of "
            f"{results['rounds']} rounds of {results['seconds']:g} s, in which all take turns "
            "(A B C A B C), with minimum and maximum. Ratios are computed round by round. Ratios "
            "by CPU time compare the CPU time per answer of the measured servers, which other "
            "processes on the same cores disturb less."
        ),
        (
            f"{results['date']}, {machine['cores']} cores ({machine['model'] or 'model unknown'}), "
            f"Python {machine['python']}, {versions}; load average {machine['load_before']:.1f} "
            f"before and {results['load_after']:.1f} after."
        ),
        *_disturbed(results),
        *results.get("notes", []),
        "![chart](benchmark.svg)",
        "## Goals",
        must_show(results),
    ]


def _tables(results: Results) -> list[str]:
    sizes = ", ".join(str(len(work.documents()[f"{name}.json"])) for name in "abc")
    closed = {
        "cold": (f"Cold fan-out of 3 ({sizes} bytes), 64 clients, one core", "gateway"),
        "cached": ("Cached, 64 clients", "constant"),
        "declared": ("Declared dashboards, 64 clients", "declared1"),
    }
    growth = {"clients": "clients", "sections": "sections", "payload": "bytes, 8 clients"}
    parts = []
    for name, (title, base) in closed.items():
        if name in results:
            parts += [f"## {title}", _closed_table(results[name]["closed"], base)]
    for name, what in growth.items():
        if name in results:
            parts += [f"## Growth with {name}", _growth_table(results[name]["grows"], what)]
    return parts


def markdown(results: Results) -> str:
    """Return the report; it omits scenarios that were not run and lists failed ones."""
    parts = _head(results) + _tables(results)
    if "delay" in results:
        parts.append("## Upstreams that take 20 ms, half load, open loop")
        parts.append(_delay_table(results["delay"]["open"]))
    if "in_flight" in results:
        parts.append("## 5,000 dashboards in flight, upstreams that take 1 s")
        parts.append(_memory(results["in_flight"]["memory"]))
    if "processes" in results:
        parts += ["## Two processes", _processes(results)]
    if "orjson" in results:
        taken = stats.spread(results["orjson"]["seconds"]).median * 1e6
        parts.append("## Time in orjson")
        parts.append(f"{taken:.1f} µs to read the three documents and write one.")
    for key, title in (("missing", "## Missing"), ("failed", "## Failed")):
        if results.get(key):
            lines = (f"- {NAMES.get(n, n)}: {why.strip()}" for n, why in results[key].items())
            parts += [title, "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
