"""References in JSON Schemas: following and moving them, and components for their targets."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gateway.expressions.json_schema import SchemaError, compile_schema
from gateway.web.openapi.schema import NOTES, Schema, as_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

__all__ = ["HONORED_WITH_REFERENCES", "hoisted", "moved", "references", "refers", "target",
           "tellable", "with_items"]  # fmt: skip

# Keywords whose values are data, and keywords whose values map free names to schemas.
_DATA = {"const", "default", "enum", "example", "examples"}
_NAMED = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
# Keywords that mean something else in another document.
_BOUND = {"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"}
# In drafts up to 7 a reference makes validators ignore the other keywords of its schema.
_OLD_DRAFTS = ("/draft-03/", "/draft-04/", "/draft-06/", "/draft-07/")
_DEFINITIONS = {"$defs", "definitions"}
HONORED_WITH_REFERENCES = {"$ref", "$comment", *_DEFINITIONS, *NOTES}
"""Keywords that mean the same beside a reference in every draft."""
_SAYS_WHAT_IS_LEFT = {"items", "unevaluatedItems"}


def tellable(schema: Mapping[str, Any]) -> Schema:
    """Return `schema` for use in an OpenAPI document, once its references are `moved`.

    References that are `#` or a JSON pointer into the schema itself stay. A schema with any other
    reference, or of an older draft with another meaning, becomes the schema of anything.
    """
    result = {key: value for key, value in schema.items() if key not in {"$schema", "$id"}}
    if any(_is_bound(part) for part in _parts(result)):
        return {}
    if "$schema" in schema:
        try:
            compile_schema(result)
        except SchemaError:
            return {}
        if any(draft in str(schema["$schema"]) for draft in _OLD_DRAFTS):
            result = _with_lone_references(result)
    return result


def refers(schema: Schema) -> bool:
    """Whether there is a reference in `schema`."""
    return next(references(schema), None) is not None


def references(schema: Any) -> Iterator[str]:
    """Yield every reference in `schema`."""
    for part in _parts(schema):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]


def moved(schema: Any, to: str) -> Any:
    """Return `schema` with its references into itself, `#`, pointing into `to`."""

    def move(part: Schema) -> Schema:
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            return part | {"$ref": to + reference[1:]}
        return part

    return _mapped(schema, move)


def target(root: Mapping[str, Any], reference: str) -> Schema:
    """Return the target of a JSON pointer into `root` (RFC 6901, in a fragment)."""
    if reference != "#" and not reference.startswith("#/"):
        return {}
    found: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (LookupError, TypeError, ValueError):
            return {}
    return as_schema(found)


def hoisted(schema: Schema, name: str, home: str) -> dict[str, Schema]:
    """Return `schema` and the targets of its references as named schemas at `home`.

    References then point only to components, never into another schema: many code generators and
    linters support no other references.
    """
    names = {"#": name}
    left = ["#"]
    result: dict[str, Schema] = {}

    def change(part: Schema) -> Schema:
        reference = part.get("$ref")
        rest = {key: value for key, value in part.items() if key not in _DEFINITIONS}
        if isinstance(reference, str):
            if reference not in names:
                names[reference] = _fresh(f"{name}.{_pointed_at(reference)}", names.values())
                left.append(reference)
            rest["$ref"] = home + names[reference]
        return rest

    while left:
        reference = left.pop()
        result[names[reference]] = _mapped(target(schema, reference), change)
    return result


def with_items(schema: Any) -> Any:
    """Return `schema` with `items` for every array, which linters require."""

    def change(part: Schema) -> Schema:
        if part.get("type") == "array" and not _SAYS_WHAT_IS_LEFT & part.keys():
            return {**part, "items": {}}
        return part

    return _mapped(schema, change)


def _pointed_at(reference: str) -> str:
    """Return a component name for the target of a JSON pointer."""
    steps = [step for step in unquote(reference).split("/")[1:] if step not in _DEFINITIONS]
    return re.sub(r"[^A-Za-z0-9._-]", "-", ".".join(steps)) or "definition"


def _fresh(name: str, taken: Container[str]) -> str:
    if name not in taken:
        return name
    return next(one for n in count(2) if (one := f"{name}-{n}") not in taken)


def _parts(schema: Any) -> Iterator[Schema]:
    """Yield a schema and every schema in it."""
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


def _mapped(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """Return `schema` with `change` applied to it and to every schema in it."""
    if isinstance(schema, list):
        return [_mapped(part, change) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for key, value in schema.items():
        if key in _DATA:
            result[key] = value
        elif key in _NAMED and isinstance(value, dict):
            result[key] = {name: _mapped(part, change) for name, part in value.items()}
        else:
            result[key] = _mapped(value, change)
    return change(result)


def _with_lone_references(schema: Schema) -> Schema:
    """Return a schema of an old draft without the keywords that its references disable."""

    def alone(part: Schema) -> Schema:
        if not isinstance(part.get("$ref"), str):
            return part
        return {key: value for key, value in part.items() if key in HONORED_WITH_REFERENCES}

    result: Schema = _mapped(schema, alone)
    return result


def _is_bound(part: Schema) -> bool:
    """Whether a schema depends on its document in other ways than by JSON pointers."""
    reference = part.get("$ref", "#")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        return True
    return isinstance(part.get("$id"), str) or not _BOUND.isdisjoint(part)
