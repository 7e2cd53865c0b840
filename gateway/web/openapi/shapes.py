"""JSON Schema operations for the OpenAPI document: moving, splitting by type, and union.

A schema can describe a value in many ways (references, `anyOf`, lists of types, constants).
`Shapes.alternatives` splits it into plain schemas of a single type each, so that the result of an
expression can be inferred. It leaves out what it does not understand, so the alternatives may allow
more than the schema does, but never less.
"""

from __future__ import annotations

import json
import math
import re
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from gateway.expressions.json_schema import SchemaError, compile_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

__all__ = ["NEVER", "NULL", "Schema", "Shapes", "as_schema", "hoisted", "length", "literal",
           "moved", "references", "refers", "tellable", "with_items"]  # fmt: skip

Schema = dict[str, Any]

NULL: Schema = {"type": "null"}
NEVER: Schema = {"not": {}}
"""The schema that no value meets."""

_TYPES = ("null", "boolean", "number", "string", "array", "object")
# "Anything except null" is not worth writing out.
_ALL_BUT_NULL = frozenset(_TYPES[1:])
_TYPE_OF = {bool: "boolean", int: "integer", float: "number", str: "string"}
_SPEAKS_OF = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties", "patternProperties",
               "minProperties", "maxProperties"),
}  # fmt: skip
_SPEAKS_OF["integer"] = _SPEAKS_OF["number"]
_NOTES = ("title", "description")
# Keywords that only remove values, independently of their neighbors.
_CONSTRAINTS = {
    *_SPEAKS_OF["number"], *_SPEAKS_OF["string"], *_NOTES, "required", "const", "enum",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
}  # fmt: skip
_LEAST = ("minItems", "minLength", "minProperties", "minimum", "exclusiveMinimum")
_MOST = ("maxItems", "maxLength", "maxProperties", "maximum", "exclusiveMaximum")
_MOST_ALTERNATIVES = 32
"""Beyond this number of alternatives only their types are distinguished."""

# Keywords whose values are data, and keywords whose values map free names to schemas.
_DATA = {"const", "default", "enum", "example", "examples"}
_NAMED = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
# Keywords that mean something else in another document.
_BOUND = {"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"}
# In drafts up to 7 a reference makes validators ignore the other keywords of its schema.
_OLD_DRAFTS = ("/draft-03/", "/draft-04/", "/draft-06/", "/draft-07/")
_DEFINITIONS = {"$defs", "definitions"}
_HONORED_WITH_REFERENCES = {"$ref", "$comment", *_DEFINITIONS, *_NOTES}
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


def hoisted(schema: Schema, name: str, home: str) -> dict[str, Schema]:
    """Return `schema` and the targets of its references as named schemas at `home`.

    References then point only to components, never into another schema: many code generators and
    linters support no other references.
    """
    names = {"#": name}
    left = ["#"]
    root = Shapes(schema)
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
        result[names[reference]] = _mapped(root.target(reference), change)
    return result


def _pointed_at(reference: str) -> str:
    """Return a component name for the target of a JSON pointer."""
    steps = [step for step in unquote(reference).split("/")[1:] if step not in _DEFINITIONS]
    return re.sub(r"[^A-Za-z0-9._-]", "-", ".".join(steps)) or "definition"


def _fresh(name: str, taken: Container[str]) -> str:
    if name not in taken:
        return name
    return next(one for n in count(2) if (one := f"{name}-{n}") not in taken)


def with_items(schema: Any) -> Any:
    """Return `schema` with `items` for every array, which linters require."""

    def change(part: Schema) -> Schema:
        if part.get("type") == "array" and not _SAYS_WHAT_IS_LEFT & part.keys():
            return {**part, "items": {}}
        return part

    return _mapped(schema, change)


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


def as_schema(schema: Any) -> Schema:
    """Return a schema as an object; true and false are schemas too."""
    if schema is False:
        return NEVER
    result: Schema = schema if isinstance(schema, dict) else {}
    return result


