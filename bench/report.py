"""The benchmark report: writes `docs/benchmark.md` from the figures of one run."""

from __future__ import annotations

from typing import Any

import peers
import stats
import work
from goals import goals, megabyte_cost, scaling, select_cost

Results = dict[str, Any]

NAMES = {
    "gateway": "**the gateway, every feature on**",
    "before": "the gateway before",
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
    "list": "a list of 100, one section",
    "select": "the same with `select`",
    "fan3": "three sections",
    "schema3": "the same with `schema`",
    "each": f"`for_each` over {work.CALLS}",
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
        cells = "  ".join(
            f"{n} {stats.of(r).median:,.0f}/s {stats.cpu_each(r).median * 1e6:,.0f} µs"
            for n, r in rows.items()
        )
        lines.append(f"    {step:5}{cells}")
    for name, rows in figures.get("open", {}).items():
        p50, p99 = (stats.of(rows, key).median * 1e3 for key in ("p50", "p99"))
        lines.append(f"    {name}: {rows[0]['rate']:,.0f}/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    lines += [f"    {row['each'] / 1024:.1f} KB each" for row in figures.get("memory", [])]
    if "seconds" in figures:
        lines.append(f"    {stats.spread(figures['seconds']).median * 1e6:.1f} us")
    return "\n".join(lines)


def must_show(results: Results) -> str:
    """Return the goals as a table in Markdown."""
    lines = [
        "| against | wanted | found (median, least to most) | by answers/s | |",
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
        rate = f"{goal.by_rate.median:.2f}" if goal.by_rate else ""
        lines.append(f"| {goal.what} | {bound} | {value} | {rate} | {verdict} |")
    return "\n".join(lines)


def _closed_table(rows: dict[str, stats.Rows], base: str) -> str:
    """Return rates, times and ratios against `base`, each the median of its rounds."""
    against = f"{_PLAIN[base]} answers this many times as much"
    columns = f"CPU each | {against} for the same CPU time | and in a second | core used"
    lines = [
        f"| | answers/s (least to most) | p50 | p99 | {columns} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in sorted(rows.items(), key=lambda item: stats.cpu_each(item[1]).median):
        rate, by_rate = stats.of(found), stats.ratio(rows[base], found)
        by_cpu = stats.cpu_ratio(rows[base], found)
        times = [stats.of(found, key).median * 1e3 for key in ("p50", "p99")]
        lines.append(
            f"| {NAMES[name]} | {rate.median:,.0f} ({rate.least:,.0f} to {rate.most:,.0f}) "
            f"| {times[0]:.2f} ms | {times[1]:.2f} ms "
            f"| {stats.cpu_each(found).median * 1e6:,.0f} µs "
            f"| {by_cpu.median:.2f} ({by_cpu.least:.2f} to {by_cpu.most:.2f}) "
            f"| {by_rate.median:.2f} | {stats.of(found, 'core').median:.0%} |"
        )
    return "\n".join(lines)


def _growth_table(grows: dict[str, dict[str, stats.Rows]], what: str) -> str:
    names = list(dict.fromkeys(name for rows in grows.values() for name in rows))
    others = [name for name in names if name != "gateway"]
    lines = [
        f"| {what} | gateway: answers/s | p50 | p99 | CPU each | "
        + " | ".join(f"times {NAMES[name]}" for name in others)
        + " |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(others),
    ]
    for step, rows in grows.items():
        mine = rows["gateway"]
        cells = [
            f"{step}", f"{stats.of(mine).median:,.0f}",
            f"{stats.of(mine, 'p50').median * 1e3:.2f} ms",
            f"{stats.of(mine, 'p99').median * 1e3:.2f} ms",
            f"{stats.cpu_each(mine).median * 1e6:,.0f} µs",
        ]  # fmt: skip
        for name in others:
            found = stats.ratio(mine, rows[name]) if name in rows else None
            cells.append(
                f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})" if found else ""
            )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _crowd_table(grows: dict[str, dict[str, stats.Rows]]) -> str:
    """Return what 64 and 512 clients cost each server, and what 4,000 cost the gateway."""
    few, many = grows["64"], grows["512"]
    columns = "CPU each, 64 clients | 512 clients | 512 to 64 | answers/s, 512 clients | p99"
    ahead = "the gateway answers this many times as much for the same CPU time, 512 clients"
    lines = [
        f"| | {columns} | {ahead} |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in sorted(many.items(), key=lambda item: stats.cpu_each(item[1]).median):
        grown, times_as = stats.cpu_ratio(few[name], rows), stats.cpu_ratio(many["gateway"], rows)
        lines.append(
            f"| {NAMES[name]} | {stats.cpu_each(few[name]).median * 1e6:,.0f} µs "
            f"| {stats.cpu_each(rows).median * 1e6:,.0f} µs "
            f"| {grown.median:.2f} ({grown.least:.2f} to {grown.most:.2f}) "
            f"| {stats.of(rows).median:,.0f} | {stats.of(rows, 'p99').median * 1e3:,.0f} ms "
            f"| {times_as.median:.2f} ({times_as.least:.2f} to {times_as.most:.2f}) |"
        )
    if "4000" in grows:
        rows = grows["4000"]["gateway"]
        grown, rate = stats.cpu_ratio(few["gateway"], rows), stats.of(rows)
        lines.append(
            f"\n4,000 clients cost the gateway {stats.cpu_each(rows).median * 1e6:,.0f} µs each, "
            f"{grown.median:.2f} times that of 64 ({grown.least:.2f} to {grown.most:.2f}), which "
            "includes opening their connections and the requests in flight when a round ends: "
            f"{rate.median:,.0f} answers a second, p99 {stats.of(rows, 'p99').median:.2f} s."
        )
    return "\n".join(lines)


def _features(results: Results) -> str:
    rows = results["features"]["closed"]
    lines = [
        "| | answers/s (least to most) | p50 | CPU each (least to most) |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in rows.items():
        rate, cpu = stats.of(found), stats.cpu_each(found)
        lines.append(
            f"| {NAMES[name]} | {rate.median:,.0f} ({rate.least:,.0f} to {rate.most:,.0f}) "
            f"| {stats.of(found, 'p50').median * 1e3:.2f} ms | {cpu.median * 1e6:,.0f} µs "
            f"({cpu.least * 1e6:,.0f} to {cpu.most * 1e6:,.0f}) |"
        )
    schema, select = stats.cpu_more(rows["schema3"], rows["fan3"]), select_cost(results)
    each = stats.cpu_each(rows["each"]).median * 1e6 / work.CALLS
    size = len(work.documents()[f"list{work.ELEMENTS}.json"])
    added = f"`select` adds {select.median:,.0f} µs" if select else ""
    return (
        "\n".join(lines) + f"\n\n{added} to a list of {work.ELEMENTS} elements ({size:,} bytes). "
        f"Checking three documents against their schema adds {schema.median:,.0f} µs "
        f"({schema.least:,.0f} to {schema.most:,.0f}). `for_each` costs {each:,.0f} µs for each of "
        f"its {work.CALLS} calls, the list that it reads included."
    )


def _single(rows: dict[str, stats.Rows]) -> str:
    lines = [
        "| | answers/s | p50 | p99 | CPU each (least to most) |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in rows.items():
        cpu = stats.cpu_each(found)
        lines.append(
            f"| {NAMES[name].partition(' (')[0]} | {stats.of(found).median:,.0f} "
            f"| {stats.of(found, 'p50').median * 1e6:,.0f} µs "
            f"| {stats.of(found, 'p99').median * 1e6:,.0f} µs | {cpu.median * 1e6:,.0f} µs "
            f"({cpu.least * 1e6:,.0f} to {cpu.most * 1e6:,.0f}) |"
        )
    return "\n".join(lines)


def _megabyte(results: Results) -> str:
    rows = results["megabyte"]["closed"]["gateway"]
    cost, alone = stats.cpu_each(rows), stats.of(rows, "orjson")
    times = megabyte_cost(results)
    if times is None:
        return ""
    return (
        f"{cost.median * 1e3:.2f} ms of CPU time for each ({cost.least * 1e3:.2f} to "
        f"{cost.most * 1e3:.2f}), worker processes included; orjson's loads and dumps of the same "
        f"bytes alone need {alone.median * 1e3:.2f} ms, measured between the rounds: "
        f"{times.median:.2f} times ({times.least:.2f} to {times.most:.2f}). "
        f"{stats.of(rows).median:,.0f} answers a second."
    )


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


def _idle(rows: stats.Rows) -> str:
    each = stats.spread([row["each"] / 1024 for row in rows])
    return (
        f"{each.median:.2f} KB per client ({each.least:.2f} to {each.most:.2f}): resident memory "
        "with 5,000 connections, each of which has received one dashboard, minus that after a "
        "warm-up, divided by 5,000. Each run has a new process."
    )


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
            "(A B C A B C), with minimum and maximum; growth with the payload and the single client "
            "of Redis have 3 rounds, memory 3 runs. Ratios are computed round by round. **Where "
            "servers are compared, CPU time decides**: the CPU time for each answer, user and "
            "system, of the server's whole process tree, as the kernel counts it. Other processes "
            "on the same cores disturb it less, and it holds where the load generator was the "
            "limit. Answers a second are shown too."
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
    growth = {"sections": "sections", "payload": "bytes, 8 clients"}
    parts = []
    for name, (title, base) in closed.items():
        if name in results:
            parts += [f"## {title}", _closed_table(results[name]["closed"], base)]
    if "clients" in results:
        grows = results["clients"]["grows"]
        usual = ("gateway", "node", "nginx_lua")
        some = {step: {n: r[n] for n in usual if n in r} for step, r in grows.items()}
        parts += ["## Growth with clients", _growth_table(some, "clients")]
        parts += ["## 512 and 4,000 clients", _crowd_table(grows)]
    for name, what in growth.items():
        if name in results:
            parts += [f"## Growth with {name}", _growth_table(results[name]["grows"], what)]
    return parts


def markdown(results: Results) -> str:
    """Return the report; it omits scenarios that were not run and lists failed ones."""
    parts = _head(results) + _tables(results)
    if "megabyte" in results:
        parts += ["## 1 MB passed through, 8 clients", _megabyte(results)]
    if "features" in results:
        parts += ["## `select`, schema checks and `for_each`, 64 clients", _features(results)]
    if "redis" in results:
        parts.append("## Cached in Redis, a single client")
        parts += [_single(results["redis"]["closed"]), "No concurrent reads can be merged here."]
    if "delay" in results:
        parts.append("## Upstreams that take 20 ms, half load, open loop")
        parts.append(_delay_table(results["delay"]["open"]))
    if "in_flight" in results:
        parts.append("## 5,000 dashboards in flight, upstreams that take 1 s")
        parts.append(_memory(results["in_flight"]["memory"]))
    if "idle" in results:
        parts += ["## 5,000 idle keep-alive clients", _idle(results["idle"]["memory"])]
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
