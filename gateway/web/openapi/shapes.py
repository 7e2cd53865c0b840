"""Queries on JSON Schemas for the OpenAPI document: splitting by type, and union.

A schema can describe a value in many ways (references, `anyOf`, lists of types, constants).
`Shapes.alternatives` splits it into plain schemas of a single type each, so that the result of an
expression can be inferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.expressions.json_schema import SchemaError, compile_schema
from gateway.web.openapi.alternatives import (
    few,
    intersection,
    length,
    listed,
    own,
    parts_of_array,
)
from gateway.web.openapi.references import HONORED_WITH_REFERENCES, moved, refers, target
from gateway.web.openapi.schema import NOTES, NULL, TYPES, Schema, as_schema, schema_text
from gateway.web.openapi.unions import any_of, distinct, is_looser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Shapes"]


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
        branches = distinct(schemas)
        if len(branches) > 1:
            self._drop_what_others_say(branches)
        return any_of(branches)

    def _drop_what_others_say(self, branches: dict[str, Schema]) -> None:
        """Remove each branch whose only value, or whose type, another branch covers."""
        for text, branch in list(branches.items()):
            others = [other for key, other in branches.items() if key != text]
            if branch == NULL:
                said = any(self.may_be_null(o) and self.accepts(o, None) for o in others)
            elif (values := listed(branch)) is not None:
                said = any(all(self.accepts(other, one) for one in values) for other in others)
            else:
                said = any(is_looser(other, branch) for other in others)
            if said:
                del branches[text]
        both = {"type": "boolean", "const": True}, {"type": "boolean", "const": False}
        if all(one in branches.values() for one in both):
            for one in both:
                del branches[schema_text(one)]
            branches["boolean"] = {"type": "boolean"}

    def _not_null(self, schema: Schema, trail: frozenset[str]) -> Iterator[Schema]:
        """Yield the branches of `schema` without null, unchanged where possible."""
        reference = schema.get("$ref")
        if not self.may_be_null(schema):
            yield schema
        elif "anyOf" in schema and schema.keys() <= {"anyOf", *NOTES}:
            for branch in schema["anyOf"]:
                yield from self._not_null(as_schema(branch), trail)
        elif (
            isinstance(reference, str)
            and schema.keys() <= HONORED_WITH_REFERENCES
            and reference not in trail
        ):
            yield from self._not_null(target(self._root, reference), trail | {reference})
        else:
            yield from (one for one in self.alternatives(schema) if one["type"] != "null")

    # Splitting

    def _alternatives(self, schema: Schema, trail: frozenset[str]) -> tuple[Schema, ...]:
        if schema.get("not", False) in ({}, True):
            return ()
        found = own(schema)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            found = intersection(found, self._referred(reference, trail))
        for part in schema.get("allOf", ()):
            found = intersection(found, self._alternatives(as_schema(part), trail))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                branches = (self._alternatives(as_schema(one), trail) for one in schema[key])
                found = intersection(found, few(one for branch in branches for one in branch))
        return found

    def _referred(self, reference: str, trail: frozenset[str]) -> tuple[Schema, ...]:
        if reference in trail:  # a circular reference adds no constraint
            return own({})
        if reference not in self._found:
            there = target(self._root, reference)
            self._found[reference] = self._alternatives(there, trail | {reference})
        return self._found[reference]

    # Objects

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
        prefix, rest = parts_of_array(alternative)
        most = length(alternative)[1]
        if most is not None and most <= len(prefix):
            return self.union(prefix[:most])
        return self.union([*prefix, rest])

    def element(self, alternative: Schema, index: int) -> Schema:
        """Return the schema of the element at `index`, or null if it may be absent."""
        prefix, rest = parts_of_array(alternative)
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


def _is_open(alternatives: Iterable[Schema]) -> bool:
    """Whether the type of a value is unknown."""
    return {one["type"] for one in alternatives} >= set(TYPES)
