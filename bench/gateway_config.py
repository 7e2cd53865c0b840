"""Configurations of the gateway under test: every feature on, with and without a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import work

if TYPE_CHECKING:
    from pathlib import Path

_UPSTREAM = '  {name}: {{base_url: "{base}", concurrency: {concurrency}, {rest}{cache}}}\n'


def write(
    path: Path,
    base: str,
    *,
    cache: bool = False,
    declared: int = 0,
    concurrency: int = 512,
    second: list[str] | None = None,
    only: list[str] | None = None,
) -> Path:
    """Write a configuration; limiter, timeout, retry and breaker are on in each.

    Every section is required, as it is for the peers: one that is missing makes the answer an
    error, which fails the round. Else a round of quick refusals would pass for a fast one. The
    queue is long enough for the most that any scenario asks for at once.

    Args:
        path: where to.
        base: URL of the upstream.
        cache: keep answers for an hour.
        declared: dashboards declared beside those of the work, before them.
        concurrency: calls in flight to an upstream.
        only: dashboards of the work to declare; all of them by default.
        second: for the dashboard `second3` one base URL for each section, with generous times.
    """
    kept = ", cache: {ttl: 1h}" if cache else ""
    rest = "retry: {}, breaker: {}, queue: 10000, queue_timeout: 10s"
    plain = {"concurrency": concurrency, "rest": rest, "cache": kept}
    lines = ["upstreams:\n", _UPSTREAM.format(name="up", base=base, **plain)]
    patient = plain | {
        "rest": "retry: {}, breaker: {}, timeout: 25s, queue: 10000, queue_timeout: 20s, "
        "connect_timeout: 20s",
    }
    for number, url in enumerate(second or []):
        lines.append(_UPSTREAM.format(name=f"up{number}", base=url, **patient))
    lines.append("dashboards:\n")
    for number in range(declared):
        lines.extend(_dashboard(f"other{number}", {"s0": "/a.json", "s1": "/b.json"}, {}))
    for name, sections in work.dashboards().items():
        if only and name not in only:
            continue
        owners = {s: f"up{n}" for n, s in enumerate(sections)} if name == "second3" else {}
        lines.extend(_dashboard(name, sections, owners if second else {}))
    path.write_text("".join(lines))
    return path


def _dashboard(name: str, sections: dict[str, str], owners: dict[str, str]) -> list[str]:
    lines = [f"  {name}:\n", f"    path: /{name}\n", "    deadline: 30s\n", "    sections:\n"]
    for section, target in sections.items():
        source = f"{owners.get(section, 'up')}:{target}"
        lines.append(f'      {section}: {{get: "{source}", required: true}}\n')
    return lines
