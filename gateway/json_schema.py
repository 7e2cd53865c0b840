"""JSON Schema, compiled once (jsonschema-rs: complete, and 0.1 us for a small value)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SchemaError", "Validator", "compile_schema"]


class SchemaError(ValueError):
    """The schema itself is wrong; `location` leads to the place inside it."""

    def __init__(self, message: str, location: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.location = location


class Validator(Protocol):
    """What a compiled schema can do."""

    def is_valid(self, instance: Any, /) -> bool:
        """Whether `instance` meets the schema."""

    def iter_errors(self, instance: Any, /) -> Iterator[jsonschema_rs.ValidationError]:
        """Yield what is wrong with `instance`."""


def _retrieve(uri: str) -> NoReturn:
    raise SchemaError(f"a schema cannot refer to {uri}; nothing is fetched")


def compile_schema(schema: dict[str, Any] | bool) -> Validator:  # noqa: FBT001 - true is a schema
    """Compile `schema` (draft 2020-12 unless it names another); formats are checked.

    Patterns run on a regular expression engine of linear time, so no input can make one slow. The
    schema itself is checked by its compilation; `jsonschema_rs.meta.validate` would take an unknown
    `$schema` for an address and ask the network for it.

    Raises:
        SchemaError: when it is no JSON Schema, or refers to another document.
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