class Shapes:
    """Queries on schemas whose references point into one document.

    Args:
        root: the document.
    """

    def __init__(self, root: Mapping[str, Any] | None = None) -> None:
        self._root = dict(root or {})
        self._found: dict[str, tuple[Schema, ...]] = {}
        self._home: Schema = {}

    def alternatives(self, schema: Any) -> tuple[Schema, ...]:
        """Return plain schemas, each of one type; a value of `schema` meets at least one of them.

        They have no references and no combinations, except in the schemas of their members and
        elements.
        """
        return self._alternatives(as_schema(schema), frozenset())

    def may_be_null(self, schema: Any) -> bool:
        """Whether null may meet `schema`."""
        return any(one["type"] == "null" for one in self.alternatives(schema))

    def accepts(self, schema: Any, value: Any) -> bool:
        """Whether `value` is known to meet `schema`."""
        whole: Schema = {"allOf": [as_schema(schema)]}
        if refers(whole):
            if not self._home:
                self._home = {"root": moved(self._root, "#/$defs/root")}
            whole = moved(whole, "#/$defs/root") | {"$defs": self._home}
        try:
            return compile_schema(whole).is_valid(value)
        except SchemaError:  # a reference without a target
            return False

    def nullable(self, schema: Any) -> Schema:
        """Return `schema` or null."""
        return self.union([schema, NULL])

    def without_null(self, schema: Any) -> Schema:
        """Return `schema` without null; an unknown schema stays as it is."""
        whole = as_schema(schema)
        alternatives = self.alternatives(whole)
        if all(one["type"] != "null" for one in alternatives) or _is_open(alternatives):
            return whole
        return self.union(self._not_null(whole, frozenset()))

    def union(self, schemas: Iterable[Any]) -> Schema:
        """Return the union of `schemas`, without redundant branches."""
        branches = _distinct(schemas)
        if len(branches) > 1:
            self._drop_what_others_say(branches)
        return _any_of(branches)

    def _drop_what_others_say(self, branches: dict[str, Schema]) -> None:
        """Remove each branch whose only value, or whose type, another branch covers."""
        for text, branch in list(branches.items()):
            others = [other for key, other in branches.items() if key != text]
            if branch == NULL:
                said = any(self.may_be_null(o) and self.accepts(o, None) for o in others)
            elif (values := _listed(branch)) is not None:
                said = any(all(self.accepts(other, one) for one in values) for other in others)
            else:
                said = any(_is_looser(other, branch) for other in others)
            if said:
                del branches[text]
        both = {"type": "boolean", "const": True}, {"type": "boolean", "const": False}
        if all(one in branches.values() for one in both):
            for one in both:
                del branches[_text(one)]
            branches["boolean"] = {"type": "boolean"}

    def _not_null(self, schema: Schema, trail: frozenset[str]) -> Iterator[Schema]:
        """Yield the branches of `schema` without null, unchanged where possible."""
        reference = schema.get("$ref")
        if not self.may_be_null(schema):
            yield schema
        elif "anyOf" in schema and schema.keys() <= {"anyOf", *_NOTES}:
            for branch in schema["anyOf"]:
                yield from self._not_null(as_schema(branch), trail)
        elif (
            isinstance(reference, str)
            and schema.keys() <= _HONORED_WITH_REFERENCES
            and reference not in trail
        ):
            yield from self._not_null(self.target(reference), trail | {reference})
        else:
            yield from (one for one in self.alternatives(schema) if one["type"] != "null")

    # Splitting

    def _alternatives(self, schema: Schema, trail: frozenset[str]) -> tuple[Schema, ...]:
        if schema.get("not", False) in ({}, True):
            return ()
        found = _own(schema)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found = self._met(found, self._referred(reference, trail))
        for part in schema.get("allOf", ()):
            found = self._met(found, self._alternatives(as_schema(part), trail))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                branches = (self._alternatives(as_schema(one), trail) for one in schema[key])
                found = self._met(found, _few(one for branch in branches for one in branch))
        return found

    def _referred(self, reference: str, trail: frozenset[str]) -> tuple[Schema, ...]:
        if reference in trail:  # a circular reference adds no constraint
            return _own({})
        if reference not in self._found:
            target = self.target(reference)
            self._found[reference] = self._alternatives(target, trail | {reference})
        return self._found[reference]

    def target(self, reference: str) -> Schema:
        """Return the target of a JSON pointer (RFC 6901, in a fragment)."""
        if reference != "#" and not reference.startswith("#/"):
            return {}
        found: Any = self._root
        for step in unquote(reference[1:]).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(name)] if isinstance(found, list) else found[name]
            except (LookupError, TypeError, ValueError):
                return {}
        return as_schema(found)

    def _met(self, these: tuple[Schema, ...], those: tuple[Schema, ...]) -> tuple[Schema, ...]:
        """Return the alternatives of values that meet one of `these` and one of `those`."""
        met = (self._meet(this, that) for this in these for that in those)
        return _few(one for one in met if one is not None)

    def _meet(self, this: Schema, that: Schema) -> Schema | None:
        kinds = {this["type"], that["type"]}
        if kinds != {this["type"]} and kinds != {"integer", "number"}:
            return None
        kind = "integer" if "integer" in kinds else this["type"]
        met: Schema = {**that, **this, "type": kind}
        for keys, choose in ((_LEAST, max), (_MOST, min)):
            for key in keys:
                if key in this and key in that:
                    met[key] = choose(this[key], that[key])
        these, those = _listed(this), _listed(that)
        if these is not None and those is not None:
            common = [value for value in these if value in those]
            if not common:
                return None
            met = {key: value for key, value in met.items() if key not in {"const", "enum"}}
            met |= {"const": common[0]} if len(common) == 1 else {"enum": common}
        if kind == "object":
            self._meet_objects(this, that, met)
        elif kind == "array":
            _meet_arrays(this, that, met)
        return met

    def _meet_objects(self, this: Schema, that: Schema, met: Schema) -> None:
        names = {**this.get("properties", {}), **that.get("properties", {})}
        if names:
            met["properties"] = {
                name: _both(self.member(this, name), self.member(that, name)) for name in names
            }
        patterns = {**this.get("patternProperties", {}), **that.get("patternProperties", {})}
        for pattern in patterns:
            patterns[pattern] = _both(
                this.get("patternProperties", {}).get(pattern),
                that.get("patternProperties", {}).get(pattern),
            )
        if patterns:
            met["patternProperties"] = patterns
        more = _both(this.get("additionalProperties"), that.get("additionalProperties"))
        if more:
            met["additionalProperties"] = more
        if "required" in met:
            required = [*this.get("required", ()), *that.get("required", ())]
            met["required"] = list(dict.fromkeys(required))

    # Objects

    def member(self, alternative: Schema, name: str) -> Schema:
        """Return the schema of the member `name` of an object, if it is present."""
        members = alternative.get("properties", {})
        if name in members:
            return as_schema(members[name])
        patterns = alternative.get("patternProperties", {})
        # The branches are not split here, because splitting itself calls this.
        more = as_schema(alternative.get("additionalProperties"))
        return _any_of(_distinct([*patterns.values(), more]))

    def values(self, alternative: Schema) -> Schema:
        """Return the schema of any member of an object."""
        return self.union(
            [
                *alternative.get("properties", {}).values(),
                *alternative.get("patternProperties", {}).values(),
                as_schema(alternative.get("additionalProperties")),
            ]
        )

    # Arrays

    def elements(self, alternative: Schema) -> Schema:
        """Return the schema of any element of an array."""
        prefix, rest = _parts_of_array(alternative)
        most = length(alternative)[1]
        if most is not None and most <= len(prefix):
            return self.union(prefix[:most])
        return self.union([*prefix, rest])

    def element(self, alternative: Schema, index: int) -> Schema:
        """Return the schema of the element at `index`, or null if it may be absent."""
        prefix, rest = _parts_of_array(alternative)
        least, most = length(alternative)
        if index < 0 and least == most and most is not None:
            index += most
            if index < 0:
                return NULL
        there = least > index if index >= 0 else least >= -index
        if index < 0:
            found = self.elements(alternative)
        elif most is not None and index >= most:
            return NULL
        else:
            found = prefix[index] if index < len(prefix) else rest
        return found if there else self.nullable(found)


