"""Fan-out over a list: bounded, distinct calls made once, each element failing alone.

Elements come from a value that is there (a parameter, a landed section) or flow from another
`for_each` section one by one as they land, so that one slow element holds up nothing but itself.
The result keeps the order of the list, or is an object joined by key: matching by key and not by
position is what keeps a list right when an element is missing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.aio.tasks import run_all
from gateway.engine import batch
from gateway.engine.outcome import Fault, Outcome, State, dependency_failed
from gateway.errors import CallError, DependencyFailed, ExpressionFailed, ListTruncated
from gateway.expressions.jmes import search
from gateway.expressions.reference import ABSENT
from gateway.values.restrictions import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.call import Response
    from gateway.engine.execution import Walk
    from gateway.plan.model import ForEach, Section
    from gateway.values.restrictions import Restriction

__all__ = ["Elements", "run"]


class Elements(NamedTuple):
    """The elements of a running section, for those that follow it.

    Attributes:
        keys: key of each element, or its index.
        landing: the outcome of each element, some day.
        keyed: the section's result is an object.
        beyond: how many elements the limits so far cut off.
    """

    keys: list[str | int]
    landing: list[asyncio.Future[Outcome]]
    keyed: bool
    beyond: int


async def run(walk: Walk, section: Section, spec: ForEach) -> Outcome:
    """Run `section` for each of its elements and put the results together."""
    if spec.flows_from is not None:
        return await _follow(walk, section, spec, spec.flows_from)
    items, beyond = _items(walk, spec)
    keyed = spec.key is not None
    keys = _keys(items, spec)
    keyless = {
        number: Outcome.failed(DependencyFailed(f"element {number} has no key of its own"), number)
        for number, key in enumerate(keys)
        if keyed and isinstance(key, int)
    }
    landing: list[asyncio.Future[Outcome]] = []
    if walk.plan.followers[section.index]:
        landing = [walk.loop.create_future() for _ in items]
        walk.opened(section, Elements(keys, landing, keyed, beyond))
    if spec.batch is not None:
        asked = [number for number in range(len(items)) if number not in keyless]
        answered = await batch.run(
            walk, section, spec, [items[n] for n in asked], [keys[n] for n in asked]
        )
        found = keyless | dict(zip(asked, answered, strict=True))
        outcomes = [found[number] for number in range(len(items))]
    else:
        calls = _Distinct(walk, section, spec)

        async def element(number: int) -> Outcome:
            outcome = keyless.get(number)
            if outcome is None:
                outcome = await calls.outcome(items[number], keys[number])
            if landing:
                landing[number].set_result(outcome)
            return outcome

        outcomes = await run_all(walk.loop, [element(n) for n in range(len(items))])
    for future, outcome in zip(landing, outcomes, strict=False):
        if not future.done():
            future.set_result(outcome)
    return _together(keys, outcomes, keyed=keyed, beyond=beyond)


async def _follow(walk: Walk, section: Section, spec: ForEach, leader: int) -> Outcome:
    """Take the elements of another section as they land."""
    name = walk.plan.sections[leader].name
    elements = walk.elements.get(leader)
    landed = walk.outcomes[leader]
    if landed is not None and landed.state is State.FALLBACK:
        elements = _standing_in(walk, name, landed.value)
    if elements is None:
        if landed is None or landed.state is State.SKIPPED:
            return Outcome(State.SKIPPED)
        raise dependency_failed(name, landed)
    calls = _Distinct(walk, section, spec)
    count = min(len(elements.landing), spec.limit)
    keys = elements.keys[:count]
    beyond = elements.beyond + len(elements.landing) - count
    own: list[asyncio.Future[Outcome]] = []
    if walk.plan.followers[section.index]:
        own = [walk.loop.create_future() for _ in range(count)]
        walk.opened(section, Elements(keys, own, elements.keyed, beyond))

    async def element(number: int) -> Outcome:
        key = keys[number]
        source = await asyncio.shield(elements.landing[number])
        if source.usable:
            outcome = await calls.outcome(source.value, key)
        else:
            outcome = Outcome.failed(dependency_failed(name, source), key)
        if own:
            own[number].set_result(outcome)
        return outcome

    outcomes = await run_all(walk.loop, [element(number) for number in range(count)])
    return _together(keys, outcomes, keyed=elements.keyed, beyond=beyond)


def _standing_in(walk: Walk, name: str, value: Any) -> Elements:
    """Return the elements of a section whose fallback stands in for its list."""
    if isinstance(value, dict):
        keys: list[str | int] = list(value)
        values = list(value.values())
    elif isinstance(value, list):
        keys = list(range(len(value)))
        values = value
    else:
        raise DependencyFailed(f"{{{name}}} is no list")
    landing: list[asyncio.Future[Outcome]] = []
    for element in values:
        future = walk.loop.create_future()
        future.set_result(Outcome(State.OK, element))
        landing.append(future)
    return Elements(keys, landing, isinstance(value, dict), 0)


def _items(walk: Walk, spec: ForEach) -> tuple[list[Any], int]:
    """Return the elements within the limit, and how many are beyond it."""
    items = spec.items.find(walk.scope)
    if items is ABSENT:
        return [], 0
    if not isinstance(items, list):
        what = "has no value" if items is None else "is no list"
        raise DependencyFailed(f"{{{spec.items.text}}} {what}")
    return items[: spec.limit], max(0, len(items) - spec.limit)


def _keys(items: Sequence[Any], spec: ForEach) -> list[str | int]:
    """Return the key of each element, or its index where it has none of its own."""
    if spec.key is None:
        return list(range(len(items)))
    keys: list[str | int] = []
    first: dict[str, Any] = {}
    for number, item in enumerate(items):
        key = _key(spec.key, item)
        # Two elements of one key: the object would silently lose one of them.
        if key is None or ((other := first.setdefault(key, item)) is not item and other != item):
            keys.append(number)
        else:
            keys.append(key)
    return keys


def _key(search_key: Callable[[Any], Any], item: Any) -> str | None:
    try:
        value = search(search_key, item, "key")
    except ExpressionFailed:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


class _Distinct:
    """The calls of one section, each distinct one made once and so many at a time."""

    __slots__ = ("_permits", "_section", "_spec", "_under_way", "_walk")

    def __init__(self, walk: Walk, section: Section, spec: ForEach) -> None:
        self._walk = walk
        self._section = section
        self._spec = spec
        self._permits = asyncio.Semaphore(spec.concurrency)
        self._under_way: dict[str, asyncio.Future[Response | CallError]] = {}

    async def outcome(self, item: Any, key: str | int) -> Outcome:
        walk, section = self._walk, self._section
        source = section.sources[0]
        scope = {**walk.scope, self._spec.element: item}
        try:
            # Two elements that make the same target make one call; the second waits for the first.
            target = source.template.render(scope)
            under_way = self._under_way.get(target)
            if under_way is None:
                under_way = self._under_way[target] = walk.loop.create_future()
                try:
                    async with self._permits:
                        under_way.set_result(await walk.fetch(section, source, scope))
                except CallError as error:
                    under_way.set_result(error)
                finally:
                    under_way.cancel()  # for those that wait, where it was never set
            answer = await asyncio.shield(under_way)
            if isinstance(answer, CallError):
                return Outcome.failed(answer, key)
            return walk.good(section, source, answer)
        except CallError as error:
            return Outcome.failed(error, key)


def _together(
    keys: list[str | int],
    outcomes: list[Outcome],
    *,
    keyed: bool,
    beyond: int,
) -> Outcome:
    """Make one outcome of the elements'."""
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
    state = State.STALE if any(o.state is State.STALE for o in good) else State.OK
    kept = [o.as_of for o in good if o.as_of is not None]
    fresh = [o.fresh_until for o in good]
    return Outcome(
        state,
        _join(keys, [o.value for o in outcomes], keyed=keyed),
        _join(keys, [o.data for o in outcomes], keyed=keyed),
        faults=tuple(faults),
        as_of=min(kept) if kept else None,
        fresh_until=_least(fresh),
        reason=next((o.reason for o in good if o.reason is not None), None),
        cache=_worst([o.cache for o in good]),
        restrictions=_all_of([o.restrictions for o in good]),
    )


def _join(keys: list[str | int], values: list[Any], *, keyed: bool) -> Any:
    if not keyed:
        return values
    joined: dict[str, Any] = {}
    for key, value in zip(keys, values, strict=True):
        if isinstance(key, str):  # an element without a key has no place in an object
            joined.setdefault(key, value)
    return joined


def _least(moments: list[float | None]) -> float | None:
    """Return the first moment at which one of several is no longer fresh."""
    known = [moment for moment in moments if moment is not None]
    return min(known) if known and len(known) == len(moments) else None


def _all_of(restrictions: list[Restriction]) -> Restriction:
    """Return what any of several answers forbids."""
    found = UNRESTRICTED
    for each in restrictions:
        if each:
            found |= each
    return found


def _worst(words: list[str]) -> str:
    """Return what the caches of all elements did, as the least good of them."""
    return next((word for word in words if word != "hit"), "hit") if words else ""
