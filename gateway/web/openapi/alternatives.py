"""Alternatives: plain schemas of a single type each, and what they say of members and elements.

A value of a schema meets one of its alternatives at least. What is not understood is left out of
them, so they may allow more than the schema does, but never less.
"""

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
    literal,
    schema_text,
)
from gateway.web.openapi.unions import any_of, distinct

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

__all__ = ["few", "intersection", "length", "listed", "member", "own", "parts_of_array"]

_LEAST = ("minItems", "minLength", "minProperties", "minimum", "exclusiveMinimum")
_MOST = ("maxItems", "maxLength", "maxProperties", "maximum", "exclusiveMaximum")
_MOST_ALTERNATIVES = 32
"""Beyond this number of alternatives only their types are distinguished."""


def own(schema: Schema) -> tuple[Schema, ...]:
    """Return the alternatives of a schema by its own keywords, without combinations."""
    written = schema.get("type", TYPES)
    kinds = dict.fromkeys([written] if isinstance(written, str) else written)
    if "number" in kinds:
        kinds.pop("integer", None)
    notes = {key: schema[key] for key in NOTES if key in schema}
    values = listed(schema)
    if values is not None:
        return tuple(one if one == NULL else {**one, **notes} for one in _grouped(values, kinds))
    return tuple(
        {"type": kind}
        | {key: schema[key] for key in KEYWORDS.get(kind, ()) if key in schema}
        | ({} if kind == "null" else notes)
        for kind in kinds
    )


def listed(schema: Schema) -> list[Any] | None:
    """Return the values that a schema lists, or `None` if it lists none."""
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def few(alternatives: Iterable[Schema]) -> tuple[Schema, ...]:
    """Return distinct alternatives, or only their types if there are too many."""
    found = list(alternatives)
    if len(found) > 1:
        found = list({schema_text(one): one for one in found}.values())
    if len(found) <= _MOST_ALTERNATIVES:
        return tuple(found)
    return tuple({"type": kind} for kind in dict.fromkeys(one["type"] for one in found))


def intersection(these: tuple[Schema, ...], those: tuple[Schema, ...]) -> tuple[Schema, ...]:
    """Return the alternatives of values that meet one of `these` and one of `those`."""
    met = (_meet(this, that) for this in these for that in those)
    return few(one for one in met if one is not None)


def _meet(this: Schema, that: Schema) -> Schema | None:
    kinds = {this["type"], that["type"]}
    if kinds != {this["type"]} and kinds != {"integer", "number"}:
        return None
    kind = "integer" if "integer" in kinds else this["type"]
    met: Schema = {**that, **this, "type": kind}
    for keys, choose in ((_LEAST, max), (_MOST, min)):
        for key in keys:
            if key in this and key in that:
                met[key] = choose(this[key], that[key])
    these, those = listed(this), listed(that)
    if these is not None and those is not None:
        common = [value for value in these if value in those]
        if not common:
            return None
        met = {key: value for key, value in met.items() if key not in {"const", "enum"}}
        met |= {"const": common[0]} if len(common) == 1 else {"enum": common}
    if kind == "object":
        _meet_objects(this, that, met)
    elif kind == "array":
        _meet_arrays(this, that, met)
    return met


def _meet_objects(this: Schema, that: Schema, met: Schema) -> None:
    names = {**this.get("properties", {}), **that.get("properties", {})}
    if names:
        met["properties"] = {name: _both(member(this, name), member(that, name)) for name in names}
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


def _meet_arrays(this: Schema, that: Schema, met: Schema) -> None:
    (these, rest), (those, other) = parts_of_array(this), parts_of_array(that)
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


def length(alternative: Schema) -> tuple[int, int | None]:
    """Return the least and the most elements of an array; `None` means no bound."""
    least = int(alternative.get("minItems", 0))
    most = int(alternative["maxItems"]) if "maxItems" in alternative else None
    prefix, rest = parts_of_array(alternative)
    if rest == NEVER:
        most = len(prefix) if most is None else min(most, len(prefix))
    return least, most


def parts_of_array(alternative: Schema) -> tuple[list[Schema], Schema]:
    """Return the schemas of the first elements of an array, and that of the others."""
    prefix = [as_schema(one) for one in alternative.get("prefixItems", ())]
    return prefix, as_schema(alternative.get("items"))


def member(alternative: Schema, name: str) -> Schema:
    """Return the schema of the member `name` of an object, if it is present."""
    members = alternative.get("properties", {})
    if name in members:
        return as_schema(members[name])
    patterns = alternative.get("patternProperties", {})
    # The branches are not split here, because splitting itself calls this.
    more = as_schema(alternative.get("additionalProperties"))
    return any_of(distinct([*patterns.values(), more]))


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
