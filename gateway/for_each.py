"""Fan-out over a list: bounded, distinct calls made once, each element failing alone.

Elements come from a value that is there (a parameter, a landed section) or flow from another
`for_each` section one by one as they land, so that one slow element holds up nothing but itself.
The result keeps the order of the list, or is an object joined by key: matching by key and not by
position is what keeps a list right when an element is missing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from gateway.errors import CallError, DependencyFailed, LimiterFull, UpstreamPayload
from gateway.outcome import Fault, Outcome, State
from gateway.reference import ABSENT
from gateway.shaping import dependency_failed, shape

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from gateway.call import Response
    from gateway.fanout import Walk
    from gateway.plan import ForEach, Section

__all__ = ["Elements", "run"]

T = TypeVar("T")


class Elements(NamedTuple):
    """The elements of a running section, for those that follow it.

    Attributes:
        keys: key of each element, or its index.
        landing: the outcome of each element, some day.
        keyed: the section's result is an object.
        beyond: how many elements the limit cut off.
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
    landing: list[asyncio.Future[Outcome]] = []
    if walk.plan.followers[section.index]:
        landing = [walk.loop.create_future() for _ in items]
        walk.opened(section, Elements(keys, landing, keyed, beyond))
    if spec.batch is not None:
        outcomes = await _batched(walk, section, spec, items, keys)
    else:
        calls = _Distinct(walk, section, spec)

        async def element(number: int) -> Outcome:
            key = keys[number]
            if keyed and isinstance(key, int):
                outcome = Outcome.failed(DependencyFailed(f"element {key} has no key"), key)
            else:
                outcome = await calls.outcome(items[number], key)
            if landing:
                landing[number].set_result(outcome)
            return outcome

        outcomes = await _all(walk, [element(number) for number in range(len(items))])
    for future, outcome in zip(landing, outcomes, strict=False):
        if not future.done():
            future.set_result(outcome)
    return _together(spec, keys, outcomes, keyed=keyed, beyond=beyond)


async def _follow(walk: Walk, section: Section, spec: ForEach, leader: int) -> Outcome:
    """Take the elements of another section as they land."""
    name = walk.plan.sections[leader].name
    elements = walk.elements.get(leader)
    if elements is None:
        landed = walk.outcomes[leader]
        if landed is None or landed.state is State.SKIPPED:
            return Outcome(State.SKIPPED)
        raise dependency_failed(name, landed)
    calls = _Distinct(walk, section, spec)
    count = min(len(elements.landing), spec.limit)
    own: list[asyncio.Future[Outcome]] = []
    if walk.plan.followers[section.index]:
        own = [walk.loop.create_future() for _ in range(count)]
        walk.opened(section, Elements(elements.keys[:count], own, elements.keyed, 0))

    async def element(number: int) -> Outcome:
        key = elements.keys[number]
        source = await asyncio.shield(elements.landing[number])
        if source.usable:
            outcome = await calls.outcome(source.value, key)
        else:
            outcome = Outcome.failed(dependency_failed(name, source), key)
        if own:
            own[number].set_result(outcome)
        return outcome

    outcomes = await _all(walk, [element(number) for number in range(count)])
    keys = elements.keys[:count]
    beyond = elements.beyond + len(elements.landing) - count
    return _together(spec, keys, outcomes, keyed=elements.keyed, beyond=beyond)


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
    if spec.key is None:
        return list(range(len(items)))
    return [_key(shape(spec.key, item, ""), number) for number, item in enumerate(items)]


def _key(value: Any, number: int) -> str | int:
    """Return the key of an element, or its index where it has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return number


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
                async with self._permits:
                    try:
                        under_way.set_result(await walk.fetch(section, source, scope))
                    except CallError as error:
                        under_way.set_result(error)
            answer = await asyncio.shield(under_way)
            if isinstance(answer, CallError):
                return Outcome.failed(answer, key)
            return walk.good(section, source, answer)
        except CallError as error:
            return Outcome.failed(error, key)


async def _batched(
    walk: Walk, section: Section, spec: ForEach, items: list[Any], keys: list[str | int]
) -> list[Outcome]:
    """Ask for up to `spec.batch` elements with one call, and split the answer by key."""
    assert spec.batch is not None  # noqa: S101 - asked by the caller
    source = section.sources[0]
    distinct = list(dict.fromkeys(_name(item) for item in items))
    by_name = {_name(item): item for item in items}
    permits = asyncio.Semaphore(spec.concurrency)

    async def chunk(names: list[str]) -> dict[str, Outcome]:
        scope = {**walk.scope, spec.element: [by_name[name] for name in names]}
        try:
            async with permits:
                response = await walk.fetch(section, source, scope)
            return _split(walk, section, spec, names, response)
        except CallError as error:
            return {name: Outcome.failed(error) for name in names}

    chunks = [distinct[at : at + spec.batch] for at in range(0, len(distinct), spec.batch)]
    found: dict[str, Outcome] = {}
    for part in await _all(walk, [chunk(names) for names in chunks]):
        found |= part
    outcomes = []
    for item, key in zip(items, keys, strict=True):
        outcome = found[_name(item)]
        if outcome.faults:  # the same fault strikes several elements, each under its own key
            outcome = Outcome(outcome.state, faults=(Fault(outcome.faults[0].error, key),))
        outcomes.append(outcome)
    return outcomes


def _split(
    walk: Walk, section: Section, spec: ForEach, names: list[str], response: Response
) -> dict[str, Outcome]:
    """Match the objects of one batched answer to what was asked for."""
    source = section.sources[0]
    if not isinstance(response.value, list):
        raise UpstreamPayload("a batched call is answered with a list", upstream=source.upstream)
    groups: dict[str, list[Any]] = {name: [] for name in names}
    for thing in response.value:
        name = _name(shape(spec.match, thing, source.upstream))
        if name in groups:
            groups[name].append(thing)
    outcomes = {}
    for name, things in groups.items():
        if not things and not spec.many:
            missing = UpstreamPayload(
                f"the answer has nothing for {name}", upstream=source.upstream
            )
            outcomes[name] = Outcome.failed(missing)
            continue
        good = walk.good(section, source, response)
        good.value = things if spec.many else things[0]
        good.data = good.value
        if section.select is not None:
            good.data = shape(section.select, good.value, source.upstream)
        outcomes[name] = good
    return outcomes


def _name(value: Any) -> str:
    """Return a scalar as text, so that the 1 of a list meets the "1" of an answer."""
    return value if isinstance(value, str) else str(value)


async def _all(walk: Walk, coroutines: list[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all at once and return their results in order; none outlives the caller."""
    if len(coroutines) == 1:
        return [await coroutines[0]]
    if not coroutines:
        return []
    tasks = [walk.loop.create_task(coroutine) for coroutine in coroutines]
    try:
        # A bug in one ends the others: one of them may wait for what it would have brought.
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return [task.result() for task in tasks]
    finally:
        running = [task for task in tasks if not task.done()]
        if running:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


def _together(
    spec: ForEach,
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
                LimiterFull(
                    f"{beyond} elements beyond the limit of {spec.limit} were not fetched",
                    retryable=False,
                )
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


def _worst(words: list[str]) -> str:
    """Return what the caches of all elements did, as the least good of them."""
    return next((word for word in words if word != "hit"), "hit") if words else ""
