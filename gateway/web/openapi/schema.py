"""JSON Schemas as plain objects, and the smallest of them."""

from __future__ import annotations

import json
import math
from typing import Any

__all__ = [
    "KEYWORDS",
    "NEVER",
    "NOTES",
    "NULL",
    "TYPES",
    "Schema",
    "as_schema",
    "literal",
    "schema_text",
]

Schema = dict[str, Any]

NULL: Schema = {"type": "null"}
NEVER: Schema = {"not": {}}
"""The schema that no value meets."""
TYPES = ("null", "boolean", "number", "string", "array", "object")
NOTES = ("title", "description")
"""Keywords that only describe."""
KEYWORDS = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties", "patternProperties",
               "minProperties", "maxProperties"),
}  # fmt: skip
"""Keywords that constrain the values of one type."""
KEYWORDS["integer"] = KEYWORDS["number"]

_TYPE_OF = {bool: "boolean", int: "integer", float: "number", str: "string"}


def as_schema(schema: Any) -> Schema:
    """Return a schema as an object; true and false are schemas too."""
    if schema is False:
        return NEVER
    result: Schema = schema if isinstance(schema, dict) else {}
    return result


def literal(value: Any) -> Schema:
    """Return the schema that only `value` meets."""
    if isinstance(value, dict):
        members = {name: literal(member) for name, member in value.items()}
        result: Schema = {"properties": members, "required": list(members)} if members else {}
        return {"type": "object", **result, "additionalProperties": False}
    if isinstance(value, list):
        count = len(value)
        result = (
            {"prefixItems": [literal(one) for one in value], "minItems": count} if value else {}
        )
        return {"type": "array", **result, "maxItems": count}
    if value is None:
        return NULL
    if isinstance(value, float) and not math.isfinite(value):
        return {}  # not JSON
    return {"type": _TYPE_OF[type(value)], "const": value}


def schema_text(schema: Any) -> str:
    """Return a key that distinguishes schemas; in Python true equals 1."""
    return json.dumps(schema, sort_keys=True)
