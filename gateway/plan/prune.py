"""Prunes a plan to some of its sections and what they need: the sub-plan of `?sections=`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.config.models import MAX_NAME
from gateway.plan.graph import graph_of
from gateway.values.excerpt import shortened
from gateway.values.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.plan.model import ForEach, Plan, Section

__all__ = ["SECTIONS", "UnknownSectionsError", "named", "pruned"]

SECTIONS = "sections"
"""The query parameter by which a client asks for some of a dashboard's sections."""


class UnknownSectionsError(ValueError):
    """A client asks for what is not a visible section; `details` says so of each name."""

    def __init__(self, details: list[str]) -> None:
        super().__init__("; ".join(details))
        self.details = details


def named(texts: Iterable[str], places: Mapping[str, int]) -> frozenset[int]:
    """Return the indexes of the sections that a client names.

    Args:
        texts: names separated by commas; several texts count as one.
        places: the index of each section that may be named.

    Raises:
        UnknownSectionsError: a name is empty or unknown.
    """
    wanted = set()
    unknown: dict[str, None] = {}
    for text in texts:
        for name in text.split(","):
            place = places.get(name)
            if place is None:
                unknown[name] = None
            else:
                wanted.add(place)
    if unknown:
        raise UnknownSectionsError(list(_details(unknown, places)))
    return frozenset(wanted)


def pruned(plan: Plan, wanted: frozenset[int]) -> Plan:
    """Return the plan of the `wanted` sections and of every section that they need.

    The sections stay in the order of declaration. One that is only needed is hidden. A section that
    is neither wanted nor needed does not run, even if it is required.

    Args:
        plan: the whole plan.
        wanted: indexes of the sections to show.
    """
    used = set(wanted)
    left = list(used)
    while left:
        more = set(plan.sections[left.pop()].inputs) - used
        used |= more
        left += more
    places = {index: place for place, index in enumerate(sorted(used))}
    graph = graph_of(
        tuple(_moved(plan.sections[index], places, shown=index in wanted) for index in places)
    )
    return replace(
        plan,
        sections=graph.sections,
        roots=graph.roots,
        dependents=graph.dependents,
        followers=graph.followers,
    )


def _details(unknown: Iterable[str], places: Mapping[str, int]) -> Iterator[str]:
    """Yield what is wrong with each name; only the first gets a suggestion, which costs time."""
    close = None
    for name in unknown:
        if not name:
            yield "has an empty name; separate the names by single commas"
        elif close is None:
            close = suggest(name[:MAX_NAME], places)
            yield f"names no section {shortened(name, MAX_NAME)}{close}"
        else:
            yield f"names no section {shortened(name, MAX_NAME)}"


def _moved(section: Section, places: Mapping[int, int], *, shown: bool) -> Section:
    """Return a section at its new place, with its references to the others."""
    return replace(
        section,
        index=places[section.index],
        needs=tuple(places[need] for need in section.needs),
        for_each=_following(section.for_each, places),
        hidden=not shown,
    )


def _following(for_each: ForEach | None, places: Mapping[int, int]) -> ForEach | None:
    if for_each is None or for_each.flows_from is None:
        return for_each
    return replace(for_each, flows_from=places[for_each.flows_from])
