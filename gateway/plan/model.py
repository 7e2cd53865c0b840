"""Plans: the compiled graph of a dashboard's sections, as data.

`gateway.plan.compiler` makes them from a declaration; `gateway.engine` runs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.config.models import DashboardConfig, SectionConfig
    from gateway.expressions.jmes import Expression
    from gateway.expressions.json_schema import Validator
    from gateway.expressions.parameter import Parameter
    from gateway.expressions.reference import Reference
    from gateway.layers.cache import CachePolicy
    from gateway.upstreams.kind import Template

__all__ = ["ForEach", "Plan", "Section", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """One call that a section can make."""

    upstream: str
    template: Template
    select: Expression | None = None


@dataclass(frozen=True, slots=True)
class ForEach:
    """How a section fans out over a list.

    Attributes:
        items: reference to the list.
        element: name of the current element in references.
        key: JMESPath search for an element's key; `None` for a list in order.
        limit: most elements that are fetched.
        concurrency: most elements in flight at once.
        batch: most elements fetched with one call; `None` for one call each.
        match: JMESPath search for the value that matches a returned object to its element.
        many: each element gets a list of returned objects.
        flows_from: index of the `for_each` section whose elements it takes one by one as they land;
            if it has to wait for all of them, `needs` has that section too.
    """

    items: Reference
    element: str
    key: Callable[[Any], Any] | None
    limit: int
    concurrency: int
    batch: int | None
    match: Callable[[Any], Any]
    many: bool
    flows_from: int | None


@dataclass(frozen=True, slots=True)
class Section:
    """One compiled slot of a dashboard; `SectionConfig` documents the parts.

    Attributes:
        needs: indexes of the sections that must have landed before it starts.
        sources: one for `get`, several for `race`.
        schema: the JSON Schema `answer`, compiled.
        reads: references of other sections to this one, each with the number of list elements that
            it needs, `None` for all of them.
        judged: a `when` looks into its value.
        opaque: no expression looks into its value; the answer shows it as the upstream sent it.
        tags: the tags by which its cached answers can be purged.
    """

    index: int
    name: str
    sources: tuple[Source, ...]
    needs: tuple[int, ...]
    for_each: ForEach | None
    when: Expression | None
    select: Expression | None
    has_fallback: bool
    fallback: Any
    required: bool
    hidden: bool
    cache: CachePolicy | None
    answer: Mapping[str, Any] | None
    schema: Validator | None
    reads: tuple[tuple[str, int | None], ...]
    judged: bool
    opaque: bool
    tags: tuple[str, ...]
    config: SectionConfig

    @property
    def inputs(self) -> tuple[int, ...]:
        """Indexes of the sections that it waits for, or whose elements it takes one by one."""
        flows_from = self.for_each.flows_from if self.for_each is not None else None
        return self.needs if flows_from is None else (*self.needs, flows_from)


@dataclass(frozen=True, slots=True)
class Plan:
    """The compiled graph of one dashboard.

    Attributes:
        name: name of the dashboard.
        path: path of the endpoint with its `{parameter}` placeholders.
        parameters: in the order of declaration.
        deadline: seconds for the whole answer.
        sections: in the order of declaration, which is the order of the answer.
        roots: indexes of the sections that can start at once.
        dependents: for each section the indexes of those that wait for it to land.
        followers: for each section the indexes of those that take its elements one by one.
    """

    name: str
    path: str
    parameters: tuple[Parameter, ...]
    deadline: float
    sections: tuple[Section, ...]
    roots: tuple[int, ...]
    dependents: tuple[tuple[int, ...], ...]
    followers: tuple[tuple[int, ...], ...]
    config: DashboardConfig
