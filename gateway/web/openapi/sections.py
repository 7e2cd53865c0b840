"""The types of a dashboard's sections: what each may be, state by state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.web.openapi.inference import infer
from gateway.web.openapi.references import hoisted, refers, tellable
from gateway.web.openapi.schema import NULL, Schema, literal
from gateway.web.openapi.shapes import Shapes
from gateway.web.openapi.shared import HOME, reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.plan.model import Plan, Section
    from gateway.web.openapi.names import Names

__all__ = ["Sections", "list_kinds", "placed"]


class Sections:
    """Types the sections of all dashboards.

    Each section is a component of its own: its value where it has one (`ok` and `stale`). `data`
    says what else it may be: its fallback, or null.

    Args:
        plans: the dashboards.
        answers: the JSON Schema that every answer of an upstream meets, by its name.
        names: the names of the components.

    Attributes:
        components: the schemas that sections refer to, by their names.
    """

    def __init__(
        self, plans: Sequence[Plan], answers: Mapping[str, Mapping[str, Any]], names: Names
    ) -> None:
        self._names = names
        self.components: dict[str, Schema] = {}
        self._of_upstreams = {
            name: placed(f"Upstream_{name}", tellable(answer), self.components)
            for name, answer in answers.items()
        }
        self._of_sections = {
            (plan.name, section.name): placed(
                f"{names.dashboard(plan.name)}_{section.name}",
                tellable(section.answer),
                self.components,
            )
            for plan in plans
            for section in plan.sections
            if section.answer is not None
        }
        self._shapes = Shapes({"components": {"schemas": self.components}})
        values: dict[str, Schema] = {}
        for plan in plans:
            for section in plan.sections:
                if not section.hidden:
                    values |= self._value(plan, section)
        # Queries from here on see the values too.
        self.components |= values
        self._shapes = Shapes({"components": {"schemas": self.components}})

    def data(self, plan: Plan, section: Section) -> Schema:
        """Return the schema of a section's data, in every state that it can have."""
        value = reference(self._names.section(plan.name, section.name))
        states = [value]
        if section.has_fallback:
            if not self._shapes.accepts(value, section.fallback):
                states.append(literal(section.fallback))
        elif not section.required:
            states.append(NULL)
        if _may_be_skipped(plan, section):
            states.append(NULL)
        schema = self._shapes.union(states)
        if section.config.description:
            schema = {**schema, "description": section.config.description}
        return schema

    def meta(self, plan: Plan, section: Section) -> Schema:
        """Return the schema of what the document says of a section: the states it can have."""
        kind = "Required" if section.required else "Optional"
        if section.has_fallback:
            kind = "Replaceable"
        skippable = "Skippable" if _may_be_skipped(plan, section) else ""
        return reference(f"{skippable}{kind}SectionMeta")

    def element(self, plan: Plan, section: Section) -> Schema:
        """Return the schema of one element of a list's result; null if the element failed."""
        name = self._names.section(plan.name, section.name, "Element")
        return self._shapes.nullable(reference(name))

    def _value(self, plan: Plan, section: Section) -> dict[str, Schema]:
        """Return the components of a section's value."""
        name = self._names.section(plan.name, section.name)
        schema = self._shaped(plan, section)
        if section.for_each is None:
            return {name: schema}
        one = self._names.section(plan.name, section.name, "Element")
        # The element is not a component of `self._shapes` yet, so null is asked of its schema.
        nullable = self._shapes.may_be_null(schema)
        element = reference(one) if nullable else {"anyOf": [reference(one), NULL]}
        return {one: schema, name: self._list(element, list_kinds(plan, section))}

    def _list(self, element: Schema, kinds: set[bool]) -> Schema:
        """Return the schema of a list's result, for every form that it can have."""
        listed: Schema = {"type": "array", "items": element}
        keyed: Schema = {"type": "object", "additionalProperties": element}
        return self._shapes.union(keyed if kind else listed for kind in sorted(kinds))

    def _shaped(self, plan: Plan, section: Section) -> Schema:
        """Return the schema of one call's shaped value."""
        shapes = [self._source(plan, section, number) for number in range(len(section.sources))]
        schema = self._shapes.union(shapes)
        if section.config.select is not None:
            schema = infer(section.config.select, schema, self._shapes)
        return schema

    def _source(self, plan: Plan, section: Section, number: int) -> Schema:
        answer = self._of_sections.get((plan.name, section.name))
        if answer is None:
            answer = self._of_upstreams.get(section.sources[number].upstream, {})
            if section.for_each is not None and section.for_each.batch is not None:
                answer = self._one_of(answer, many=section.for_each.many)
        runner = section.config.race[number] if section.config.race is not None else ""
        if isinstance(runner, str) or runner.select is None:
            return answer
        # A source whose `select` finds nothing has failed.
        return self._shapes.without_null(infer(runner.select, answer, self._shapes))

    def _one_of(self, answer: Schema, *, many: bool) -> Schema:
        """Return the schema of one element of a batched list."""
        lists = [one for one in self._shapes.alternatives(answer) if one["type"] == "array"]
        element = self._shapes.union(self._shapes.elements(one) for one in lists)
        if not many:
            return element
        return {"type": "array"} | ({"items": element} if element else {})


def placed(name: str, schema: Schema, components: dict[str, Schema]) -> Schema:
    """Return a declared schema in a form that can be used anywhere in the document.

    A schema that refers to itself is added to `components`; others are used where they stand.
    """
    if not refers(schema):
        return schema
    components |= hoisted(schema, name, HOME)
    return reference(name)


def list_kinds(plan: Plan, section: Section) -> set[bool]:
    """Return whether a list's result is an object by key; one that follows a list has its keys.

    A fallback may be a list in place of an object, or the other way round.
    """
    kinds = set()
    spec = section.for_each
    while spec is not None and spec.flows_from is not None:
        leader = plan.sections[spec.flows_from]
        if isinstance(leader.fallback, (dict, list)):
            kinds.add(isinstance(leader.fallback, dict))
        spec = leader.for_each
    kinds.add(spec is not None and spec.key is not None)
    return kinds


def _may_be_skipped(plan: Plan, section: Section) -> bool:
    """Whether a section has a condition, or needs a section that may be skipped."""
    seen = {section.index}
    left = [section]
    while left:
        one = left.pop()
        if one.when is not None:
            return True
        leader = one.for_each.flows_from if one.for_each is not None else None
        needs = {*one.needs, *(() if leader is None else (leader,))} - seen
        seen |= needs
        left += [plan.sections[need] for need in needs]
    return False
