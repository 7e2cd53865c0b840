"""Explains what one request would do, without calling an upstream.

Pure: takes a loaded configuration and a path, and returns an `Explanation`, which is data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote

from gateway.errors import CallError, GatewayError
from gateway.expressions.parameter import InvalidParameterError
from gateway.expressions.reference import ABSENT
from gateway.plan.path import path_shape
from gateway.plan.prune import SECTIONS, UnknownSectionsError, named, pruned
from gateway.values.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

    from gateway.config.models import UpstreamConfig
    from gateway.plan.load import Loaded
    from gateway.plan.model import Plan, Section

__all__ = ["Explanation", "NoSuchPathError", "Step", "explain"]


class NoSuchPathError(GatewayError):
    """No dashboard answers the path."""


@dataclass(frozen=True, slots=True)
class Step:
    """One section of a plan.

    Attributes:
        name: name of the section.
        starts: what it waits for and by which references, in words.
        calls: `upstream target` of each source; targets that need another section's value show
            their template.
        most_calls: most requests that it can make, retries included.
        slowest: most seconds that it and the sections it waits for can take, if every attempt
            times out.
        cache: its freshness, in words.
        key: the cache key of its answers in words: upstream, method, target and forwarded header
            fields, one text for each source.
        notes: required, hidden, fallback, when ...
    """

    name: str
    starts: str
    calls: tuple[str, ...]
    most_calls: int
    slowest: float
    cache: str
    key: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A whole plan.

    Attributes:
        dashboard: name of the dashboard.
        path: its path as declared.
        parameters: values of the parameters that are known.
        deadline: seconds for the whole answer.
        waves: names of sections, grouped by the length of their longest chain of dependencies.
        steps: the sections in the order of declaration.
        warnings: what will not work as declared.
    """

    dashboard: str
    path: str
    parameters: Mapping[str, Any]
    deadline: float
    waves: tuple[tuple[str, ...], ...]
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]

    @property
    def most_calls(self) -> int:
        """Most requests that one answer can cost."""
        return sum(step.most_calls for step in self.steps)


def explain(loaded: Loaded, url: SplitResult) -> Explanation:
    """Explain the request for a path such as `/dashboard/1?x=y`, or a declared `/dashboard/{id}`.

    With `sections` in the query only those sections and what they need are explained.

    Raises:
        NoSuchPathError: no dashboard has this path, or its parameters or sections are invalid.
    """
    plan, texts = _find(loaded, url.path)
    given = parse_qs(url.query, keep_blank_values=True)
    scope = _scope(plan, texts, given)
    plan = _selected(plan, given.get(SECTIONS))
    upstreams = loaded.config.upstreams
    estimates = _estimates(plan, scope, upstreams)
    warnings = list(_late_sections(plan, estimates))
    if "{" not in url.path:
        warnings += [
            f"{parameter.name} is required; a request without it is refused"
            for parameter in plan.parameters
            if parameter.name not in scope
        ]
    return Explanation(
        dashboard=plan.name,
        path=plan.path,
        parameters={k: None if v is ABSENT else v for k, v in scope.items()},
        deadline=plan.deadline,
        waves=_waves(plan, estimates),
        steps=tuple(
            _step(plan, section, scope, upstreams, estimates[section.index])
            for section in plan.sections
        ),
        warnings=tuple(warnings),
    )


class _Estimate(NamedTuple):
    """The bounds of one section.

    Attributes:
        depth: length of the longest chain of sections that it waits for.
        elements: most elements of its list.
        first: seconds until it lands if every first attempt takes its whole timeout.
        slowest: seconds until it lands if every attempt times out.
    """

    depth: int
    elements: int
    first: float
    slowest: float


def _estimates(
    plan: Plan, scope: Mapping[str, Any], upstreams: Mapping[str, UpstreamConfig]
) -> dict[int, _Estimate]:
    """Return the bounds of every section, by its index."""
    estimates: dict[int, _Estimate] = {}
    for section in _in_order(plan):
        before = [estimates[index] for index in section.inputs]
        called = [upstreams[source.upstream] for source in section.sources]
        elements = _elements(plan, section, scope, estimates)
        rounds = _rounds(section, elements)
        estimates[section.index] = _Estimate(
            depth=1 + max((e.depth for e in before), default=-1),
            elements=elements,
            first=max(u.timeout for u in called) + max((e.first for e in before), default=0.0),
            slowest=rounds * max(map(_slowest_call, called))
            + max((e.slowest for e in before), default=0.0),
        )
    return estimates


