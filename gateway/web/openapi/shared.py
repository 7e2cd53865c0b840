"""The schemas that all dashboards share: errors, problems, the states of sections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.engine.outcome import State
from gateway.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.web.openapi.schema import Schema

__all__ = ["HOME", "SHARED", "record", "reference"]

HOME = "#/components/schemas/"
"""Where the schemas of the document are."""


def reference(name: str) -> Schema:
    """Return a reference to a schema of the document."""
    return {"$ref": HOME + name}


def record(members: dict[str, Schema], *optional: str, **more: object) -> Schema:
    """Return the schema of an object with these members; all but the optional ones are required."""
    required = [name for name in members if name not in optional]
    return {"type": "object", "properties": members, "required": required, **more}


def _of_state(states: Iterable[State], description: str) -> Schema:
    member: Schema = {"state": {"type": "string", "enum": [state.value for state in states]}}
    return {"allOf": [reference("SectionMeta"), record(member)], "description": description}


_HAS_VALUE = (State.OK, State.STALE)

SHARED: dict[str, Schema] = {
    "ErrorCode": {"type": "string", "enum": [code.value for code in ErrorCode]},
    "SectionState": {"type": "string", "enum": [state.value for state in State]},
    "SectionError": record(
        {
            "section": {"type": "string"},
            "code": reference("ErrorCode"),
            "upstream": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "status": {
                "anyOf": [{"type": "integer"}, {"type": "null"}],
                "description": "Status that the upstream answered",
            },
            "retryable": {
                "type": "boolean",
                "description": "The same request may succeed if it is retried",
            },
            "detail": {"type": "string"},
            "element": {
                "anyOf": [{"type": "string"}, {"type": "integer"}],
                "description": "In a list: the key or index of the element",
            },
        },
        "element",
        title="SectionError",
    ),
    "SectionMeta": record(
        {
            "state": reference("SectionState"),
            "as_of": {
                "type": "string",
                "format": "date-time",
                "description": "When the upstream sent the value, if it came from the cache",
            },
            "reason": reference("ErrorCode"),
        },
        "as_of",
        "reason",
        title="SectionMeta",
    ),
    "RequiredSectionMeta": _of_state(_HAS_VALUE, "Of a section without which there is no document"),
    "OptionalSectionMeta": _of_state(
        (*_HAS_VALUE, State.FAILED), "Of a section that is null where it failed"
    ),
    "ReplaceableSectionMeta": _of_state(
        (*_HAS_VALUE, State.FALLBACK), "Of a section whose fallback is its value where it failed"
    ),
    "SkippableRequiredSectionMeta": _of_state(
        (*_HAS_VALUE, State.SKIPPED), "Of a required section that is null where it was skipped"
    ),
    "SkippableOptionalSectionMeta": _of_state(
        (*_HAS_VALUE, State.SKIPPED, State.FAILED),
        "Of a section that is null where it failed or was skipped",
    ),
    "SkippableReplaceableSectionMeta": _of_state(
        (*_HAS_VALUE, State.FALLBACK, State.SKIPPED),
        "Of a section that is its fallback where it failed and null where it was skipped",
    ),
    "Problem": record(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": reference("ErrorCode"),
            "errors": {"type": "array", "items": reference("SectionError")},
            "invalid_parameters": {
                "type": "array",
                "items": record({"name": {"type": "string"}, "detail": {"type": "string"}}),
            },
            "left_out": {
                "type": "integer",
                "description": "Number of invalid parameters that are not listed",
            },
        },
        "code",
        "errors",
        "invalid_parameters",
        "left_out",
        title="Problem",
        description="RFC 9457 problem details",
    ),
}
"""By their names. The document has those that something refers to."""
