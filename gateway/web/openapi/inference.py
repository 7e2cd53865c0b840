"""Infers the schema of a JMESPath expression's result from the schema of its input.

`[:5].{id: id, title: title}` returns a list of at most five objects with these two members; if the
input's schema requires a title, that title is not null. Every result meets the inferred schema.
What is unknown becomes the empty schema, which every value meets. An expression that does not fit
its input raises, so it has no result to describe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jmespath

from gateway.web.openapi.alternatives import length, member
from gateway.web.openapi.functions import SORTABLE, Functions, array_of
from gateway.web.openapi.schema import NEVER, NULL, Schema, as_schema, literal
from gateway.web.openapi.shapes import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["selected"]

Node = dict[str, Any]

_BOOLEAN: Schema = {"type": "boolean"}
_TRUE: Schema = {"type": "boolean", "const": True}
_FALSE: Schema = {"type": "boolean", "const": False}
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
        self._functions = Functions(shapes)

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
                found.append(member(one, name))
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
                found.append(array_of(self._shapes.elements(one), least, most))
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
            found.append(array_of(element, least if drops_none else 0, most))
        return self._shapes.union(found)

    def _value_projection(self, node: Node, schema: Schema) -> Schema:
        base, then = node["children"]
        found = []
        for one in self._shapes.alternatives(self.of(base, schema)):
            if one["type"] == "object":
                element = self.of(then, self._shapes.values(one))
                found.append(array_of(self._shapes.without_null(element)))
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
            return array_of(element, *length(array))
        return array_of(
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
            one["type"] in SORTABLE for side in sides for one in self._shapes.alternatives(side)
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

    def _has(self, schema: Schema, kinds: set[str]) -> bool:
        return kinds <= {one["type"] for one in self._shapes.alternatives(schema)}

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
        return self._functions.result(name, [self.of(child, schema) for child in children])

    def _by_expression(self, name: str, expression: Node, given: Schema) -> Schema:
        if name == "map":
            return self._shapes.union(
                self._functions.arrays(given, lambda element: self.of(expression, element))
            )
        if name == "sort_by":
            return self._shapes.union(self._functions.arrays(given))
        return self._functions.of_list(given, lambda element: element)


def _same(_: Node, schema: Schema) -> Schema:
    return schema


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
