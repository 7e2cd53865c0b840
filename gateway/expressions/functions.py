"""The functions of JMESPath: the library's, quicker to call and with results that JSON has."""

from __future__ import annotations

import json
import math
from itertools import product
from types import NoneType
from typing import TYPE_CHECKING, Any

from jmespath.functions import Functions, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["JsonFunctions", "expression_value"]


class _Expression:
    """The value of `&expression`; the library's functions know it by the name of this class."""

    __slots__ = ("expression",)

    def __init__(self, expression: Callable[[Any], Any]) -> None:
        self.expression = expression

    @staticmethod
    def visit(expression: Callable[[Any], Any], value: Any) -> Any:
        """Evaluate an expression; the library's functions pass the attribute `expression`."""
        return expression(value)


def expression_value(evaluate: Callable[[Any], Any]) -> Any:
    """Return the value of `&expression`, which functions such as `sort_by` take."""
    return _Expression(evaluate)


_written = json.JSONEncoder(separators=(",", ":"), default=str).encode
"""Writes what the library's `to_string` does, which makes such an encoder for each value."""


class JsonFunctions(Functions):
    """The functions of JMESPath, without results that JSON lacks: infinity and NaN."""

    def bind(self, name: str, arguments: Callable[[Any], Sequence[Any]]) -> Callable[[Any], Any]:
        """Compile a call of the function `name` with the arguments that a value gives.

        Arguments whose types alone show that they fit are passed on at once. The library checks
        others, and raises its errors.
        """
        spec = self.FUNCTION_TABLE.get(name)
        if spec is None:
            return lambda value: self.call_function(name, arguments(value))
        function = spec["function"]
        fitting = _fitting(spec["signature"])

        def call(value: Any) -> Any:
            given = arguments(value)
            if tuple(map(type, given)) in fitting:
                return function(self, *given)
            return self.call_function(name, given)

        return call

    @signature({"types": ["array-number"]})
    def _func_sum(self, numbers: list[float]) -> float:
        return _finite(sum(numbers))

    @signature({"types": ["array-number"]})
    def _func_avg(self, numbers: list[float]) -> float | None:
        return _finite(sum(numbers) / len(numbers)) if numbers else None

    @signature({"types": []})
    def _func_to_string(self, value: Any) -> str:
        return value if isinstance(value, str) else _written(value)

    @signature({"types": []})
    def _func_to_number(self, value: Any) -> float | None:
        number = super()._func_to_number(value)  # type: ignore[misc] # missing in the type hints
        return number if number is None or math.isfinite(number) else None


_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "expref": (_Expression,),
    "null": (NoneType,),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
_ANY = tuple(kind for kinds in _TYPES.values() for kind in kinds)


def _fitting(parameters: Sequence[Mapping[str, Any]]) -> frozenset[tuple[type, ...]]:
    """Return the types of arguments that fit a signature, whatever their values are.

    There are none where the elements of a list matter. Those that a function takes in any number
    count once.
    """
    names = [parameter["types"] for parameter in parameters]
    if any(name not in _TYPES for alternatives in names for name in alternatives):
        return frozenset()
    return frozenset(
        product(*([kind for n in some for kind in _TYPES[n]] if some else _ANY for some in names))
    )


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise OverflowError
    return number
