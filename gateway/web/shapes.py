"""Shapes: JSON Schema as it can be told, and what an expression makes of it.

A `select` says a lot about the type of its section even where the upstream's own is unknown:
`[:5].{id: id, title: title}` is a list of objects with these two members. What cannot be told is
the empty schema, which holds anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import jmespath

from gateway.json_schema import SchemaError, compile_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["moved", "nullable", "refers", "selected", "tellable"]

Schema = dict[str, Any]

_NULL = {"type": "null"}
_NUMBER = {"type": "number"}
_FUNCTIONS: dict[str, Schema] = {
    "length": {"type": "integer", "minimum": 0},
    "abs": _NUMBER, "ceil": _NUMBER, "floor": _NUMBER, "sum": _NUMBER,
    "avg": {"anyOf": [_NUMBER, _NULL]},  # of nothing it is null
    "to_string": {"type": "string"}, "join": {"type": "string"}, "type": {"type": "string"},
    "contains": {"type": "boolean"}, "starts_with": {"type": "boolean"},
    "ends_with": {"type": "boolean"},
    "keys": {"type": "array", "items": {"type": "string"}},
}  # fmt: skip

# Keywords whose values are data, and those whose values are schemas by a name of their own choice.
_DATA = {"const", "default", "enum", "example", "examples"}
_NAMED = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
# Keywords that mean something else in another document.
_BOUND = {"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"}
_HOPS = 32
"""References followed at most: one may lead back to itself."""


def tellable(schema: Mapping[str, Any]) -> Schema:
    """Return `schema` so that it can stand in an OpenAPI document, once its references are `moved`.

    References stay where they are `#` or a JSON pointer into the schema itself. One that refers
    otherwise, or that is of an older draft and would mean something else, is told as anything.
    """
    told = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    if any(_is_bound(part) for part in _parts(told)):
        return {}
    if "$schema" in schema:
        try:
            compile_schema(told)
        except SchemaError:
            return {}
    return told


def refers(schema: Schema) -> bool:
    """Whether there is a reference in `schema`."""
    return any(isinstance(part.get("$ref"), str) for part in _parts(schema))


def moved(schema: Any, to: str) -> Any:
    """Return `schema` with its references into itself, `#`, as those into `to`."""
    if isinstance(schema, list):
        return [moved(part, to) for part in schema]
    if not isinstance(schema, dict):
        return schema
    told: Schema = {}
    for key, value in schema.items():
        if key in _DATA:
            told[key] = value
        elif key in _NAMED and isinstance(value, dict):
            told[key] = {name: moved(part, to) for name, part in value.items()}
        elif key == "$ref" and isinstance(value, str) and value.startswith("#"):
            told[key] = to + value[1:]
        else:
            told[key] = moved(value, to)
    return told


def nullable(schema: Mapping[str, Any] | bool) -> Schema:  # noqa: FBT001 - true is a schema
    """Return `schema` or null; nothing is added where it holds anything anyway."""
    schema = _schema(schema)
    if not schema:
        return {}
    if schema.keys() <= {"anyOf", "description", "title"} and _NULL in schema.get("anyOf", ()):
        return schema
    return {"anyOf": [schema, _NULL]}


def selected(
    expression: str,
    schema: Mapping[str, Any] | bool | None = None,  # noqa: FBT001 - true is a schema
    root: Mapping[str, Any] | None = None,
) -> Schema:
    """Return the schema of what `expression` makes of a value that meets `schema`.

    References in it, and in what is returned, lead into `root`; that is `schema` itself unless
    given.
    """
    schema = _schema({} if schema is None else schema)
    node = jmespath.compile(expression).parsed
    return _infer(node, schema, dict(root) if root is not None else schema)


def _infer(  # noqa: C901, PLR0911 - one branch for each kind of node
    node: Mapping[str, Any], schema: Schema, root: Schema
) -> Schema:
    kind, children = node["type"], node["children"]
    if kind in {"current", "identity"}:
        return schema
    if kind == "field":
        members = _plain(schema, root).get("properties", {})
        return nullable(members.get(node["value"], {}))
    if kind in {"subexpression", "index_expression", "pipe"}:
        for child in children:
            schema = _infer(child, schema, root)
        return schema
    if kind == "slice":
        return schema
    if kind == "index":
        return nullable(_items(schema, root))
    if kind in {"projection", "flatten", "filter_projection"}:
        return _projection(kind, children, schema, root)
    if kind == "multi_select_dict":
        members = {pair["value"]: _infer(pair["children"][0], schema, root) for pair in children}
        return nullable({"type": "object", "properties": members, "required": list(members)})
    if kind == "multi_select_list":
        return nullable({"type": "array", "minItems": len(children), "maxItems": len(children)})
    if kind == "comparator":
        return nullable({"type": "boolean"})
    if kind == "function_expression":
        return dict(_FUNCTIONS.get(node["value"], {}))
    return {}


def _projection(kind: str, children: list[Any], schema: Schema, root: Schema) -> Schema:
    inner = _infer(children[0], schema, root)
    items = _items(inner, root)
    if kind == "flatten":
        # [] lifts the elements of lists by one level and keeps what is no list; only a list whose
        # elements are known to be none stays the same.
        items = {} if _may_be_list(items, root) else items
    else:
        # Projections drop nulls, so what is left is none.
        items = _not_null(_infer(children[1], items, root))
    return nullable({"type": "array"} | ({"items": items} if items else {}))


def _items(schema: Schema, root: Schema) -> Schema:
    plain = _plain(schema, root)
    # `items` are those behind the prefix, and a list in a projection has lost its beginning.
    return {} if "prefixItems" in plain else _schema(plain.get("items"))


def _may_be_list(schema: Schema, root: Schema) -> bool:
    kind = _plain(schema, root).get("type", "array")
    return "array" in ([kind] if isinstance(kind, str) else kind)


def _plain(schema: Schema, root: Schema) -> Schema:
    """Return what a schema says of values but null, by reference or in its only other branch.

    Nothing is what one says whose references lead nowhere, or in a circle.
    """
    for _ in range(_HOPS):
        if isinstance(schema.get("$ref"), str):
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = _target(schema["$ref"], root) | beside
        elif (branch := _not_null(schema)) is not schema:
            schema = branch
        else:
            return schema
    return {}


def _not_null(schema: Schema) -> Schema:
    """Return the only branch of a schema that is not null, else the schema."""
    branches = [branch for branch in schema.get("anyOf", ()) if branch != _NULL]
    return _schema(branches[0]) if len(branches) == 1 else schema


def _target(reference: str, root: Schema) -> Schema:
    """Return what a JSON pointer leads to (RFC 6901, in a fragment)."""
    if reference != "#" and not reference.startswith("#/"):
        return {}
    found: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (LookupError, TypeError, ValueError):
            return {}
    return _schema(found)


def _schema(schema: Any) -> Schema:
    """Return a schema as an object; true and false are schemas too."""
    if schema is False:
        return {"not": {}}
    return dict(schema) if isinstance(schema, dict) else {}


def _parts(schema: Any) -> Iterator[Schema]:
    """Yield a schema and all schemas in it."""
    if isinstance(schema, list):
        for part in schema:
            yield from _parts(part)
    elif isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            if key in _NAMED and isinstance(value, dict):
                yield from _parts(list(value.values()))
            elif key not in _DATA:
                yield from _parts(value)


def _is_bound(part: Schema) -> bool:
    """Whether a schema depends on the document that it stands in otherwise than by pointers."""
    reference = part.get("$ref", "#")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        return True
    return isinstance(part.get("$id"), str) or not _BOUND.isdisjoint(part)
