"""Compiles the syntax tree of a JMESPath expression to Python functions.

The library parses expressions and defines their functions. Its interpreter looks at the tree again
for each element of a list; here that is done once, at load. Values and errors are the library's.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from gateway.expressions.functions import JsonFunctions, expression_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Node = Mapping[str, Any]
    """A node of the library's tree: its `type`, its `children`, and for some a `value`."""

    Evaluate = Callable[[Any], Any]
    """A compiled node: from the value that it is evaluated on to the result."""

__all__ = ["compile_tree", "is_true"]

_FUNCTIONS = JsonFunctions()
_EMPTY: tuple[Any, ...] = ("", [], {})
_ITSELF = {"identity", "current"}
_CHAINS = {"subexpression", "index_expression", "pipe"}


def compile_tree(node: Node) -> Evaluate:
    """Compile the tree of a parsed expression to a function of the value.

    The function raises what the library's interpreter would: JMESPathError, or what Python raises
    where the library does not check, such as TypeError where a string is compared with a number.
    """
    return _COMPILERS[node["type"]](node)


def is_true(value: Any) -> bool:
    """Return whether `value` is truthy in JMESPath (its specification, "or expressions").

    Empty list, object and string, false and null are false; the number 0 is true.
    """
    return value is True or not (value is None or value is False or value in _EMPTY)


def _itself(_node: Node) -> Evaluate:
    return lambda value: value


def _literal(node: Node) -> Evaluate:
    literal = node["value"]
    return lambda _value: literal


def _field(node: Node) -> Evaluate:
    name = node["value"]
    return lambda value: value.get(name) if isinstance(value, dict) else None


def _index(node: Node) -> Evaluate:
    index = node["value"]

    def pick(value: Any) -> Any:
        try:
            return value[index] if isinstance(value, list) else None
        except IndexError:
            return None

    return pick


def _slice(node: Node) -> Evaluate:
    part = slice(*node["children"])
    return lambda value: value[part] if isinstance(value, list) else None


def _chain(node: Node) -> Evaluate:
    """Compile `a.b`, `a[0]` and `a | b`: each step is evaluated on the result of the one before."""
    steps = _steps(node)
    if all(step["type"] == "field" for step in steps):
        return _path([step["value"] for step in steps])
    evaluate_steps = [compile_tree(step) for step in steps]
    if len(evaluate_steps) == 1:
        return evaluate_steps[0]

    def follow(value: Any) -> Any:
        for evaluate in evaluate_steps:
            value = evaluate(value)
        return value

    return follow


def _steps(node: Node) -> list[Node]:
    """Return the steps of a chain, those of chains within it included."""
    steps = []
    pending = [node]
    while pending:
        step = pending.pop()
        if step["type"] in _CHAINS:
            pending.extend(reversed(step["children"]))
        elif step["type"] not in _ITSELF:
            steps.append(step)
    return steps


def _path(names: list[str]) -> Evaluate:
    def walk(value: Any) -> Any:
        for name in names:
            if not isinstance(value, dict):
                return None
            value = value.get(name)
        return value

    return walk


def _projection(node: Node) -> Evaluate:
    base = compile_tree(node["children"][0])
    each = _each(node["children"][1])

    def project(value: Any) -> Any:
        elements = base(value)
        return each(elements) if isinstance(elements, list) else None

    return project


def _value_projection(node: Node) -> Evaluate:
    base = compile_tree(node["children"][0])
    each = _each(node["children"][1])

    def project(value: Any) -> Any:
        members = base(value)
        return each(members.values()) if isinstance(members, dict) else None

    return project


def _filter_projection(node: Node) -> Evaluate:
    base = compile_tree(node["children"][0])
    each = _each(node["children"][1])
    test = compile_tree(node["children"][2])

    def project(value: Any) -> Any:
        elements = base(value)
        if not isinstance(elements, list):
            return None
        return each(element for element in elements if is_true(test(element)))

    return project


def _each(node: Node) -> Callable[[Iterable[Any]], list[Any]]:
    """Compile what a projection does with its elements: evaluate each, and leave out null.

    An element itself, one field, and an object of fields need no function call for each element.
    """
    if node["type"] in _ITSELF:
        return lambda elements: [element for element in elements if element is not None]
    if node["type"] == "field":
        return _column(node["value"])
    if node["type"] == "multi_select_dict":
        members = [(pair["value"], pair["children"][0]) for pair in node["children"]]
        if all(member["type"] == "field" for _, member in members):
            return _rows([(key, member["value"]) for key, member in members])
    evaluate = compile_tree(node)
    return lambda elements: [
        result for element in elements if (result := evaluate(element)) is not None
    ]