def length(alternative: Schema) -> tuple[int, int | None]:
    """Return the least and the most elements of an array; `None` means no bound."""
    least = int(alternative.get("minItems", 0))
    most = int(alternative["maxItems"]) if "maxItems" in alternative else None
    prefix, rest = _parts_of_array(alternative)
    if rest == NEVER:
        most = len(prefix) if most is None else min(most, len(prefix))
    return least, most


def _parts_of_array(alternative: Schema) -> tuple[list[Schema], Schema]:
    prefix = [as_schema(one) for one in alternative.get("prefixItems", ())]
    return prefix, as_schema(alternative.get("items"))


def _meet_arrays(this: Schema, that: Schema, met: Schema) -> None:
    (these, rest), (those, other) = _parts_of_array(this), _parts_of_array(that)
    count = max(len(these), len(those))
    both = [
        _both(a, b)
        for a, b in zip(
            [*these, *[rest] * (count - len(these))],
            [*those, *[other] * (count - len(those))],
            strict=True,
        )
    ]
    if both:
        met["prefixItems"] = both
    if items := _both(rest, other):
        met["items"] = items


def _both(this: Any, that: Any) -> Schema:
    one, other = as_schema(this), as_schema(that)
    if NEVER in (one, other):
        return NEVER
    if not one or one == other:
        return other
    return {"allOf": [one, other]} if other else one


