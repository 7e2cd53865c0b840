"""The types of a dashboard's stream: one schema for each event.

As server-sent events the schema is that of the object in `data:`. In JSON Lines each line is the
same object with the event's name in `event`, so that generated types can be told apart by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.web.openapi.sections import list_kinds
from gateway.web.openapi.shared import record, reference

if TYPE_CHECKING:
    from gateway.plan.model import Plan, Section
    from gateway.web.openapi.names import Names
    from gateway.web.openapi.schema import Schema
    from gateway.web.openapi.sections import Sections

__all__ = ["CONTENTS", "events"]

CONTENTS = {"text/event-stream": "Event", "application/jsonl": "Line"}
"""The media types of a stream, and the part of a dashboard's names that types each."""

_ERRORS: Schema = {"type": "array", "items": reference("SectionError")}


def events(plan: Plan, sections: Sections, names: Names) -> dict[str, Schema]:
    """Return the schemas of a dashboard's events, of any event and of any line."""
    found: dict[str, Schema] = {}
    called: dict[str, str] = {}
    for section in plan.sections:
        if section.hidden:
            continue
        name = names.section(plan.name, section.name, "Event")
        found[name] = _section(plan, section, sections)
        called[name] = "section"
        if section.for_each is not None:
            name = names.section(plan.name, section.name, "ElementEvent")
            found[name] = _element(plan, section, sections)
            called[name] = "element"
    complete = names.dashboard(plan.name, "CompleteEvent")
    found[complete] = record(
        {"errors": _ERRORS, "meta": reference(names.dashboard(plan.name, "Meta"))},
        description="The document is whole",
    )
    called |= {complete: "complete", "Problem": "problem"}
    found[names.dashboard(plan.name, "Event")] = {
        "anyOf": [reference(name) for name in called],
        "description": "The data of a server-sent event",
    }
    found[names.dashboard(plan.name, "Line")] = {
        "anyOf": [
            {"allOf": [record({"event": _constant(event)}), reference(name)]}
            for name, event in called.items()
        ],
        "description": "A line of the stream as JSON Lines",
    }
    return found


def _section(plan: Plan, section: Section, sections: Sections) -> Schema:
    return record(
        {
            "section": _constant(section.name),
            "data": sections.data(plan, section),
            "meta": sections.meta(plan, section),
            "errors": _ERRORS,
        },
        description=f"The section {section.name} has landed",
    )


def _element(plan: Plan, section: Section, sections: Sections) -> Schema:
    places: dict[bool, tuple[str, Schema]] = {
        True: ("key", {"type": "string"}),
        False: ("index", {"type": "integer", "minimum": 0}),
    }
    place = dict(places[kind] for kind in sorted(list_kinds(plan, section)))
    return record(
        {
            "section": _constant(section.name),
            **place,
            "data": sections.element(plan, section),
            "meta": reference("SectionMeta"),
            "errors": _ERRORS,
        },
        *(place if len(place) > 1 else ()),
        description=f"An element of the section {section.name} has landed",
    )


def _constant(text: str) -> Schema:
    return {"type": "string", "const": text}
