"""The graph of a dashboard's sections: which start first, and who reads what of whom."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from gateway.expressions.jmes import names_read

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from gateway.plan.model import Section

__all__ = ["Graph", "cycles", "graph_of"]


class Graph(NamedTuple):
    """Sections and the edges between them; sections are named by their index.

    Attributes:
        sections: each knows what others read of it.
        roots: the sections that wait for none.
        dependents: for each section, those that wait for it.
        followers: for each section, those that take the elements of its list one by one.
    """

    sections: tuple[Section, ...]
    roots: tuple[int, ...]
    dependents: tuple[tuple[int, ...], ...]
    followers: tuple[tuple[int, ...], ...]


def graph_of(sections: tuple[Section, ...]) -> Graph:
    """Return the graph of sections that have no cycle."""
    dependents: list[list[int]] = [[] for _ in sections]
    followers: list[list[int]] = [[] for _ in sections]
    roots = []
    for section in sections:
        for need in section.needs:
            dependents[need].append(section.index)
        flows_from = section.for_each.flows_from if section.for_each else None
        if flows_from is not None:
            followers[flows_from].append(section.index)
        elif not section.needs:
            roots.append(section.index)
    # A condition on the whole scope (`@`) looks into every section.
    watched = any("@" in (s.config.when or "") for s in sections)
    judged = _judged(sections)
    reads = _reads(sections)
    linked = tuple(
        replace(
            s,
            reads=tuple(reads.get(s.index, {}).items()),
            judged=watched or s.index in judged,
            opaque=not (watched or dependents[s.index] or followers[s.index]) and _is_unshaped(s),
        )
        for s in sections
    )
    return Graph(linked, tuple(roots), tuple(map(tuple, dependents)), tuple(map(tuple, followers)))


def cycles(needs: Sequence[Collection[int]]) -> Iterator[list[int]]:
    """Yield each cycle once, as the way from a section back to itself.

    Args:
        needs: for each section, those that it waits for.
    """
    done: set[int] = set()
    trail: list[int] = []

    def visit(index: int) -> Iterator[list[int]]:
        trail.append(index)
        for need in needs[index]:
            if need in trail:
                yield [*trail[trail.index(need) :], need]
            elif need not in done:
                yield from visit(need)
        trail.pop()
        done.add(index)

    for index in range(len(needs)):
        if index not in done:
            yield from visit(index)


def _inputs(sections: tuple[Section, ...], section: Section) -> dict[str, int]:
    """Return by name the sections that `section` waits for; its other names are not sections."""
    return {sections[index].name: index for index in section.inputs}


def _reads(sections: tuple[Section, ...]) -> dict[int, dict[str, int | None]]:
    """Return the references of all sections, by the section that they refer to.

    A reference that is only the list of a `for_each` comes with the number of elements that are
    enough; any other comes with `None`.
    """
    reads: dict[int, dict[str, int | None]] = {}
    for section in sections:
        inputs = _inputs(sections, section)
        spec = section.for_each
        if spec is not None and spec.items.root in inputs:
            known = reads.setdefault(inputs[spec.items.root], {})
            limit = known.get(spec.items.text, 0)
            known[spec.items.text] = None if limit is None else max(limit, spec.limit)
    for section in sections:
        inputs = _inputs(sections, section)
        for source in section.sources:
            for reference in source.template.references:
                if reference.root in inputs:
                    reads.setdefault(inputs[reference.root], {})[reference.text] = None
    return reads


def _judged(sections: tuple[Section, ...]) -> set[int]:
    """Return the sections whose values a `when` looks into."""
    return {
        index
        for section in sections
        if section.when is not None
        for name, index in _inputs(sections, section).items()
        if name in names_read(section.when.text)
    }


def _is_unshaped(section: Section) -> bool:
    return (
        section.for_each is None
        and section.select is None
        and section.schema is None
        and all(source.select is None for source in section.sources)
    )
