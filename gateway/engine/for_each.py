"""Fan-out over a list: bounded, with each distinct call made once and each element failing alone.

Elements come from an existing value (a parameter, a landed section), or from another `for_each`
section one by one as they land, so that a slow element delays only itself. The result is a list in
the same order, or an object joined by key, which stays correct if an element is missing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from orjson import Fragment

from gateway.aio.tasks import run_all
from gateway.engine.batch import fetch_in_batches
from gateway.engine.context import Elements
from gateway.engine.outcome import Fault, LargeOutcome, Outcome, State, dependency_failed
from gateway.errors import CallError, DependencyFailed, ExpressionFailed, ListTruncated
from gateway.expressions.jmes import search
from gateway.expressions.reference import ABSENT, CutList
from gateway.offload import LARGE
from gateway.values.provenance import Provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.call import Response
    from gateway.engine.call import BoundSource
    from gateway.engine.context import Context
    from gateway.expressions.reference import Scope
    from gateway.plan.model import ForEach, Plan, Section

__all__ = ["ForEachRunner"]


class ForEachRunner:
    """Runs a section for each element of a list, and merges the results."""

    __slots__ = ("_followed", "_leader", "_section", "_source", "_spec")

    def __init__(self, plan: Plan, section: Section, spec: ForEach, source: BoundSource) -> None:
        self._section = section
        self._spec = spec
        self._source = source
        self._followed = bool(plan.followers[section.index])
        self._leader = None if spec.flows_from is None else plan.sections[spec.flows_from]

    def start(self, context: Context) -> None:
        """Start the elements."""
        context.spawn(self._section, self._all if self._leader is None else self._follow)

    async def _all(self, context: Context) -> Outcome:
        """Run the section for each element of an existing value."""
        spec, loop = self._spec, context.loop
        items, beyond = _items(context.scope, spec)
        keyed = spec.key is not None
        keys = _keys(items, spec)
        keyless = _keyless(keys) if keyed else {}
        landing: list[asyncio.Future[Outcome]] = []
        if self._followed:
            landing = [loop.create_future() for _ in items]
            context.opened(self._section, Elements(keys, landing, keyed, beyond))
        size = 0
        if spec.batch is not None:
            outcomes = await self._batched(context, items, keys, keyless)
        else:
            calls = _Distinct(context, self._source, spec)

            async def element(at: int) -> Outcome:
                outcome = keyless.get(at)
                if outcome is None:
                    outcome = await calls.outcome(items[at], keys[at])
                if landing:
                    landing[at].set_result(outcome)
                self._publish(context, keys[at], outcome, keyed=keyed)
                return outcome

            outcomes = await run_all(loop, [element(at) for at in range(len(items))])
            size = calls.size
        for future, outcome in zip(landing, outcomes, strict=False):
            if not future.done():
                future.set_result(outcome)
        together = _together(keys, outcomes, keyed=keyed, beyond=beyond)
        return together if size <= LARGE else await _written(self._section, together)

    async def _batched(
        self,
        context: Context,
        items: list[Any],
        keys: list[str | int],
        keyless: dict[int, Outcome],
    ) -> list[Outcome]:
        fetched = [at for at in range(len(items)) if at not in keyless]

        def landed(number: int, outcome: Outcome) -> None:
            self._publish(context, keys[fetched[number]], outcome, keyed=False)

        answers = await fetch_in_batches(
            context,
            self._source,
            self._spec,
            [items[at] for at in fetched],
            [keys[at] for at in fetched],
            landed,
        )
        found = keyless | dict(zip(fetched, answers, strict=True))
        return [found[at] for at in range(len(items))]

    async def _follow(self, context: Context) -> Outcome:
        """Take the elements of another section as they land."""
        spec, loop, leader = self._spec, context.loop, self._leader
        assert leader is not None  # noqa: S101 - checked by `start`
        elements = context.elements.get(leader.index)
        landed = context.outcomes[leader.index]
        if landed is not None and landed.state is State.FALLBACK:
            elements = _standing_in(loop, leader.name, landed.value)
        if elements is None:
            if landed is None or landed.state is State.SKIPPED:
                return Outcome(State.SKIPPED)
            raise dependency_failed(leader.name, landed)
        calls = _Distinct(context, self._source, spec)
        count = min(len(elements.landing), spec.limit)
        keys = elements.keys[:count]
        beyond = elements.beyond + len(elements.landing) - count
        own: list[asyncio.Future[Outcome]] = []
        if self._followed:
            own = [loop.create_future() for _ in range(count)]
            context.opened(self._section, Elements(keys, own, elements.keyed, beyond))

        async def element(at: int) -> Outcome:
            key = keys[at]
            source = await asyncio.shield(elements.landing[at])
            if source.usable:
                outcome = await calls.outcome(source.value, key)
            else:
                outcome = Outcome.failed(dependency_failed(leader.name, source), key)
            if own:
                own[at].set_result(outcome)
            self._publish(context, key, outcome, keyed=elements.keyed)
            return outcome

        outcomes = await run_all(loop, [element(at) for at in range(count)])
        together = _together(keys, outcomes, keyed=elements.keyed, beyond=beyond)
        return together if calls.size <= LARGE else await _written(self._section, together)

    def _publish(self, context: Context, key: str | int, outcome: Outcome, *, keyed: bool) -> None:
        """Publish an element, unless it has no key and so no place in the object."""
        if not (keyed and isinstance(key, int)):
            context.element_landed(self._section, key, outcome)


def _standing_in(loop: asyncio.AbstractEventLoop, name: str, value: Any) -> Elements:
    """Return the elements of a section whose fallback replaces its list."""
    if isinstance(value, dict):
        keys: list[str | int] = list(value)
        values = list(value.values())
    elif isinstance(value, list):
        keys = list(range(len(value)))
        values = value
    else:
        raise DependencyFailed(f"{{{name}}} is not a list")
    landing: list[asyncio.Future[Outcome]] = []
    for element in values:
        future = loop.create_future()
        future.set_result(Outcome(State.OK, element))
        landing.append(future)
    return Elements(keys, landing, isinstance(value, dict), 0)


def _items(scope: Scope, spec: ForEach) -> tuple[list[Any], int]:
    """Return the elements within the limit, and the number of those beyond it."""
    items = spec.items.find(scope)
    total = items.total if type(items) is CutList else None
    if items is ABSENT:
        return [], 0
    if not isinstance(items, list):
        what = "has no value" if items is None else "is not a list"
        raise DependencyFailed(f"{{{spec.items.text}}} {what}")
    return items[: spec.limit], max(0, (total or len(items)) - spec.limit)


def _keys(items: Sequence[Any], spec: ForEach) -> list[str | int]:
    """Return the key of each element, or its index if it has no key of its own."""
    if spec.key is None:
        return list(range(len(items)))
    keys: list[str | int] = []
    first: dict[str, Any] = {}
    for number, item in enumerate(items):
        key = _key(spec.key, item)
        # Of two elements with one key the object would silently lose one.
        if key is None or ((other := first.setdefault(key, item)) is not item and other != item):
            keys.append(number)
        else:
            keys.append(key)
    return keys


def _keyless(keys: Sequence[str | int]) -> dict[int, Outcome]:
    """Return the outcome of each element that has only its index for a key."""
    return {
        at: Outcome.failed(DependencyFailed(f"element {at} has no unique key"), at)
        for at, key in enumerate(keys)
        if isinstance(key, int)
    }


def _key(search_key: Callable[[Any], Any], item: Any) -> str | None:
    try:
        value = search(search_key, item, "key")
    except ExpressionFailed:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


class _Distinct:
    """The calls of one section; each distinct call is made once, with bounded concurrency.

    Attributes:
        size: total bytes of the elements' answers.
    """

    __slots__ = ("_context", "_in_flight", "_permits", "_source", "_spec", "size")

    def __init__(self, context: Context, source: BoundSource, spec: ForEach) -> None:
        self._context = context
        self._source = source
        self._spec = spec
        self._permits = asyncio.Semaphore(spec.concurrency)
        self._in_flight: dict[bytes, asyncio.Future[Response | CallError]] = {}
        self.size = 0

    async def outcome(self, item: Any, key: str | int) -> Outcome:
        context, source = self._context, self._source
        scope = {**context.scope, self._spec.element: item}
        try:
            # Two elements with the same target share one call; the second waits for the first.
            operation = source.operation(context, scope)
            identity = operation.identity
            in_flight = self._in_flight.get(identity)
            if in_flight is None:
                in_flight = self._in_flight[identity] = context.loop.create_future()
                try:
                    async with self._permits:
                        in_flight.set_result(await source.call(context, operation))
                except CallError as error:
                    in_flight.set_result(error)
                finally:
                    in_flight.cancel()  # for waiters, if it was never set
            answer = await asyncio.shield(in_flight)
            if isinstance(answer, CallError):
                return Outcome.failed(answer, key)
            self.size += len(answer.body)
            if source.fits(answer):
                return source.shape(answer)
            return await source.shape_large(answer)
        except CallError as error:
            return Outcome.failed(error, key)


def _together(
    keys: list[str | int],
    outcomes: list[Outcome],
    *,
    keyed: bool,
    beyond: int,
) -> Outcome:
    """Merge the outcomes of the elements into one."""
    faults = [fault for outcome in outcomes for fault in outcome.faults]
    if beyond:
        faults.append(
            Fault(
                ListTruncated(f"{beyond} elements beyond the limit of {len(keys)} were not fetched")
            )
        )
    good = [outcome for outcome in outcomes if outcome.usable]
    if outcomes and not good:
        return Outcome(State.FAILED, faults=tuple(faults))
    provenance = Provenance.of_all([outcome.provenance for outcome in good])
    return Outcome(
        State.STALE if provenance.stale else State.OK,
        _join(keys, [o.value for o in outcomes], keyed=keyed),
        _join(keys, [o.data for o in outcomes], keyed=keyed),
        faults=tuple(faults),
        provenance=provenance,
    )


async def _written(section: Section, outcome: Outcome) -> Outcome:
    """Write a large result as JSON in chunks; the merge would write it without a break."""
    if outcome.state is State.FAILED:
        return outcome
    try:
        if section.judged:
            outcome = LargeOutcome.of(outcome, await _json(outcome.value))
        if not section.hidden:
            outcome.written = await _json(outcome.data)
            outcome.data = Fragment(outcome.written)
    except TypeError:
        pass  # a value cannot be written as JSON; the merge reports it
    return outcome


async def _json(joined: Any) -> bytes:
    parts: list[bytes] = []
    size = 0
    keyed = isinstance(joined, dict)
    for key, value in joined.items() if keyed else enumerate(joined):
        part = orjson.dumps(value)
        parts.append(orjson.dumps(key) + b":" + part if keyed else part)
        size += len(part)
        if size > LARGE:
            size = 0
            await asyncio.sleep(0)
    whole = b",".join(parts)
    return b"{" + whole + b"}" if keyed else b"[" + whole + b"]"


def _join(keys: list[str | int], values: list[Any], *, keyed: bool) -> Any:
    if not keyed:
        return values
    joined: dict[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        if isinstance(key, str):  # an element without a key has no place in the object
            joined.setdefault(key, value)
    return joined