def _waves(plan: Plan, estimates: Mapping[int, _Estimate]) -> tuple[tuple[str, ...], ...]:
    deepest = max(estimate.depth for estimate in estimates.values())
    return tuple(
        tuple(s.name for s in plan.sections if estimates[s.index].depth == level)
        for level in range(deepest + 1)
    )


def _late_sections(plan: Plan, estimates: Mapping[int, _Estimate]) -> Iterator[str]:
    """Yield a warning for each section that the deadline can end before its first attempts do.

    Retries are left out because the deadline ends them anyway. Single attempts in a row that
    cannot fit into the deadline are a mistake in the configured times.
    """
    for section in plan.sections:
        first = estimates[section.index].first
        if first > plan.deadline:
            yield (
                f"{section.name}: the timeouts on its way add up to {first:g} s, but "
                f"the deadline is {plan.deadline:g} s"
            )


def _find(loaded: Loaded, path: str) -> tuple[Plan, dict[str, str]]:
    for plan in loaded.plans:
        if path_shape(plan.path) == path_shape(path) and ("{" in path or plan.path == path):
            return plan, {}
    if len(path) > 1 and path.endswith("/") and not path.endswith("//"):
        try:
            return _matching(loaded, path)
        except NoSuchPathError:
            return _find(loaded, path[:-1])
    return _matching(loaded, path)


def _matching(loaded: Loaded, path: str) -> tuple[Plan, dict[str, str]]:
    segments = path.split("/")
    # A literal segment beats a parameter, from left to right, as in the routing of requests.
    for plan in sorted(loaded.plans, key=lambda p: [s.startswith("{") for s in p.path.split("/")]):
        declared = plan.path.split("/")
        if len(declared) == len(segments) and all(
            d.startswith("{") or d in {s, unquote(s)}
            for d, s in zip(declared, segments, strict=True)
        ):
            texts = {
                d[1:-1]: s for d, s in zip(declared, segments, strict=True) if d.startswith("{")
            }
            return plan, texts
    close = suggest(path, [plan.path for plan in loaded.plans])
    raise NoSuchPathError(f"no dashboard has the path {path}{close}")


def _selected(plan: Plan, names: list[str] | None) -> Plan:
    """Return the plan of the sections that the request names, or the whole one."""
    if names is None:
        return plan
    places = {section.name: section.index for section in plan.sections if not section.hidden}
    try:
        return pruned(plan, named(names, places))
    except UnknownSectionsError as error:
        raise NoSuchPathError(f"{SECTIONS} {error}") from None


