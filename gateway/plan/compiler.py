"""Compiles a declared dashboard to its Plan: the graph of sections, inferred from references.

Pure: no I/O, no clock. It works out, once, everything that is known before a request: it compiles
references, infers dependencies, rejects cycles and sorts parameters by their place in the request.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, Diagnostic
from gateway.expressions.jmes import ExpressionError, compile_expression, names_read
from gateway.expressions.json_schema import compile_schema
from gateway.expressions.mistakes import references_in
from gateway.expressions.parameter import Parameter, ParameterError, compile_parameter
from gateway.expressions.reference import Reference, TemplateError, parse_reference
from gateway.plan.graph import cycles, graph_of
from gateway.plan.model import ForEach, Plan, Section, Source
from gateway.plan.path import mistakes_in_path, placeholders
from gateway.plan.prune import SECTIONS
from gateway.upstreams.kinds import parse_source
from gateway.values.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from gateway.config.models import DashboardConfig, ForEachConfig, SectionConfig
    from gateway.expressions.jmes import Expression
    from gateway.expressions.reference import Scope
    from gateway.upstreams.kind import Kind

__all__ = ["compile_plan"]

_BRACED = {
    "when": "over parameters and sections; write {} without braces",
    "select": "over this section's own answer; refer to {{{}}} in the call instead",
    "key": "over one element; write a path inside the element, such as id",
    "match": "over one returned object; write a path inside the object, such as id",
}
"""What to write instead of a reference in braces where a key takes an expression."""


def compile_plan(
    name: str,
    dashboard: DashboardConfig,
    *,
    upstreams: Collection[str],
    declared: Collection[str] = (),
    kinds: Mapping[str, Kind] | None = None,
) -> Plan:
    """Compile one dashboard.

    Args:
        name: name of the dashboard.
        dashboard: its declaration.
        upstreams: names that sections may call.
        declared: names of declared sections that were already rejected; references to them are
            not further mistakes.
        kinds: kind of each upstream; those left out are HTTP.

    Raises:
        ConfigError: the dashboard is invalid; the error lists every mistake, located from the
            document's root.
    """
    return _Compiler(name, dashboard, upstreams, declared, kinds or {}).compile()


class _Compiler:
    """Collects diagnostics while it compiles, so that all mistakes are reported at once."""

    def __init__(
        self,
        name: str,
        dashboard: DashboardConfig,
        upstreams: Collection[str],
        declared: Collection[str],
        kinds: Mapping[str, Kind],
    ) -> None:
        self.name = name
        self.dashboard = dashboard
        self.upstreams = upstreams
        self.kinds = kinds
        self.declared = frozenset(declared)
        self.at: tuple[str | int, ...] = ("dashboards", name)
        self.diagnostics: list[Diagnostic] = []
        self.index = {section: i for i, section in enumerate(dashboard.sections)}
        self.names = {*dashboard.parameters, *self.index, *self.declared}
        self.needs: list[dict[int, tuple[tuple[str | int, ...], int]]] = [
            {} for _ in dashboard.sections
        ]
        self.optional: set[str] = set()
        # For each section: the names that its condition and its list read, and for each of its
        # calls the references to optional parameters without which the call fails.
        self.guards: list[set[str]] = [set() for _ in dashboard.sections]
        self.fragile: list[list[dict[str, tuple[tuple[str | int, ...], int]]]] = [
            [] for _ in dashboard.sections
        ]
        self.ambiguous: set[str] = set()

    def refuse(
        self,
        message: str,
        *location: str | int,
        offset: int = 0,
        at_key: bool = False,
    ) -> None:
        self.diagnostics.append(
            Diagnostic(message, (*self.at, *location), offset=offset, at_key=at_key)
        )

    def compile(self) -> Plan:
        parameters = self.parameters()
        if self.dashboard.prefetch and any(p.required for p in parameters):
            self.refuse(
                "only a dashboard whose parameters all have defaults can be prefetched", "prefetch"
            )
        sections = [
            self.section(i, name, config)
            for i, (name, config) in enumerate(self.dashboard.sections.items())
        ]
        self.cycles()
        self.absent_parameters()
        if self.diagnostics:
            raise ConfigError(self.diagnostics)
        graph = graph_of(tuple(section for section in sections if section is not None))
        return Plan(
            name=self.name,
            path=self.dashboard.path,
            parameters=tuple(parameters),
            deadline=self.dashboard.deadline,
            sections=graph.sections,
            roots=graph.roots,
            dependents=graph.dependents,
            followers=graph.followers,
            config=self.dashboard,
        )

    # Parameters and path

    def parameters(self) -> list[Parameter]:
        for mistake in mistakes_in_path(self.dashboard.path, self.dashboard.parameters):
            self.refuse(mistake.message, "path", offset=mistake.offset)
        in_path = placeholders(self.dashboard.path)
        compiled = []
        for name, schema in self.dashboard.parameters.items():
            if name == SECTIONS and name not in in_path:
                self.refuse(
                    f"{SECTIONS} is the query parameter that selects sections on every dashboard; "
                    "choose another name",
                    "parameters", name, at_key=True,
                )  # fmt: skip
            try:
                compiled.append(compile_parameter(name, schema, in_path=name in in_path))
            except ParameterError as error:
                self.refuse(str(error), "parameters", name, *error.location)
        self.optional = {p.name for p in compiled if not p.required and "default" not in p.schema}
        return compiled

    # Sections

    def section(self, index: int, name: str, config: SectionConfig) -> Section | None:
        before = len(self.diagnostics)
        at: tuple[str | int, ...] = ("sections", name)
        element = None
        for_each = None
        if config.for_each is not None:
            for_each, element = self.for_each(index, config, at)
        self.fallback(config.fallback, (*at, "fallback"), element)
        sources = tuple(self.sources(index, config, at, element))
        when = self.when(index, config.when, at)
        select = self.expression(config.select, *at, "select", element=element)
        if for_each is not None and for_each.batch is not None:
            self.batch(sources, for_each, at)
        if len(self.diagnostics) > before:
            return None
        return Section(
            index=index,
            name=name,
            sources=sources,
            needs=self.waits_for(index, for_each, sources, config),
            for_each=for_each,
            when=when,
            select=select,
            has_fallback=config.has_fallback,
            fallback=config.fallback,
            required=config.required,
            hidden=config.hidden,
            cache=config.cache,
            answer=config.schema_,
            schema=compile_schema(config.schema_) if config.schema_ is not None else None,
            reads=(),
            judged=False,
            opaque=False,
            tags=(
                f"dashboard:{self.name}",
                f"section:{self.name}.{name}",
                *(f"tag:{tag}" for tag in self.dashboard.tags),
            ),
            config=config,
        )

    def sources(
        self, index: int, config: SectionConfig, at: tuple[str | int, ...], element: str | None
    ) -> Iterator[Source]:
        if config.get is not None:
            yield from self.source(index, config.get, None, (*at, "get"), element)
        for number, runner in enumerate(config.race or ()):
            here = (*at, "race", number)
            if isinstance(runner, str):
                yield from self.source(index, runner, None, here, element)
            else:
                select = self.expression(runner.select, *here, "select", element=element)
                yield from self.source(index, runner.get, select, (*here, "get"), element)

    def source(
        self,
        index: int,
        text: str,
        select: Expression | None,
        at: tuple[str | int, ...],
        element: str | None,
    ) -> Iterator[Source]:
        try:
            template = parse_source(text, self.kinds)
        except TemplateError as error:
            self.refuse(str(error), *at, offset=error.offset)
            return
        if template.upstream not in self.upstreams:
            close = suggest(template.upstream, self.upstreams)
            self.refuse(f"{template.upstream} is not a declared upstream{close}", *at)
        for reference in template.references:
            self.refer(index, reference, at, element)
        needed: dict[str, tuple[tuple[str | int, ...], int]] = {}
        for reference in template.needed_references():
            root = reference.root
            if (
                root in self.optional
                and root != element
                and self.means_section(index, root, bare=reference.bare) is False
            ):
                needed.setdefault(root, (at, reference.offset))
        self.fragile[index].append(needed)
        yield Source(template.upstream, template, select)

    def means_section(self, index: int, root: str, *, bare: bool) -> bool | None:
        """Whether a name that a section uses means a section; `None` if it could be either.

        A parameter and a section may share a name. A path into the name means the section if the
        parameter is a single value. Within the section of that name it means the parameter,
        because a section cannot wait for itself.
        """
        if root not in self.index:
            return False
        schema = self.dashboard.parameters.get(root)
        if schema is None or (not bare and schema.get("type") != "array"):
            return True
        return False if self.index[root] == index else None

    def refuse_ambiguous(self, text: str, root: str, *location: str | int, offset: int = 0) -> None:
        """Reject the first use of a name that could mean a parameter or a section."""
        if root not in self.ambiguous:
            self.ambiguous.add(root)
            self.refuse(
                f"{text} could mean parameters.{root} or sections.{root}; rename one of them",
                *location, offset=offset,
            )  # fmt: skip

    def refer(
        self, index: int, reference: Reference, at: tuple[str | int, ...], element: str | None
    ) -> None:
        """Record a section's reference; unknown names are mistakes."""
        root = reference.root
        if root == element:
            return
        is_section = self.means_section(index, root, bare=reference.bare)
        if is_section is None:
            text = f"{{{reference.text}}}"
            self.refuse_ambiguous(text, root, *at, offset=reference.offset)
        elif is_section:
            self.needs[index].setdefault(self.index[root], (at, reference.offset))
        elif root not in self.dashboard.parameters and root not in self.declared:
            known = self.names | ({element} if element else set())
            self.refuse(
                f"{{{reference.text}}}: {root} is neither a parameter nor a section"
                f"{suggest(root, known)}",
                *at,
                offset=reference.offset,
            )

    def for_each(
        self, index: int, config: SectionConfig, at: tuple[str | int, ...]
    ) -> tuple[ForEach | None, str]:
        at = (*at, "for_each")
        spec, items_at = _spelled_out(config.for_each, at)
        element = spec.element
        if element in self.names:
            self.refuse(
                f"{element} is already a parameter or a section; choose another name", *at, "as"
            )
        items = self.items(index, spec.in_.strip(), items_at)
        if items is None:
            return None, element
        is_section = self.means_section(index, items.root, bare=items.bare)
        led_by = self.dashboard.sections.get(items.root) if is_section else None
        if items.bare and led_by is not None and led_by.for_each is not None:
            items = replace(items, find=_values_found_by(items.find))
        key = self.expression(spec.key, *at, "key", element=element)
        match = self.expression(spec.match, *at, "match", element=element)
        return ForEach(
            items=items,
            element=element,
            key=key,
            limit=spec.limit,
            concurrency=spec.concurrency,
            batch=spec.batch,
            match=match or (lambda value: value),
            many=spec.many,
            flows_from=self.flows_from(items, led_by, spec),
        ), element

    def items(self, index: int, text: str, at: tuple[str | int, ...]) -> Reference | None:
        """Return the reference to the list of a `for_each`, `None` for a mistake."""
        if not (text.startswith("{") and text.endswith("}")):
            self.refuse("write one reference to a list, such as {posts} or {city}", *at)
            return None
        try:
            items = parse_reference(text[1:-1])
        except TemplateError as error:
            self.refuse(str(error), *at, offset=error.offset)
            return None
        self.refer(index, items, at, None)
        self.guards[index].add(items.root)
        is_section = self.means_section(index, items.root, bare=items.bare)
        parameter = self.dashboard.parameters.get(items.root)
        if is_section is False and parameter is not None and parameter.get("type") != "array":
            self.refuse(
                f"{items.root} is not an array parameter, so it has no list to fan out over", *at
            )
        return items

    def flows_from(
        self, items: Reference, led_by: SectionConfig | None, spec: ForEachConfig
    ) -> int | None:
        """Return the section whose elements can be taken one by one, if there is one."""
        if led_by is None or not items.bare:
            return None
        if led_by.for_each is None or spec.batch or spec.key is not None:
            return None
        return self.index[items.root]

    def waits_for(
        self,
        index: int,
        for_each: ForEach | None,
        sources: tuple[Source, ...],
        config: SectionConfig,
    ) -> tuple[int, ...]:
        """Return the sections that must land before this one starts."""
        needs = set(self.needs[index])
        leader = for_each.flows_from if for_each else None
        if leader is not None and not self.waits_for_all(leader, sources, config):
            needs.discard(leader)
        return tuple(sorted(needs))

    def waits_for_all(
        self, leader: int, sources: tuple[Source, ...], config: SectionConfig
    ) -> bool:
        """Whether a section has to wait for the whole list whose elements it takes.

        It waits if its calls or its condition also refer to the list, or if a fallback may replace
        the list.
        """
        root, led_by = list(self.dashboard.sections.items())[leader]
        in_calls = any(r.root == root for s in sources for r in s.template.references)
        in_condition = config.when is not None and root in names_read(config.when)
        return in_calls or in_condition or led_by.has_fallback

    def batch(
        self, sources: tuple[Source, ...], for_each: ForEach, at: tuple[str | int, ...]
    ) -> None:
        for source in sources:
            if not source.template.repeats(for_each.element):
                self.refuse(
                    f"`batch` needs one query pair name={{{for_each.element}}} to repeat",
                    *at, "get",
                )  # fmt: skip

    def expression(
        self, text: str | None, *at: str | int, element: str | None = None
    ) -> Expression | None:
        if text is None:
            return None
        for reference, offset in references_in(text, {*self.names, element or ""}):
            key = str(at[-1])
            remedy = _BRACED[key].format(reference.text)
            self.refuse(
                f"{{{reference.text}}} is not replaced in `{key}`, which is JMESPath {remedy}",
                *at, offset=offset,
            )  # fmt: skip
            return None
        try:
            return compile_expression(text)
        except ExpressionError as error:
            self.refuse(str(error), *at, offset=error.offset)
            return None

    def fallback(self, value: Any, at: tuple[str | int, ...], element: str | None) -> None:
        """Reject references in a fallback, which is served as written."""
        if isinstance(value, str):
            for reference, offset in references_in(value, {*self.names, element or ""}):
                self.refuse(
                    f"{{{reference.text}}} is not replaced in a fallback, which is served as "
                    f"written; write a constant, or {{ {reference.text} }} with spaces for the "
                    "text",
                    *at, offset=offset,
                )  # fmt: skip
        elif isinstance(value, dict):
            for key, child in value.items():
                self.fallback(child, (*at, key), element)
        elif isinstance(value, list):
            for number, child in enumerate(value):
                self.fallback(child, (*at, number), element)

    def when(self, index: int, text: str | None, at: tuple[str | int, ...]) -> Expression | None:
        search = self.expression(text, *at, "when")
        if search is None or text is None:
            return None
        read = names_read(text)
        # A condition on the whole scope (`@`) may look at any parameter.
        self.guards[index] |= read if read and "@" not in text else set(self.dashboard.parameters)
        whole = names_read(text, whole=True)
        for root in sorted(read):
            is_section = self.means_section(index, root, bare=root in whole)
            if is_section is None:
                self.refuse_ambiguous(root, root, *at, "when")
            elif is_section:
                self.needs[index].setdefault(self.index[root], ((*at, "when"), 0))
            elif root not in self.names:
                close = suggest(root, self.names)
                if f'"{root}"' in text:
                    close = f"; write '{root}' in single quotes for text"
                self.refuse(f"{root} is neither a parameter nor a section{close}", *at, "when")
        return search

    def absent_parameters(self) -> None:
        """Reject sections whose calls all fail whenever an optional parameter is absent.

        A section with a fallback is accepted. So is one that may then be skipped: its condition, or
        that of a section it waits for, looks at the parameter, or its list reads it.
        """
        for index, (section, config) in enumerate(self.dashboard.sections.items()):
            calls = self.fragile[index]
            if config.has_fallback or not calls:
                continue
            guards = self.all_guards(index)
            for root, (at, offset) in calls[0].items():
                if root not in guards and all(root in call for call in calls):
                    self.refuse(
                        f"{root} may be absent, and then {section} always fails; give it a "
                        f"default, declare it `required: true`, make it a whole query value "
                        f"(name={{{root}}}), or guard {section} with `when`",
                        *at, offset=offset,
                    )  # fmt: skip

    def all_guards(self, index: int) -> set[str]:
        """Return the names that the conditions and lists on a section's way read."""
        seen = {index}
        left = [index]
        while left:
            for need in self.needs[left.pop()]:
                if need not in seen:
                    seen.add(need)
                    left.append(need)
        return set().union(*(self.guards[each] for each in seen))

    def cycles(self) -> None:
        """Reject reference cycles, each reported once at the reference that closes it."""
        names = list(self.dashboard.sections)
        for ring in cycles(self.needs):
            *_, last, first = ring
            at, offset = self.needs[last][first]
            chain = " -> ".join(names[i] for i in ring)
            self.refuse(f"sections wait for each other: {chain}", *at, offset=offset)


def _values_found_by(find: Callable[[Scope], Any]) -> Callable[[Scope], Any]:
    """Return a search that turns the object of another `for_each` into the list of its values."""

    def values(scope: Scope) -> Any:
        found = find(scope)
        return list(found.values()) if isinstance(found, dict) else found

    return values


def _spelled_out(
    spec: ForEachConfig | str | None, at: tuple[str | int, ...]
) -> tuple[ForEachConfig, tuple[str | int, ...]]:
    """Return a `for_each` with its defaults, and the location of its list."""
    if isinstance(spec, str):
        # Imported here: plan and models are on one floor, and only this shorthand needs it.
        from gateway.config.models import ForEachConfig  # noqa: PLC0415

        return ForEachConfig.model_validate({"in": spec}), at
    assert spec is not None  # noqa: S101 - callers call this only for a `for_each`
    return spec, (*at, "in")
