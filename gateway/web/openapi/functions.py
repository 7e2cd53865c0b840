"""The result types of JMESPath's functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.web.openapi.alternatives import length, member
from gateway.web.openapi.schema import NEVER, NULL, Schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.web.openapi.shapes import Shapes

__all__ = ["SORTABLE", "Functions", "array_of"]

SORTABLE = {"integer", "number", "string"}
"""The types that JMESPath can compare."""

_BOOLEAN: Schema = {"type": "boolean"}
_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_NUMBERS = {"integer", "number"}


class Functions:
    """The schema of a function's result from those of its arguments.

    A function raises for an argument of another type, so only the alternatives of its types count.
    `map`, `sort_by`, `min_by` and `max_by` take an expression and are not among them.

    Args:
        shapes: the document that references point into.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._rules: dict[str, Callable[[list[Schema]], Schema]] = {
            "abs": lambda given: self._number_like(given[0]),
            "avg": lambda given: self.of_list(given[0], lambda _: _NUMBER),
            "ceil": lambda _: _INTEGER,
            "contains": lambda _: _BOOLEAN,
            "ends_with": lambda _: _BOOLEAN,
            "floor": lambda _: _INTEGER,
            "join": lambda _: _STRING,
            "keys": lambda _: {"type": "array", "items": _STRING},
            "length": lambda _: {"type": "integer", "minimum": 0},
            "max": lambda given: self.of_list(given[0], self._sortable),
            "merge": self._merge,
            "min": lambda given: self.of_list(given[0], self._sortable),
            "not_null": self._first_not_null,
            "reverse": lambda given: self._shapes.union(
                [*self.arrays(given[0]), *([_STRING] if self._only(given[0], {"string"}) else [])]
            ),
            "sort": lambda given: self._shapes.union(self.arrays(given[0], self._sortable)),
            "starts_with": lambda _: _BOOLEAN,
            "sum": self._sum,
            "to_array": self._to_array,
            "to_number": self._to_number,
            "to_string": lambda _: _STRING,
            "type": self._type,
            "values": lambda given: self._shapes.union(
                array_of(self._shapes.values(one)) for one in self._only(given[0], {"object"})
            ),
        }

    def result(self, name: str, given: list[Schema]) -> Schema:
        """Return the schema of what the function `name` returns for these arguments."""
        rule = self._rules.get(name)
        return rule(given) if rule is not None else {}

    def arrays(
        self, schema: Schema, change: Callable[[Schema], Schema] | None = None
    ) -> list[Schema]:
        """Return arrays of the same length, in any order, each element changed."""
        change = change or (lambda element: element)
        return [
            array_of(change(self._shapes.elements(one)), *length(one))
            for one in self._only(schema, {"array"})
        ]

    def of_list(self, schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
        """Return the schema of a list's element, or null if the list may be empty."""
        found = []
        for one in self._only(schema, {"array"}):
            least, most = length(one)
            if most != 0:
                found.append(change(self._shapes.elements(one)))
            if least == 0:
                found.append(NULL)
        return self._shapes.union(found)

    # Rules

    def _number_like(self, schema: Schema) -> Schema:
        numbers = self._only(schema, _NUMBERS)
        return _INTEGER if all(one["type"] == "integer" for one in numbers) else _NUMBER

    def _sortable(self, element: Schema) -> Schema:
        alternatives = self._shapes.alternatives(element)
        if all(one["type"] in SORTABLE for one in alternatives):
            return element
        return self._shapes.union(one for one in alternatives if one["type"] in SORTABLE)

    def _sum(self, given: list[Schema]) -> Schema:
        elements = [self._shapes.elements(one) for one in self._only(given[0], {"array"})]
        return self._number_like(self._shapes.union(elements))

    def _merge(self, given: list[Schema]) -> Schema:
        """Later objects win; an open object may have any member."""
        merged: Schema = {"type": "object", "additionalProperties": False}
        for schema in given:
            objects = self._only(schema, {"object"})
            if len(objects) != 1 or "patternProperties" in objects[0]:
                return {"type": "object"}
            merged = self._merged(merged, objects[0])
        return merged

    def _merged(self, first: Schema, then: Schema) -> Schema:
        members = {}
        for name in {**first.get("properties", {}), **then.get("properties", {})}:
            new = member(then, name)
            surely = name in then.get("required", ())
            members[name] = new if surely else self._shapes.union([member(first, name), new])
        more = self._shapes.union([first.get("additionalProperties", {}),
                                   then.get("additionalProperties", {})])  # fmt: skip
        required = dict.fromkeys([*first.get("required", ()), *then.get("required", ())])
        return {
            "type": "object",
            **({"properties": members} if members else {}),
            **({"required": list(required)} if required else {}),
            "additionalProperties": False if more == NEVER else more or True,
        }

    def _first_not_null(self, given: list[Schema]) -> Schema:
        found = []
        for schema in given:
            found.append(self._shapes.without_null(schema))
            if not self._shapes.may_be_null(schema):
                return self._shapes.union(found)
        return self._shapes.union([*found, NULL])

    def _to_array(self, given: list[Schema]) -> Schema:
        alternatives = self._shapes.alternatives(given[0])
        if all(one["type"] != "array" for one in alternatives):
            return array_of(given[0], 1, 1)
        return self._shapes.union(
            one if one["type"] == "array" else array_of(one, 1, 1) for one in alternatives
        )

    def _to_number(self, given: list[Schema]) -> Schema:
        found = []
        for one in self._shapes.alternatives(given[0]):
            if one["type"] in _NUMBERS:
                found.append(one)
            elif one["type"] == "string":
                found += [_NUMBER, NULL]
            else:
                found.append(NULL)
        return self._shapes.union(found)

    def _type(self, given: list[Schema]) -> Schema:
        kinds = {
            "number" if one["type"] == "integer" else one["type"]
            for one in self._shapes.alternatives(given[0])
        }
        return {"type": "string", "enum": sorted(kinds)} if kinds else NEVER

    def _only(self, schema: Schema, kinds: set[str]) -> list[Schema]:
        """Return the alternatives of these types; a function raises for any other type."""
        return [one for one in self._shapes.alternatives(schema) if one["type"] in kinds]


def array_of(element: Schema, least: int = 0, most: int | None = None) -> Schema:
    """Return the schema of an array of `least` to `most` elements."""
    if element == NEVER:
        most = 0
    array: Schema = {"type": "array"}
    if element and element != NEVER:
        array["items"] = element
    if least and most != 0:
        array["minItems"] = least
    if most is not None:
        array["maxItems"] = most
    return array
