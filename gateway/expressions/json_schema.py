"""JSON Schema, compiled once (jsonschema-rs: complete, and 0.1 us for a small value)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SchemaError", "Validator", "compile_schema", "violation"]

_MOST = 120


class SchemaError(ValueError):
    """The schema itself is invalid; `location` is the path to the mistake."""

    def __init__(self, message: str, location: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.location = location


class Validator(Protocol):
    """The interface of a compiled schema."""

    def is_valid(self, instance: Any, /) -> bool:
        """Return whether `instance` matches the schema."""

    def iter_errors(self, instance: Any, /) -> Iterator[jsonschema_rs.ValidationError]:
        """Yield the violations in `instance`."""


def violation(validator: Validator, value: Any) -> str:
    """Return the first violation in `value`, in one line; empty if it is valid."""
    if validator.is_valid(value):
        return ""
    wrong = next(iter(validator.iter_errors(value)))
    where = "/".join(str(step) for step in wrong.instance_path)
    # Shortened, because it may quote the payload.
    reason = wrong.message if len(wrong.message) <= _MOST else wrong.message[: _MOST - 3] + "..."
    return f"does not meet its schema at /{where}: {reason}"


def _retrieve(uri: str) -> NoReturn:
    raise SchemaError(f"a schema cannot refer to {uri}; schemas are not fetched, inline it")


def compile_schema(schema: dict[str, Any] | bool) -> Validator:  # noqa: FBT001 - true is a schema
    """Compile `schema` (draft 2020-12 unless it names another); formats are checked.

    Patterns run on a regular expression engine with linear time, so no input can make one slow. The
    compilation checks the schema itself; `jsonschema_rs.meta.validate` would fetch an unknown
    `$schema` from the network.

    Raises:
        SchemaError: it is not a JSON Schema, or refers to another document.
    """
    try:
        return jsonschema_rs.validator_for(
            schema,
            validate_formats=True,
            retriever=_retrieve,
            pattern_options=jsonschema_rs.RegexOptions(),
        )
    except jsonschema_rs.ValidationError as error:
        raise SchemaError(error.message, tuple(error.instance_path)) from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise SchemaError(str(error).strip().splitlines()[0]) from None
