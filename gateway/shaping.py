"""JMESPath: shaping of values, what becomes of those that do not fit, what an expression reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jmespath
from jmespath.exceptions import JMESPathError

from gateway.errors import DependencyFailed, UpstreamPayload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.outcome import Outcome

__all__ = ["dependency_failed", "is_true", "names_read", "search", "shape"]


def dependency_failed(name: str, outcome: Outcome) -> DependencyFailed:
    """Return the error of a section that refers to one which failed."""
    retryable = any(fault.error.retryable for fault in outcome.faults)
    return DependencyFailed(f"{name}, which it refers to, failed", retryable=retryable)


def shape(select: Callable[[Any], Any], value: Any, upstream: str) -> Any:
    """Apply a `select`.

    Raises:
        UpstreamPayload: when the value is of a kind that the expression cannot take.
    """
    try:
        return search(select, value)
    except UpstreamPayload as error:
        error.upstream = upstream
        raise


def search(expression: Callable[[Any], Any], value: Any) -> Any:
    """Evaluate a JMESPath expression; its complaints become `UpstreamPayload`."""
    try:
        return expression(value)
    except (JMESPathError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UpstreamPayload(f"the expression does not fit the value: {reason}") from None


def is_true(value: Any) -> bool:
    """Whether JMESPath takes `value` for true (its specification, "or expressions").

    Empty list, object and string, false and null are false; the number 0 is true.
    """
    return not (value is None or value is False or value in ("", [], {}))


def names_read(expression: str) -> set[str]:
    """Return the names that an expression reads from the value it is given."""
    return _roots(jmespath.compile(expression).parsed)


# Nodes of a JMESPath tree whose further children see another value than the root.
_FIRST_ONLY = {
    "subexpression", "index_expression", "pipe", "projection", "value_projection",
    "filter_projection", "flatten",
}  # fmt: skip


def _roots(node: Mapping[str, Any]) -> set[str]:
    kind = node["type"]
    if kind == "field":
        return {node["value"]}
    if kind == "expref":
        return set()
    children = node["children"]
    if kind in _FIRST_ONLY:
        children = children[:1]
    return {root for child in children if isinstance(child, dict) for root in _roots(child)}
