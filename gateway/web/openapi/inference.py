"""Infers the schema of a JMESPath expression's result from the schema of its input.

`[:5].{id: id, title: title}` returns a list of at most five objects with these two members; if the
input's schema requires a title, that title is not null. Every result meets the inferred schema.
What is unknown becomes the empty schema, which every value meets. An expression that does not fit
its input raises, so it has no result to describe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jmespath

from gateway.web.openapi.shapes import NEVER, NULL, Schema, Shapes, as_schema, length, literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["selected"]

Node = dict[str, Any]

_BOOLEAN: Schema = {"type": "boolean"}
_STRING: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_TRUE: Schema = {"type": "boolean", "const": True}
_FALSE: Schema = {"type": "boolean", "const": False}
_NUMBERS = {"integer", "number"}
_SORTABLE = {"integer", "number", "string"}
_COUNTABLE = 1000
"""Up to this number of elements every length is tried."""
# Functions that take an expression, `&name`, and the position of that argument.
_TAKES_EXPRESSION = {"map": 0, "sort_by": 1, "min_by": 1, "max_by": 1}


def selected(expression: str, schema: Any = None, root: Mapping[str, Any] | None = None) -> Schema:
    """Return the schema of the result of `expression` for a value that meets `schema`.

    References in `schema` and in the result point into `root`, which is `schema` by default.
    """
    schema = as_schema(schema)
    return infer(expression, schema, Shapes(schema if root is None else root))


def infer(expression: str, schema: Schema, shapes: Shapes) -> Schema:
    """Return the same; references point into the document of `shapes`."""
    node: Any = jmespath.compile(expression).parsed
    if node["type"] == "expref" or _passes_expressions(node):
        return {}
    return _Inference(shapes).of(node, schema)


def _passes_expressions(node: Node) -> bool:
    """Whether `&name` is used as a value, which has no type."""
    takes = _TAKES_EXPRESSION.get(node["value"]) if node["type"] == "function_expression" else None
    children = [child for child in node["children"] if isinstance(child, dict)]
    return any(
        (child["type"] == "expref" and number != takes) or _passes_expressions(child)
        for number, child in enumerate(children)
    )


class _Inference:
    """Walks the tree of one expression."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._nodes = self._node_rules()
        self._functions = self._function_rules()

    def _node_rules(self) -> dict[str, Callable[[Node, Schema], Schema]]:
        """Return the rule of each type of node."""
        return {
            "current": _same,
            "identity": _same,
            "literal": lambda node, _: literal(node["value"]),
            "field": self._field,
            "subexpression": self._chain,
            "index_expression": self._chain,
            "pipe": self._chain,
            "index": self._index,
            "slice": self._slice,
            "projection": self._projection,
            "filter_projection": self._projection,
            "value_projection": self._value_projection,
            "flatten": self._flatten,
            "multi_select_dict": self._multi_select_dict,
            "multi_select_list": self._multi_select_list,
            "comparator": self._comparator,
            "or_expression": self._or,
            "and_expression": self._and,
            "not_expression": lambda *_: _BOOLEAN,
            "function_expression": self._function,
        }

    def _function_rules(self) -> dict[str, Callable[[list[Schema]], Schema]]:
        """Return the rule of each JMESPath function."""
        return {
            "abs": lambda given: self._number_like(given[0]),
            "avg": lambda given: self._of_list(given[0], lambda _: _NUMBER),
            "ceil": lambda _: _INTEGER,
            "contains": lambda _: _BOOLEAN,
            "ends_with": lambda _: _BOOLEAN,
            "floor": lambda _: _INTEGER,
            "join": lambda _: _STRING,
            "keys": lambda _: {"type": "array", "items": _STRING},
            "length": lambda _: {"type": "integer", "minimum": 0},
            "max": lambda given: self._of_list(given[0], self._sortable),
            "merge": self._merge,
            "min": lambda given: self._of_list(given[0], self._sortable),
            "not_null": self._first_not_null,
            "reverse": lambda given: self._shapes.union(
                [*self._arrays(given[0]), *([_STRING] if self._has(given[0], {"string"}) else [])]
            ),
            "sort": lambda given: self._shapes.union(self._arrays(given[0], self._sortable)),
            "starts_with": lambda _: _BOOLEAN,
            "sum": self._sum,
            "to_array": self._to_array,
            "to_number": self._to_number,
            "to_string": lambda _: _STRING,
            "type": self._type,
            "values": lambda given: self._shapes.union(
                _array(self._shapes.values(one)) for one in self._only(given[0], {"object"})
            ),
        }

    def of(self, node: Node, schema: Schema) -> Schema:
        """Return the schema of the result of `node` for a value that meets `schema`."""
        known = self._nodes.get(node["type"])
        return known(node, schema) if known is not None else {}

    # Paths

    def _chain(self, node: Node, schema: Schema) -> Schema:
        for child in node["children"]:
            schema = self.of(child, schema)
        return schema

    def _field(self, node: Node, schema: Schema) -> Schema:
        name = node["value"]
        found = []
        for one in self._shapes.alternatives(schema):
            if one["type"] == "object":
                found.append(self._shapes.member(one, name))
            if one["type"] != "object" or name not in one.get("required", ()):
                found.append(NULL)
        return self._shapes.union(found)

    def _index(self, node: Node, schema: Schema) -> Schema:
        return self._shapes.union(
            self._shapes.element(one, node["value"]) if one["type"] == "array" else NULL
            for one in self._shapes.alternatives(schema)
        )

    def _slice(self, node: Node, schema: Schema) -> Schema:
        cut = slice(*node["children"])
        found = []
        for one in self._shapes.alternatives(schema):
            if one["type"] == "array":
                least, most = _sliced(cut, length(one))
                found.append(_array(self._shapes.elements(one), least, most))
            else:
                found.append(NULL)
        return self._shapes.union(found)

    # Projections

    def _projection(self, node: Node, schema: Schema) -> Schema:
        base, then = node["children"][:2]
        filtered = node["type"] == "filter_projection"
        found = []
        for one in self._shapes.alternatives(self.of(base, schema)):
            if one["type"] != "array":
                found.append(NULL)
                continue
            least, most = length(one)
            element = self.of(then, self._shapes.elements(one))
            drops_none = not filtered and not self._shapes.may_be_null(element)
            element = self._shapes.without_null(element)
            found.append(_array(element, least if drops_none else 0, most))
        return self._shapes.union(found)

    def _value_projection(self, node: Node, schema: Schema) -> Schema:
        base, then = node["children"]
        found = []
        for one in self._shapes.alternatives(self.of(base, schema)):
            if one["type"] == "object":
                element = self.of(then, self._shapes.values(one))
                found.append(_array(self._shapes.without_null(element)))
            else:
                found.append(NULL)
        return self._shapes.union(found)

    def _flatten(self, node: Node, schema: Schema) -> Schema:
        """`[]` lifts the elements of lists by one level and leaves everything else, even null."""
        return self._shapes.union(
            self._flat(one) if one["type"] == "array" else NULL
            for one in self._shapes.alternatives(self.of(node["children"][0], schema))
        )

    def _flat(self, array: Schema) -> Schema:
        element = self._shapes.elements(array)
        alternatives = self._shapes.alternatives(element)
        if all(one["type"] != "array" for one in alternatives):
            return _array(element, *length(array))
        return _array(
            self._shapes.union(
                self._shapes.elements(one) if one["type"] == "array" else one
                for one in alternatives
            )
        )

    # Construction

    def _multi_select_dict(self, node: Node, schema: Schema) -> Schema:
        def made(there: Schema) -> Schema:
            members = {
                pair["value"]: self.of(pair["children"][0], there) for pair in node["children"]
            }
            return {
                "type": "object",
                "properties": members,
                "required": list(members),
                "additionalProperties": False,
            }

        return self._unless_null(schema, made)

    def _multi_select_list(self, node: Node, schema: Schema) -> Schema:
        def made(there: Schema) -> Schema:
            elements = [self.of(child, there) for child in node["children"]]
            count = len(elements)
            return {
                "type": "array",
                "prefixItems": elements,
                "minItems": count,
                "maxItems": count,
            }

        return self._unless_null(schema, made)

    def _unless_null(self, schema: Schema, made: Callable[[Schema], Schema]) -> Schema:
        """Return the schema of a constructed value, or of null if the input may be null."""
        alternatives = self._shapes.alternatives(schema)
        if all(one["type"] == "null" for one in alternatives):
            return NULL if alternatives else NEVER
        new = made(self._shapes.without_null(schema))
        return self._shapes.nullable(new) if self._shapes.may_be_null(schema) else new

    # Conditions

    def _comparator(self, node: Node, schema: Schema) -> Schema:
        if node["value"] in {"eq", "ne"}:
            return _BOOLEAN
        sides = [self.of(child, schema) for child in node["children"]]
        known = all(
            one["type"] in _SORTABLE for side in sides for one in self._shapes.alternatives(side)
        )
        return _BOOLEAN if known else self._shapes.nullable(_BOOLEAN)

    def _or(self, node: Node, schema: Schema) -> Schema:
        return self._shapes.union(self._or_of(node, one) for one in self._cases(schema))

    def _or_of(self, node: Node, schema: Schema) -> Schema:
        left, right = (self.of(child, schema) for child in node["children"])
        alternatives = self._shapes.alternatives(left)
        if not any(_falsy(one) for one in alternatives):
            return left
        return self._shapes.union([*self._truthy(left, alternatives), right])

    def _truthy(self, schema: Schema, alternatives: Sequence[Schema]) -> Iterable[Schema]:
        if not self._has(schema, {"boolean"}):
            return [self._shapes.without_null(schema)]
        if self._has(schema, {"null", "number", "string", "array", "object"}):
            return [schema]  # anything: the remainder is not worth writing out
        return [
            _TRUE if one == _BOOLEAN else one
            for one in alternatives
            if one["type"] != "null" and one.get("const") is not False
        ]

    def _and(self, node: Node, schema: Schema) -> Schema:
        return self._shapes.union(self._and_of(node, one) for one in self._cases(schema))

    def _cases(self, schema: Schema) -> Sequence[Schema]:
        """Return the kinds of objects in a schema, if there are several.

        `amount || low` has a value if each kind has one of the two members.
        """
        alternatives = self._shapes.alternatives(schema)
        several = sum(one["type"] == "object" for one in alternatives) > 1
        return alternatives if several else [schema]

    def _and_of(self, node: Node, schema: Schema) -> Schema:
        left, right = (self.of(child, schema) for child in node["children"])
        alternatives = self._shapes.alternatives(left)
        false = [part for one in alternatives if (part := _falsy(one)) is not None]
        if all(one == NULL or one.get("const") is False for one in alternatives):
            return self._shapes.union(false)
        return self._shapes.union([*false, right])

    # Functions

    def _function(self, node: Node, schema: Schema) -> Schema:
        name, children = node["value"], node["children"]
        if name in _TAKES_EXPRESSION:
            at = _TAKES_EXPRESSION[name]
            return self._by_expression(
                name, children[at]["children"][0], self.of(children[1 - at], schema)
            )
        known = self._functions.get(name)
        return known([self.of(child, schema) for child in children]) if known is not None else {}

    def _by_expression(self, name: str, expression: Node, given: Schema) -> Schema:
        if name == "map":
            return self._shapes.union(
                self._arrays(given, lambda element: self.of(expression, element))
            )
        if name == "sort_by":
            return self._shapes.union(self._arrays(given))
        return self._of_list(given, _itself)

    def _only(self, schema: Schema, kinds: set[str]) -> list[Schema]:
        """Return the alternatives of these types; a function raises for any other type."""
        return [one for one in self._shapes.alternatives(schema) if one["type"] in kinds]

    def _has(self, schema: Schema, kinds: set[str]) -> bool:
        return kinds <= {one["type"] for one in self._shapes.alternatives(schema)}

    def _arrays(
        self, schema: Schema, change: Callable[[Schema], Schema] | None = None
    ) -> list[Schema]:
        """Return arrays of the same length, in any order, each element changed."""
        change = change or _itself
        return [
            _array(change(self._shapes.elements(one)), *length(one))
            for one in self._only(schema, {"array"})
        ]

    def _of_list(self, schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
        """Return the schema of a list's element, or null if the list may be empty."""
        found = []
        for one in self._only(schema, {"array"}):
            least, most = length(one)
            if most != 0:
                found.append(change(self._shapes.elements(one)))
            if least == 0:
                found.append(NULL)
        return self._shapes.union(found)

    def _sortable(self, element: Schema) -> Schema:
        alternatives = self._shapes.alternatives(element)
        if all(one["type"] in _SORTABLE for one in alternatives):
            return element
        return self._shapes.union(one for one in alternatives if one["type"] in _SORTABLE)

    def _number_like(self, schema: Schema) -> Schema:
        numbers = self._only(schema, _NUMBERS)
        return _INTEGER if all(one["type"] == "integer" for one in numbers) else _NUMBER

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
            new = self._shapes.member(then, name)
            surely = name in then.get("required", ())
            members[name] = (
                new if surely else self._shapes.union([self._shapes.member(first, name), new])
            )
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
            return _array(given[0], 1, 1)
        return self._shapes.union(
            one if one["type"] == "array" else _array(one, 1, 1) for one in alternatives
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


def _same(_: Node, schema: Schema) -> Schema:
    return schema


def _itself(schema: Schema) -> Schema:
    return schema


def _array(element: Schema, least: int = 0, most: int | None = None) -> Schema:
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


def _sliced(cut: slice, bounds: tuple[int, int | None]) -> tuple[int, int | None]:
    """Return the least and the most elements that a slice leaves."""
    least, most = bounds
    if cut.step == 0:
        return 0, 0  # it raises
    if most is not None and most <= _COUNTABLE:
        counts = [len(range(*cut.indices(count))) for count in range(least, most + 1)]
        return min(counts, default=0), max(counts, default=0)
    first = cut.start or 0
    if (cut.step or 1) > 0 and first >= 0 and cut.stop is not None and cut.stop >= 0:
        size = len(range(first, cut.stop, cut.step or 1))
        return len(range(*cut.indices(least))), size if most is None else min(size, most)
    return 0, most


def _falsy(alternative: Schema) -> Schema | None:
    """Return the part of an alternative that is false in JMESPath, or `None`."""
    kind = alternative["type"]
    if kind == "null":
        return NULL
    if kind == "boolean":
        return None if alternative.get("const") is True else _FALSE
    if kind == "string":
        values = [alternative["const"]] if "const" in alternative else alternative.get("enum")
        empty = "" in values if values is not None else not alternative.get("minLength")
        return literal("") if empty else None
    if kind == "array":
        return None if length(alternative)[0] else literal([])
    if kind == "object":
        full = alternative.get("required") or alternative.get("minProperties")
        return None if full else literal({})
    return None
