"""What an expression makes of a shape: JSON Schema in, JMESPath over it, JSON Schema out.

A `select` says a lot about the type of its section even where the upstream's own is unknown:
`[:5].{id: id, title: title}` is a list of objects with these two members. What cannot be told is
the empty schema, which holds anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jmespath

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["nullable", "selected"]

Schema = dict[str, Any]

_NUMBER = {"type": "number"}
_FUNCTIONS: dict[str, Schema] = {
    "length": {"type": "integer", "minimum": 0},
    "abs": _NUMBER, "avg": _NUMBER, "ceil": _NUMBER, "floor": _NUMBER, "sum": _NUMBER,
    "to_string": {"type": "string"}, "join": {"type": "string"}, "type": {"type": "string"},
    "contains": {"type": "boolean"}, "starts_with": {"type": "boolean"},
    "ends_with": {"type": "boolean"},
    "keys": {"type": "array", "items": {"type": "string"}},
}  # fmt: skip


def nullable(schema: Mapping[str, Any]) -> Schema:
    """Return `schema` or null; nothing is added where it holds anything anyway."""
    if not schema:
        return {}
    if "anyOf" in schema and {"type": "null"} in schema["anyOf"]:
        return dict(schema)
    return {"anyOf": [dict(schema), {"type": "null"}]}


def selected(expression: str, schema: Mapping[str, Any] | None = None) -> Schema:
    """Return the schema of what `expression` makes of a value that meets `schema`."""
    return _infer(jmespath.compile(expression).parsed, dict(schema or {}))


def _infer(  # noqa: C901, PLR0911 - one branch for each kind of node
    node: Mapping[str, Any], schema: Schema
) -> Schema:
    kind, children = node["type"], node["children"]
    if kind in {"current", "identity"}:
        return schema
    if kind == "field":
        members = _plain(schema).get("properties", {})
        return nullable(members.get(node["value"], {}))
    if kind in {"subexpression", "index_expression", "pipe"}:
        for child in children:
            schema = _infer(child, schema)
        return schema
    if kind == "slice":
        return schema
    if kind == "index":
        return nullable(_items(schema))
    if kind in {"projection", "flatten", "filter_projection"}:
        return _projection(kind, children, schema)
    if kind == "multi_select_dict":
        members = {pair["value"]: _infer(pair["children"][0], schema) for pair in children}
        return nullable({"type": "object", "properties": members, "required": list(members)})
    if kind == "multi_select_list":
        return nullable({"type": "array", "minItems": len(children), "maxItems": len(children)})
    if kind == "comparator":
        return nullable({"type": "boolean"})
    if kind == "function_expression":
        return dict(_FUNCTIONS.get(node["value"], {}))
    return {}


def _projection(kind: str, children: list[Any], schema: Schema) -> Schema:
    inner = _infer(children[0], schema)
    if kind == "flatten":
        # [] lifts the elements of lists by one level and keeps what is no list; only a list whose
        # elements are known to be none stays the same.
        items = _plain(_items(inner))
        return nullable({"type": "array"} | (
            {"items": items} if items.get("type") not in {None, "array"} else {}
        ))  # fmt: skip
    items = _infer(children[1], _items(inner))
    # Projections drop nulls, so what is left is none.
    return nullable({"type": "array"} | ({"items": _plain(items)} if items else {}))


def _items(schema: Schema) -> Schema:
    items = _plain(schema).get("items", {})
    return dict(items) if isinstance(items, dict) else {}


def _plain(schema: Schema) -> Schema:
    """Return the schema without its null branch."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch != {"type": "null"}]
    return dict(branches[0]) if len(branches) == 1 else schema
