"""Shaping of values by JMESPath, and what becomes of values that do not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jmespath.exceptions import JMESPathError

from gateway.errors import DependencyFailed, UpstreamPayload

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.outcome import Outcome

__all__ = ["dependency_failed", "is_true", "search", "shape"]


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