def _own(schema: Schema) -> tuple[Schema, ...]:
    """Return the alternatives of a schema by its own keywords, without combinations."""
    written = schema.get("type", _TYPES)
    kinds = dict.fromkeys([written] if isinstance(written, str) else written)
    if "number" in kinds:
        kinds.pop("integer", None)
    notes = {key: schema[key] for key in _NOTES if key in schema}
    values = _listed(schema)
    if values is not None:
        return tuple(one if one == NULL else {**one, **notes} for one in _grouped(values, kinds))
    return tuple(
        {"type": kind}
        | {key: schema[key] for key in _SPEAKS_OF.get(kind, ()) if key in schema}
        | ({} if kind == "null" else notes)
        for kind in kinds
    )


def _listed(schema: Schema) -> list[Any] | None:
    """Return the values that a schema lists, or `None` if it lists none."""
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _grouped(values: list[Any], kinds: Container[str]) -> Iterator[Schema]:
    """Yield the alternatives of values, with the numbers and strings of one type together."""
    groups: dict[str, list[Any]] = {}
    for value in values:
        one = literal(value)
        kind = one.get("type", "number")
        if kind in kinds or (kind == "integer" and "number" in kinds):
            if kind in {"integer", "number", "string"}:
                groups.setdefault(kind, []).append(value)
            else:
                yield one
        elif kind == "number" and "integer" in kinds and value == int(value):
            groups.setdefault("integer", []).append(value)
    for kind, group in groups.items():
        yield {"type": kind} | ({"const": group[0]} if len(group) == 1 else {"enum": group})


def _few(alternatives: Iterable[Schema]) -> tuple[Schema, ...]:
    """Return distinct alternatives, or only their types if there are too many."""
    found = list(alternatives)
    distinct = {_text(one): one for one in found} if len(found) > 1 else dict(enumerate(found))
    if len(distinct) <= _MOST_ALTERNATIVES:
        return tuple(distinct.values())
    return tuple({"type": kind} for kind in dict.fromkeys(o["type"] for o in distinct.values()))


def _is_open(alternatives: Iterable[Schema]) -> bool:
    """Whether the type of a value is unknown."""
    return {one["type"] for one in alternatives} >= set(_TYPES)


def _is_bare(schema: Schema) -> bool:
    return schema.keys() == {"type"} and isinstance(schema["type"], str)


def _text(schema: Any) -> str:
    """Return a key that distinguishes schemas; in Python true equals 1."""
    return json.dumps(schema, sort_keys=True)


def _is_looser(schema: Schema, than: Schema) -> bool:
    """Whether a schema equals another one with some constraints removed."""
    left = {key for key in than if key not in schema}
    if than.get("type") == "integer" and schema.get("type") == "number":
        than = {**than, "type": "number"}
    return left <= _CONSTRAINTS and all(
        key in _NOTES or (key in than and _text(than[key]) == _text(value))
        for key, value in schema.items()
    )


def _distinct(schemas: Iterable[Any]) -> dict[str, Schema]:
    """Return the branches of a union by their keys; a branch of anything replaces them all."""
    branches: dict[str, Schema] = {}
    for schema in schemas:
        for branch in _branches(as_schema(schema)):
            if not branch:
                return {"{}": {}}
            if branch != NEVER:
                branches.setdefault(_text(branch), branch)
    return branches


def _any_of(branches: Mapping[str, Schema]) -> Schema:
    if {branch["type"] for branch in branches.values() if _is_bare(branch)} >= _ALL_BUT_NULL:
        return {}
    result = sorted(branches.values(), key=lambda branch: branch == NULL)
    if not result:
        return NEVER
    return result[0] if len(result) == 1 else {"anyOf": result}


def _branches(schema: Schema) -> Iterator[Schema]:
    if schema.keys() == {"anyOf"}:
        for branch in schema["anyOf"]:
            yield from _branches(as_schema(branch))
    else:
        yield schema


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
        return {key: value for key, value in part.items() if key in _HONORED_WITH_REFERENCES}

    result: Schema = _mapped(schema, alone)
    return result


def _is_bound(part: Schema) -> bool:
    """Whether a schema depends on its document in other ways than by JSON pointers."""
    reference = part.get("$ref", "#")
    if isinstance(reference, str) and reference != "#" and not reference.startswith("#/"):
        return True
    return isinstance(part.get("$id"), str) or not _BOUND.isdisjoint(part)