def _column(name: str) -> Callable[[Iterable[Any]], list[Any]]:
    return lambda elements: [
        value
        for element in elements
        if isinstance(element, dict) and (value := element.get(name)) is not None
    ]


def _rows(columns: list[tuple[str, str]]) -> Callable[[Iterable[Any]], list[Any]]:
    """Compile `{key: name, ...}` of each element, for pairs of a key and the name of a field."""

    def select(elements: Iterable[Any]) -> list[Any]:
        rows = []
        for element in elements:
            if isinstance(element, dict):
                row = {}
                for key, name in columns:
                    row[key] = element.get(name)
                rows.append(row)
            elif element is not None:
                rows.append({key: None for key, _ in columns})
        return rows

    return select


def _flatten(node: Node) -> Evaluate:
    base = compile_tree(node["children"][0])

    def flatten(value: Any) -> Any:
        elements = base(value)
        if not isinstance(elements, list):
            return None
        flat: list[Any] = []
        for element in elements:
            if isinstance(element, list):
                flat.extend(element)
            else:
                flat.append(element)
        return flat

    return flatten


def _object(node: Node) -> Evaluate:
    members = [(pair["value"], compile_tree(pair["children"][0])) for pair in node["children"]]

    def build(value: Any) -> Any:
        if value is None:
            return None
        built = {}
        for key, evaluate in members:
            built[key] = evaluate(value)
        return built

    return build


def _list(node: Node) -> Evaluate:
    elements = _all_of(node["children"])
    return lambda value: None if value is None else elements(value)


def _all_of(nodes: Sequence[Node]) -> Callable[[Any], list[Any]]:
    """Compile several nodes to one function that returns the list of their results."""
    match [compile_tree(node) for node in nodes]:
        case [only]:
            return lambda value: [only(value)]
        case [first, second]:
            return lambda value: [first(value), second(value)]
        case compiled:
            return lambda value: [evaluate(value) for evaluate in compiled]


def _or(node: Node) -> Evaluate:
    left, right = map(compile_tree, node["children"])

    def either(value: Any) -> Any:
        found = left(value)
        return found if is_true(found) else right(value)

    return either


def _and(node: Node) -> Evaluate:
    left, right = map(compile_tree, node["children"])

    def both(value: Any) -> Any:
        found = left(value)
        return right(value) if is_true(found) else found

    return both


def _not(node: Node) -> Evaluate:
    operand = compile_tree(node["children"][0])
    return lambda value: not is_true(operand(value))


def _comparator(node: Node) -> Evaluate:
    left, right = map(compile_tree, node["children"])
    if node["value"] == "eq":
        return lambda value: _equal(left(value), right(value))
    if node["value"] == "ne":
        return lambda value: not _equal(left(value), right(value))
    compare = _ORDER[node["value"]]

    def order(value: Any) -> Any:
        one = left(value)
        other = right(value)
        if type(one) in _ORDERED and type(other) in _ORDERED:
            return compare(one, other)
        return None

    return order


_ORDERED = {int, float, str}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def _equal(one: Any, other: Any) -> bool:
    """Return whether values are equal; a boolean is no number, though in Python `True == 1`."""
    return one == other and isinstance(one, bool) is isinstance(other, bool)


def _call(node: Node) -> Evaluate:
    return _FUNCTIONS.bind(node["value"], _all_of(node["children"]))


def _expression(node: Node) -> Evaluate:
    evaluate = compile_tree(node["children"][0])
    return lambda _value: expression_value(evaluate)


_COMPILERS: dict[str, Callable[[Node], Evaluate]] = {
    "and_expression": _and,
    "comparator": _comparator,
    "current": _itself,
    "expref": _expression,
    "field": _field,
    "filter_projection": _filter_projection,
    "flatten": _flatten,
    "function_expression": _call,
    "identity": _itself,
    "index": _index,
    "index_expression": _chain,
    "literal": _literal,
    "multi_select_dict": _object,
    "multi_select_list": _list,
    "not_expression": _not,
    "or_expression": _or,
    "pipe": _chain,
    "projection": _projection,
    "slice": _slice,
    "subexpression": _chain,
    "value_projection": _value_projection,
}