def _scope(plan: Plan, texts: Mapping[str, str], given: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return the values of known parameters; a declared path has none."""
    scope: dict[str, Any] = {}
    for parameter in plan.parameters:
        found = (
            [unquote(texts[parameter.name])]
            if parameter.name in texts
            else given.get(parameter.name)
        )
        try:
            if found:
                scope[parameter.name] = parameter.read(found)
            elif parameter.default is not None:
                scope[parameter.name] = parameter.default
            elif not parameter.required:
                scope[parameter.name] = ABSENT
        except InvalidParameterError as error:
            raise NoSuchPathError(f"{error.parameter} {error}") from None
    return scope


def _in_order(plan: Plan) -> list[Section]:
    """Return the sections, each after those that it waits for."""
    ordered: list[Section] = []
    placed: set[int] = set()
    left = list(plan.sections)
    while left:
        ready = [s for s in left if placed.issuperset(s.inputs)]
        ordered += ready
        placed |= {s.index for s in ready}
        left = [s for s in left if s.index not in placed]
    return ordered


def _most_calls(upstream: UpstreamConfig) -> int:
    """Return how many requests one call can become: each attempt can be hedged once."""
    attempts = upstream.retry.attempts if upstream.retry else 1
    return attempts * (2 if upstream.hedge else 1)


def _slowest_call(upstream: UpstreamConfig) -> float:
    attempts = upstream.retry.attempts if upstream.retry else 1
    pauses = upstream.retry.cap * (attempts - 1) if upstream.retry else 0.0
    return upstream.timeout * attempts + pauses


def _step(
    plan: Plan,
    section: Section,
    scope: Mapping[str, Any],
    upstreams: Mapping[str, UpstreamConfig],
    estimate: _Estimate,
) -> Step:
    attempts = sum(_most_calls(upstreams[source.upstream]) for source in section.sources)
    calls = tuple(
        _call(section, source.upstream, source.template, scope) for source in section.sources
    )
    return Step(
        name=section.name,
        starts=_starts(plan, section),
        calls=calls,
        most_calls=attempts * _batches(section, estimate.elements),
        slowest=estimate.slowest,
        cache=_cache(section, upstreams),
        key=tuple(
            _key(call, upstreams[source.upstream])
            for source, call in zip(section.sources, calls, strict=True)
        ),
        notes=tuple(_notes(section)),
    )


def _starts(plan: Plan, section: Section) -> str:
    names = [
        f"{plan.sections[need].name} ({_reasons(section, plan.sections[need].name)})"
        for need in section.needs
    ]
    words = f"after {' and '.join(names)}" if names else "at once"
    if section.for_each is not None and section.for_each.flows_from is not None:
        leader = plan.sections[section.for_each.flows_from].name
        each = f"each element as soon as {leader} has it"
        words = f"{words}, {each}" if names else each
    return words


def _reasons(section: Section, name: str) -> str:
    """Return the references by which a section waits for another."""
    found = [r for source in section.sources for r in source.template.references if r.root == name]
    if section.for_each is not None and section.for_each.items.root == name:
        found.append(section.for_each.items)
    return ", ".join(dict.fromkeys(f"{{{r.text}}}" for r in found)) or "when"


def _key(call: str, upstream: UpstreamConfig) -> str:
    name, _, target = call.partition(" ")
    apart = f" by {', '.join(upstream.apart_by)}" if upstream.apart_by else ""
    return f"{name} GET {target}{apart}"


def _call(section: Section, upstream: str, template: Any, scope: Mapping[str, Any]) -> str:
    try:
        return f"{upstream} {template.explain(dict(scope))}"
    except CallError:
        each = " for each element" if section.for_each is not None else ""
        return f"{upstream} {template.text.partition(':')[2]}{each}"


def _elements(
    plan: Plan, section: Section, scope: Mapping[str, Any], estimates: Mapping[int, _Estimate]
) -> int:
    """Return the most elements of a section's list; `estimates` has earlier sections."""
    spec = section.for_each
    if spec is None:
        return 1
    items = spec.items.find(dict(scope))
    if items is ABSENT:
        return 0
    if isinstance(items, list):
        return min(len(items), spec.limit)
    for leader in plan.sections:
        # It has one element for each element of the other section.
        if leader.name == spec.items.root and leader.for_each is not None and spec.items.bare:
            return min(estimates[leader.index].elements, spec.limit)
    return spec.limit


def _batches(section: Section, elements: int) -> int:
    """Return the number of calls that the elements make."""
    batch = section.for_each.batch if section.for_each is not None else None
    return -(-elements // batch) if batch else elements


def _rounds(section: Section, elements: int) -> int:
    """Return the number of calls in a row if every call takes its full time."""
    if section.for_each is None:
        return 1
    return -(-_batches(section, elements) // section.for_each.concurrency)


def _cache(section: Section, upstreams: Mapping[str, UpstreamConfig]) -> str:
    policy = section.cache or upstreams[section.sources[0].upstream].cache
    if policy is None:
        return "not cached"
    changed = policy.model_dump(exclude_defaults=True)
    return ", ".join(f"{key} {value:g} s" if isinstance(value, float) else f"{key} {value}"
                     for key, value in changed.items()) or "cached with the defaults"  # fmt: skip


def _notes(section: Section) -> list[str]:
    notes = []
    if section.required:
        notes.append("required")
    if section.hidden:
        notes.append("hidden")
    if section.has_fallback:
        notes.append("has a fallback")
    if section.config.when is not None:
        notes.append(f"only when {section.config.when}")
    if len(section.sources) > 1:
        notes.append("race: the first fresh answer wins")
    if section.for_each is not None:
        notes.append(
            f"{section.for_each.concurrency} elements at a time, {section.for_each.limit} at most"
        )
    return notes
