"""Configurations of the gateway under test: every feature on, with and without a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import work

if TYPE_CHECKING:
    from pathlib import Path

_QUEUE = 20_000  # 4,000 clients of three sections wait for 512 places
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
    """Write a configuration; concurrency limit, timeout, retry and breaker are always enabled.

    Every section is required, as it is for the peers: a missing section makes the answer an error,
    which fails the round. Otherwise a round of quick refusals would look fast. The queue is long
    enough for the highest concurrency of any scenario.

    Args:
        path: the file to write.
        base: URL of the upstream.
        cache: cache answers for an hour.
        declared: number of further dashboards, declared before those of the work.
        concurrency: calls in flight to an upstream.
        only: dashboards of the work to declare; all of them by default.
        second: one base URL for each section of the dashboard `second3`, with long timeouts.
    """
    cached = ", cache: {ttl: 1h}" if cache else ""
    rest = f"retry: {{}}, breaker: {{}}, queue: {_QUEUE}, queue_timeout: 10s"
    plain = {"concurrency": concurrency, "rest": rest, "cache": cached}
    lines = ["upstreams:\n", _UPSTREAM.format(name="up", base=base, **plain)]
    patient = plain | {
        "rest": f"retry: {{}}, breaker: {{}}, timeout: 25s, queue: {_QUEUE}, queue_timeout: 20s, "
        "connect_timeout: 20s",
    }
    for number, url in enumerate(second or []):
        lines.append(_UPSTREAM.format(name=f"up{number}", base=url, **patient))
    lines.append("dashboards:\n")
    for number in range(declared):
        lines.extend(_plain(f"other{number}", {"s0": "/a.json", "s1": "/b.json"}, {}))
    for name, sections in work.dashboards().items():
        if only and name not in only:
            continue
        owners = {s: f"up{n}" for n, s in enumerate(sections)} if name == "second3" else {}
        lines.extend(_plain(name, sections, owners if second else {}))
    for name, features in work.features().items():
        if not only or name in only:
            lines.extend(_dashboard(name, features))
    path.write_text("".join(lines))
    return path


def optional_sections(name: str) -> str:
    """Return the sections of a dashboard of the work; none is required, and each calls `up`."""
    sections = work.dashboards()[name].items()
    return "".join(f'      {section}: {{get: "up:{path}"}}\n' for section, path in sections)


def _plain(name: str, paths: dict[str, str], owners: dict[str, str]) -> list[str]:
    sources = {section: f"{owners.get(section, 'up')}:{path}" for section, path in paths.items()}
    return _dashboard(name, {section: f'get: "{source}"' for section, source in sources.items()})


def _dashboard(name: str, sections: dict[str, str]) -> list[str]:
    lines = [f"  {name}:\n", f"    path: /{name}\n", "    deadline: 30s\n", "    sections:\n"]
    lines += [f"      {name}: {{{keys}, required: true}}\n" for name, keys in sections.items()]
    return lines
