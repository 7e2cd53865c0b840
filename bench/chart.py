"""A chart without a library: bars of the cold fan-out and four curves of growth, as SVG."""

from __future__ import annotations

import math
from html import escape
from typing import Any

import peers
import stats

_COLOURS = {"gateway": "#2563eb", "node": "#16a34a", "nginx_lua": "#9333ea",
            "rust": "#b45309", "go": "#0891b2", "aiohttp": "#ea580c"}  # fmt: skip
_LABELS = {"gateway": "the gateway", "before": "the gateway before"} | {
    name: label for name, (label, _) in peers.PEERS.items()
}
_WIDTH, _BARS, _PANEL = 860, 34, 210
_GROWTH = {
    "sections": "p50 by sections, 64 clients",
    "payload": "p50 by payload, 8 clients",
    "clients": "p50 by clients",
    "declared": "p50 by declared dashboards",
}


def svg(results: dict[str, Any]) -> str:
    """Return the chart of one run."""
    bars = _bars(results.get("cold", {}).get("closed", {}))
    top = 60 + len(bars) * _BARS
    panels = []
    for number, (name, title) in enumerate(_GROWTH.items()):
        steps = _steps(results.get(name, {}))
        x, y = 20 + (number % 2) * 420, top + 30 + (number // 2) * (_PANEL + 30)
        panels.append(_panel(title, steps, x, y) if steps else "")
    height = top + 2 * (_PANEL + 30) + 50
    rows = "".join(bar.replace("@Y", str(44 + index * _BARS)) for index, bar in enumerate(bars))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#111">'
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>'
        '<text x="20" y="26" font-size="16">Cold fan-out of 3, 64 clients, one core: '
        "answers a second (line: least to most)</text>"
        f"{rows}{''.join(panels)}{_legend(height - 18)}</svg>\n"
    )


def _bars(rows: dict[str, stats.Rows]) -> list[str]:
    shown = {name: stats.of(found) for name, found in rows.items() if name in _LABELS}
    most = max((s.most for s in shown.values()), default=1.0)
    scale = 440 / most
    found = []
    for name, rate in sorted(shown.items(), key=lambda item: -item[1].median):
        label, colour = escape(_LABELS[name]), _COLOURS.get(name, "#6b7280")
        found.append(
            f'<g transform="translate(0 @Y)"><text x="250" y="16" text-anchor="end">{label}</text>'
            f'<rect x="260" y="3" height="18" width="{max(1.0, rate.median * scale):.1f}" '
            f'fill="{colour}"/>'
            f'<line x1="{260 + rate.least * scale:.1f}" x2="{260 + rate.most * scale:.1f}" y1="12" '
            'y2="12" stroke="#111"/>'
            f'<text x="{268 + rate.most * scale:.1f}" y="16">{rate.median:,.0f}</text></g>'
        )
    return found


def _steps(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the median p50 in ms, by step and name."""
    if "grows" in figures:
        return {
            step: {
                name: stats.of(found, "p50").median * 1e3
                for name, found in rows.items()
                if name in _COLOURS
            }
            for step, rows in figures["grows"].items()
        }
    return {
        name.removeprefix("declared"): {"gateway": stats.of(found, "p50").median * 1e3}
        for name, found in figures.get("closed", {}).items()
    }


def _panel(title: str, steps: dict[str, dict[str, float]], x: int, y: int) -> str:
    values = [value for rows in steps.values() for value in rows.values()]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def place(index: int, value: float) -> tuple[float, float]:
        across = 50 + index * 320 / max(1, len(steps) - 1)
        return across, 180 - (math.log10(value) - low) / (high - low) * 150

    parts = [f'<g transform="translate({x} {y})"><text x="0" y="12">{escape(title)} (ms)</text>']
    for power in range(low, high + 1):
        level, tick = place(0, 10.0**power)[1], f"{10.0**power:g}"
        parts.append(
            f'<line x1="50" x2="370" y1="{level:.1f}" y2="{level:.1f}" stroke="#e5e7eb"/>'
            f'<text x="44" y="{level + 4:.1f}" text-anchor="end" font-size="11">{tick}</text>'
        )
    for index, step in enumerate(steps):
        parts.append(
            f'<text x="{place(index, 1)[0]:.1f}" y="198" text-anchor="middle" font-size="11">'
            f"{escape(step)}</text>"
        )
    for name in dict.fromkeys(name for rows in steps.values() for name in rows):
        dots = [place(i, rows[name]) for i, rows in enumerate(steps.values()) if name in rows]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in dots)
        colour = _COLOURS.get(name, "#6b7280")
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in dots]
    return "".join(parts) + "</g>"


def _legend(y: int) -> str:
    parts, x = [], 20.0
    for name, colour in _COLOURS.items():
        parts.append(
            f'<rect x="{x:.0f}" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
            f'<text x="{x + 17:.0f}" y="{y}">{escape(_LABELS[name])}</text>'
        )
        x += 30 + 6.2 * len(_LABELS[name])
    return "".join(parts)
