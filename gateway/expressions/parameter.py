"""Parameters of a dashboard: converts text from path and query to values, by JSON Schema."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.expressions.json_schema import SchemaError, Validator, compile_schema
from gateway.values.excerpt import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["InvalidParameterError", "Parameter", "ParameterError", "compile_parameter"]

_INTEGER = re.compile(r"-?\d{1,300}", re.ASCII)  # far from where int() becomes slow
_NUMBER = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?(?:[eE][+-]?\d{1,3})?", re.ASCII)


class ParameterError(ValueError):
    """A parameter's declaration is invalid; `location` is the path to the mistake in its schema."""

    def __init__(self, message: str, location: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.location = location


class InvalidParameterError(ValueError):
    """The client's value does not match the parameter's schema."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True, slots=True)
class Parameter:
    """One compiled parameter.

    Attributes:
        name: its name in path or query.
        schema: its JSON Schema as declared.
        in_path: it is part of the path; otherwise of the query.
        required: a request without it is refused.
        default: value when the client omits it, `None` without a default.
        is_array: it may be repeated.
    """

    name: str
    schema: Mapping[str, Any]
    in_path: bool
    required: bool
    default: Any
    is_array: bool
    convert: Callable[[str], Any]
    validator: Validator

    def read(self, texts: Sequence[str]) -> Any:
        """Return the value of the client's text (several texts for an array).

        Raises:
            InvalidParameterError: it does not match the schema.
        """
        if self.is_array:
            value: Any = [self._one(text) for text in texts]
        elif len(texts) == 1:
            value = self._one(texts[0])
        else:
            raise InvalidParameterError(self.name, "is given more than once")
        if not self.validator.is_valid(value):
            error = next(iter(self.validator.iter_errors(value)))
            raise InvalidParameterError(self.name, shortened(error.message))  # it quotes the value
        if self.in_path and value in {"", ".", ".."}:
            raise InvalidParameterError(self.name, "cannot be empty, '.' or '..' in a path")
        return value

    def _one(self, text: str) -> Any:
        try:
            return self.convert(text)
        except ValueError as error:
            raise InvalidParameterError(self.name, str(error)) from None


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError("is not an integer")
    return int(text)


def _number(text: str) -> float | int:
    if _INTEGER.fullmatch(text):
        return int(text)
    if not _NUMBER.fullmatch(text):
        raise ValueError("is not a number")
    value = float(text)
    if math.isinf(value):
        raise ValueError("is not a finite number")
    return value


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError("is neither true nor false")
    return text == "true"


_CONVERT: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
}


def compile_parameter(name: str, schema: Mapping[str, Any], *, in_path: bool) -> Parameter:
    """Compile a declaration: a JSON Schema, with `required: false` for an optional parameter.

    Raises:
        ParameterError: the schema is invalid, or of a type that text cannot have.
    """
    schema = dict(schema)
    required = schema.pop("required", "default" not in schema)
    if not isinstance(required, bool):
        raise ParameterError("`required` must be true or false", ("required",))
    try:
        validator = compile_schema(schema)
    except SchemaError as error:
        raise ParameterError(f"this is not a JSON Schema: {error}", error.location) from None
    kind = schema.get("type")
    is_array = kind == "array"
    items = schema.get("items", {"type": "string"}) if is_array else schema
    item_kind = items.get("type") if isinstance(items, dict) else None
    if not isinstance(item_kind, str) or item_kind not in _CONVERT:
        what = "`type` of its items" if is_array else "`type`"
        raise ParameterError(f"{what} must be one of string, integer, number, boolean"
                             + ("" if is_array else ", array"))  # fmt: skip
    if in_path:
        _check_in_path(is_array=is_array, required=required and "default" not in schema)
    if "default" in schema and not validator.is_valid(schema["default"]):
        wrong = next(iter(validator.iter_errors(schema["default"])))
        raise ParameterError(f"the default does not meet the schema: {wrong.message}", ("default",))
    return Parameter(
        name=name,
        schema=schema,
        in_path=in_path,
        required=required and "default" not in schema,
        default=schema.get("default"),
        is_array=is_array,
        convert=_CONVERT[item_kind],
        validator=validator,
    )


def _check_in_path(*, is_array: bool, required: bool) -> None:
    if is_array:
        raise ParameterError("a parameter in the path cannot be an array", ("type",))
    if not required:
        raise ParameterError(
            "a parameter in the path is always required; remove `default` and `required: false`"
        )
