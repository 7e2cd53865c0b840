"""`gateway probe`: calls each upstream once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from gateway.cache.refreshes import Refreshes
from gateway.cache.store import MemoryStore
from gateway.call import Deadline, Request
from gateway.commands.options import DEFAULT_CONFIG, ConfigFile, errors, output
from gateway.errors import CallError
from gateway.events import Events
from gateway.expressions.reference import ABSENT
from gateway.plan.load import load
from gateway.runtime import open_upstreams
from gateway.upstreams.kind import Sent
from gateway.upstreams.stack import Shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.call import Operation
    from gateway.plan.load import Loaded
    from gateway.upstreams.stack import Upstream

__all__ = ["probe"]


class Found(NamedTuple):
    """What one upstream answered."""

    upstream: str
    target: str
    verdict: str
    seconds: float
    size: int | None
    good: bool


def probe(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Call each upstream once, without retries or cache, and show status, time and bytes.

    It makes the first call of a dashboard that needs no other section's value. A parameter takes
    its default, its first example or the smallest value that it allows.
    Exits with status 1 if an upstream gives no good answer.
    """
    loaded = load(config)
    with errors().status("calling each upstream once ..."):
        found = asyncio.run(_probe(loaded))
    table = Table("upstream", "called", "answer", "time", "bytes", box=None, pad_edge=False)
    for row in found:
        color = "green" if row.good else "red"
        table.add_row(
            row.upstream,
            escape(row.target),
            f"[{color}]{escape(row.verdict)}[/{color}]",
            f"{row.seconds * 1000:.0f} ms",
            "-" if row.size is None else str(row.size),
        )
    output().print(table)
    if not all(row.good for row in found):
        raise typer.Exit(1)


async def _probe(loaded: Loaded) -> list[Found]:
    store = MemoryStore(1)
    events = Events()
    refreshes = Refreshes(events=events, clock=time.monotonic)
    upstreams = open_upstreams(loaded, Shared(store, refreshes, events))
    operations = dict(_operations(loaded))
    try:
        return await asyncio.gather(
            *(
                _one(upstream, operations.get(name, upstream.ping))
                for name, upstream in upstreams.items()
            )
        )
    finally:
        for upstream in upstreams.values():
            await upstream.aclose()
        await store.aclose()


async def _one(upstream: Upstream, operation: Operation) -> Found:
    began = time.monotonic()
    size: int | None = None
    try:
        response = await upstream.direct(Request(operation, Deadline(began + 60), "probe"))
        verdict, good, size = str(response.status), True, len(response.body)
    except CallError as error:
        # Any status except a server error shows that a server is there and speaks HTTP.
        good = error.status is not None and error.status < 500  # noqa: PLR2004
        verdict = f"{error.status or error.code}: {error.detail}"
    return Found(upstream.name, str(operation), verdict, time.monotonic() - began, size, good)


def _operations(loaded: Loaded) -> Iterator[tuple[str, Operation]]:
    """Yield for each upstream the first declared operation that needs parameters alone.

    Upstreams without such an operation are left out.
    """
    seen: set[str] = set()
    for plan in loaded.plans:
        scope = {p.name: _example(dict(p.schema)) for p in plan.parameters}
        for section in plan.sections:
            for source in section.sources:
                if source.upstream in seen:
                    continue
                here = dict(scope)
                if section.for_each is not None:
                    items = section.for_each.items.find(here)
                    if not isinstance(items, list) or not items:
                        continue
                    here[section.for_each.element] = items[0]
                try:
                    operation = source.template.operation(here, Sent())
                except CallError:
                    continue  # it refers to another section
                seen.add(source.upstream)
                yield source.upstream, operation


def _example(schema: dict[str, object]) -> object:
    """Return a plausible value for a parameter."""
    for keyword in ("default", "const", "minimum"):
        if keyword in schema:
            return schema[keyword]
    for keyword in ("examples", "enum"):
        values = schema.get(keyword)
        if isinstance(values, list) and values:
            return values[0]
    return {"integer": 1, "number": 1, "boolean": True, "string": "a"}.get(
        str(schema.get("type")), ABSENT
    )
