"""Unions of JSON Schemas: their branches, and which of them say something new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.web.openapi.schema import (
    KEYWORDS,
    NEVER,
    NOTES,
    NULL,
    TYPES,
    Schema,
    as_schema,
    schema_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["any_of", "distinct", "is_looser"]

# "Anything except null" is not worth writing out.
_ALL_BUT_NULL = frozenset(TYPES) - {"null"}
# Keywords that only remove values, independently of their neighbors.
_CONSTRAINTS = {
    *KEYWORDS["number"], *KEYWORDS["string"], *NOTES, "required", "const", "enum",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
}  # fmt: skip


def distinct(schemas: Iterable[Any]) -> dict[str, Schema]:
    """Return the branches of a union by their keys; a branch of anything replaces them all."""
    branches: dict[str, Schema] = {}
    for schema in schemas:
        for branch in _branches(as_schema(schema)):
            if not branch:
                return {"{}": {}}
            if branch != NEVER:
                branches.setdefault(schema_text(branch), branch)
    return branches


def any_of(branches: Mapping[str, Schema]) -> Schema:
    """Return the schema that a value meets if it meets one of `branches`."""
    if {branch["type"] for branch in branches.values() if _is_bare(branch)} >= _ALL_BUT_NULL:
        return {}
    result = sorted(branches.values(), key=lambda branch: branch == NULL)
    if not result:
        return NEVER
    return result[0] if len(result) == 1 else {"anyOf": result}


def is_looser(schema: Schema, than: Schema) -> bool:
    """Whether a schema equals another one with some constraints removed."""
    left = {key for key in than if key not in schema}
    if than.get("type") == "integer" and schema.get("type") == "number":
        than = {**than, "type": "number"}
    return left <= _CONSTRAINTS and all(
        key in NOTES or (key in than and schema_text(than[key]) == schema_text(value))
        for key, value in schema.items()
    )


def _branches(schema: Schema) -> Iterator[Schema]:
    if schema.keys() == {"anyOf"}:
        for branch in schema["anyOf"]:
            yield from _branches(as_schema(branch))
    else:
        yield schema


def _is_bare(schema: Schema) -> bool:
    return schema.keys() == {"type"} and isinstance(schema["type"], str)
