"""JMESPath: compiles expressions, evaluates them, and finds the names that they read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError

from gateway.errors import ExpressionFailed
from gateway.expressions.evaluation import compile_tree, is_true
from gateway.expressions.functions import JsonFunctions
from gateway.expressions.mistakes import bare_word, syntax_hint
from gateway.values.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Expression",
    "ExpressionError",
    "compile_expression",
    "is_true",
    "names_read",
    "search",
    "shape",
]

MAX_DEPTH = 64
"""Maximum levels of nesting in an expression, far below what would exhaust the stack."""


class ExpressionError(ValueError):
    """A text is not a JMESPath expression, or contains an obvious mistake.

    Attributes:
        offset: characters from the start of the text to the mistake.
    """

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class Expression:
    """A compiled JMESPath expression, callable with a value.

    Attributes:
        text: the source text.
    """

    __slots__ = ("_evaluate", "text")

    def __init__(self, text: str, evaluate: Callable[[Any], Any]) -> None:
        self.text = text
        self._evaluate = evaluate

    def __call__(self, value: Any) -> Any:
        """Evaluate the expression on `value`."""
        return self._evaluate(value)


def compile_expression(text: str) -> Expression:
    """Compile a JMESPath expression.

    Raises:
        ExpressionError: it is malformed, nested too deep, names a field where a literal was meant,
            or calls an unknown function or one with a wrong number of arguments; the library would
            report the last two only at each evaluation.
    """
    try:
        compiled = jmespath.compile(text)
    except (JMESPathError, ValueError) as error:
        hint, offset = syntax_hint(text, error)
        reason = str(error).strip().splitlines()[0].rstrip(":")
        raise ExpressionError(f"this is not JMESPath: {reason}{hint}", offset) from None
    except RecursionError:
        raise ExpressionError(
            f"the expression is nested more than {MAX_DEPTH} levels deep"
        ) from None
    level: list[Mapping[str, Any]] = [compiled.parsed]
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested more than {MAX_DEPTH} levels deep")
        for node in level:
            if node["type"] == "function_expression":
                _check_call(node["value"], len(node["children"]))
            elif node["type"] == "literal":
                _check_literal(node["value"])
        level = [c for node in level for c in node["children"] if isinstance(c, dict)]
    if (mistaken := bare_word(text)) is not None:
        raise ExpressionError(*mistaken)
    return Expression(text, compile_tree(compiled.parsed))


def _check_literal(value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ExpressionError(
            "a literal contains NaN or an infinite number; write a finite number"
        ) from None


def _check_call(name: str, given: int) -> None:
    functions = JsonFunctions.FUNCTION_TABLE
    if name not in functions:
        raise ExpressionError(f"there is no function {name}(){suggest(name, functions)}")
    signature = functions[name]["signature"]
    least = len(signature)
    more = bool(signature) and signature[-1].get("variadic", False)
    if given < least or (given > least and not more):
        plural = "s" if least != 1 or more else ""
        takes = f"{least}{' or more' if more else ''} argument{plural}"
        raise ExpressionError(f"{name}() takes {takes}, not {given}")


def shape(select: Callable[[Any], Any], value: Any, upstream: str) -> Any:
    """Apply a `select` to an answer of `upstream`.

    Raises:
        ExpressionFailed: the expression does not accept a value of this type.
    """
    try:
        return search(select, value, "select")
    except ExpressionFailed as error:
        error.upstream = upstream
        raise


def search(expression: Callable[[Any], Any], value: Any, key: str) -> Any:
    """Evaluate the JMESPath expression of the configuration's `key`.

    Raises:
        ExpressionFailed: the expression does not accept a value of this type.
    """
    try:
        return expression(value)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise ExpressionFailed(f"`{key}` failed: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return what is wrong, without the library's own message, which quotes the value."""
    if isinstance(error, JMESPathTypeError):
        takes = " or ".join(error.expected_types)
        return f"{error.function_name}() takes {takes}, not {error.actual_type}"
    return f"it does not fit the value ({type(error).__name__})"


def names_read(expression: str, *, whole: bool = False) -> set[str]:
    """Return the names that an expression reads from its input.

    With `whole`, return only those that it reads as a whole (`a`, not `a.b`).
    """
    return _roots(jmespath.compile(expression).parsed, whole=whole)


# Nodes of a JMESPath tree whose further children are not evaluated on the root.
_FIRST_ONLY = {
    "subexpression", "index_expression", "pipe", "projection", "value_projection",
    "filter_projection", "flatten",
}  # fmt: skip


def _roots(node: Mapping[str, Any], *, whole: bool) -> set[str]:
    kind = node["type"]
    if kind == "field":
        return {node["value"]}
    if kind == "expref":
        return set()
    children = node["children"]
    if kind in _FIRST_ONLY:
        # `@.a` and `@ | a` read the same as `a`.
        at = 1 if kind in {"subexpression", "pipe"} and children[0]["type"] == "current" else 0
        if whole and kind != "pipe" and at == 0 and children[0]["type"] == "field":
            return set()
        children = children[at : at + 1]
    return {
        root for child in children if isinstance(child, dict) for root in _roots(child, whole=whole)
    }
