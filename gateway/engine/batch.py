"""Batched lists: fetches many elements with one call and splits the answer by element.

The answer to `?id=1&id=2` is a list in any order; each returned object is matched to its element.
An element without an object fails alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.aio.tasks import run_all
from gateway.call import Response
from gateway.engine.outcome import Fault, Outcome
from gateway.errors import CallError, DependencyFailed, ExpressionFailed, UpstreamPayload
from gateway.expressions.jmes import search
from gateway.offload import SMALL, UNDECODED
from gateway.values.excerpt import shortened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gateway.engine.call import BoundSource
    from gateway.engine.context import Context
    from gateway.plan.model import ForEach

__all__ = ["fetch_in_batches"]

# Work that is done without yielding to the event loop.
_THINGS = 1000
_PARTS = 32


async def fetch_in_batches(
    context: Context,
    source: BoundSource,
    spec: ForEach,
    items: list[Any],
    keys: Sequence[str | int],
    landed: Callable[[int, Outcome], None],
) -> list[Outcome]:
    """Fetch up to `spec.batch` elements with one call; return the outcome of each.

    `landed` is called with the index and the outcome of each element as soon as it is known.
    """
    assert spec.batch is not None  # noqa: S101 - checked by the caller
    places: dict[str | None, list[int]] = {}
    for at, item in enumerate(items):
        places.setdefault(_name(item), []).append(at)
    distinct = [name for name in places if name is not None]
    permits = asyncio.Semaphore(spec.concurrency)
    outcomes: dict[int, Outcome] = {}

    def land(name: str | None, outcome: Outcome) -> None:
        for at in places[name]:
            own = outcome
            if own.faults:  # the same fault strikes several elements, each under its own key
                own = Outcome(own.state, faults=(Fault(own.faults[0].error, keys[at]),))
            outcomes[at] = own
            landed(at, own)

    async def chunk(requested: list[str]) -> None:
        scope = {**context.scope, spec.element: [items[places[name][-1]] for name in requested]}
        try:
            async with permits:
                response = await source.fetch(context, scope)
            found = await _split(source, spec, requested, response)
        except CallError as error:
            found = {name: Outcome.failed(error) for name in requested}
        for name, outcome in found.items():
            land(name, outcome)

    if None in places:
        detail = "the element is not a single value that a query can carry"
        land(None, Outcome.failed(DependencyFailed(detail)))
    chunks = [distinct[at : at + spec.batch] for at in range(0, len(distinct), spec.batch)]
    await run_all(context.loop, [chunk(requested) for requested in chunks])
    return [outcomes[at] for at in range(len(items))]


async def _split(
    source: BoundSource, spec: ForEach, requested: list[str], response: Response
) -> dict[str | None, Outcome]:
    """Match the objects of one answer to the requested elements."""
    groups: dict[str | None, list[Any]] = {name: [] for name in requested}
    async for things in _things(source, response):
        for thing in things:
            try:
                name = _name(search(spec.match, thing, "match"))
            except ExpressionFailed:  # it belongs to no element
                continue
            if name in groups:
                groups[name].append(thing)
    parts: dict[str | None, Outcome] = {}
    large = len(response.body) > SMALL
    for number, name in enumerate(requested):
        parts[name] = _part(source, spec, name, groups[name], response)
        if large and number % _PARTS == _PARTS - 1:
            await asyncio.sleep(0)
    return parts


async def _things(source: BoundSource, response: Response) -> AsyncIterator[list[Any]]:
    """Yield the returned objects in chunks, so that other tasks can run in between."""
    value, upstream = response.value, source.source.upstream
    if value is UNDECODED and source.offload is not None:
        async for things in source.offload.elements(upstream, response.body):
            yield things
        return
    if not isinstance(value, list):
        raise UpstreamPayload("the answer to a batched call is not a list", upstream=upstream)
    yield value[:_THINGS]
    for start in range(_THINGS, len(value), _THINGS):
        await asyncio.sleep(0)
        yield value[start : start + _THINGS]


def _part(
    source: BoundSource, spec: ForEach, name: str, things: list[Any], response: Response
) -> Outcome:
    """Return the outcome of one element; its `select` sees only its own objects."""
    if not things and not spec.many:
        missing = f"the answer has nothing for {shortened(name)}"
        return Outcome.failed(UpstreamPayload(missing, upstream=source.source.upstream))
    own = Response(things if spec.many else things[0], provenance=response.provenance)
    try:
        return source.shape(own)
    except CallError as error:
        return Outcome.failed(error)


def _name(value: Any) -> str | None:
    """Return a scalar as text, so that 1 in the list matches "1" in the answer."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, (int, float)) else None
