"""Turns pydantic's errors into diagnostics: one readable line at the right place."""

from __future__ import annotations

import difflib
import re
import types
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway.errors import Diagnostic
from gateway.expressions.json_schema import SchemaError
from gateway.values.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic.fields import FieldInfo

__all__ = ["diagnostics_of"]

Location = tuple[str | int, ...]

_NOWHERE: Any = object()

# What pydantic's error types mean to the author of the configuration.
_MESSAGES = {
    "model_type": "should be a mapping",
    "dict_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
    "list_type": "should be a list",
    "set_type": "should be a list",
    "frozen_set_type": "should be a list",
    "int_type": "should be an integer",
    "int_parsing": "should be an integer",
    "int_from_float": "should be an integer",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "byte_size": "write a size in bytes or with its unit, such as 64KiB or 2MB",
    "byte_size_unit": "write a size in bytes or with its unit, such as 64KiB or 2MB",
}


def diagnostics_of(
    error: ValidationError, model: type[BaseModel], raw: Any, at: Location
) -> list[Diagnostic]:
    """Return the diagnostics in `error` about `raw`, which is at `at` and should be a `model`."""
    found: dict[Location, list[tuple[Diagnostic, bool]]] = {}
    missing: dict[Location, list[str]] = {}
    unknown: list[Location] = []
    for one in error.errors(include_url=False):
        path, noisy = _path(one["loc"], raw, one["type"])
        if one["type"] == "missing":
            missing.setdefault(path[:-1], []).append(str(path[-1]))
        elif one["type"] == "extra_forbidden":
            unknown.append(path)
        found.setdefault(path, []).append((_diagnostic(dict(one), model, path, at), noisy))
    for *parent, key in unknown:
        # A misspelled key is one mistake, not an unknown key and a missing one.
        for name in _close(str(key), missing.get(tuple(parent), [])):
            found.pop((*parent, name), None)
    diagnostics = []
    for path, here in found.items():
        deeper = any(len(p) > len(path) and p[: len(path)] == path for p in found)
        # Every branch of a union reports errors. The one that got furthest into the value is meant.
        if deeper and all(noisy for _, noisy in here):
            continue
        first = here[0][0]
        if len(here) > 1 and not first.at_key:
            wanted = dict.fromkeys(f.message.removeprefix("should be ") for f, _ in here)
            first = Diagnostic(f"should be {' or '.join(wanted)}", first.location)
        diagnostics.append(first)
    return diagnostics


def _path(loc: tuple[int | str, ...], raw: Any, kind: str) -> tuple[Location, bool]:
    """Return the location inside `raw`, without the names of union branches and validators."""
    path: list[int | str] = []
    noisy = False
    value = raw
    for number, step in enumerate(loc):
        last = number == len(loc) - 1
        inside = _inside(value, step)
        if inside is not _NOWHERE:
            value = inside
        elif step == "[key]" or not (last and kind == "missing"):
            noisy = True
            continue
        path.append(step)
    return tuple(path), noisy


def _inside(value: Any, step: int | str) -> Any:
    if isinstance(value, dict):
        return value.get(step, _NOWHERE)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return _NOWHERE


def _diagnostic(
    error: dict[str, Any], model: type[BaseModel], path: Location, at: Location
) -> Diagnostic:
    location = (*at, *path)
    kind = error["type"]
    about_key = error["loc"][-1:] == ("[key]",)
    if kind == "extra_forbidden":
        known = sorted(_known(model, path[:-1]))
        return Diagnostic(
            f"unknown key {path[-1]}{suggest(str(path[-1]), known)}", location, at_key=True
        )
    if kind == "missing":
        return Diagnostic(f"{path[-1]} is missing", location[:-1], at_key=True)
    if kind == "value_error":
        cause = error["ctx"]["error"]
        if isinstance(cause, SchemaError):
            return Diagnostic(f"is not a valid JSON Schema: {cause}", (*location, *cause.location))
        location = (*location, *getattr(cause, "location", ()))
        return Diagnostic(str(cause), location, at_key=about_key)
    if kind == "string_pattern_mismatch" and about_key:
        message = "use only letters, digits and _ in a name, no digit first"
        return Diagnostic(message, location, at_key=True)
    return Diagnostic(_words(kind, error), location)


def _words(kind: str, error: dict[str, Any]) -> str:
    """Return what was expected."""
    if kind == "string_pattern_mismatch" and error["ctx"]["pattern"] == "^/":
        return "should start with /"
    if kind in _MESSAGES:
        return _MESSAGES[kind]
    message = str(error["msg"]).replace("Input should be ", "should be ")
    message = message.replace(" after validation", "").replace("Dictionary", "Mapping")
    if kind == "literal_error":
        message += _closest(error)
    return message[:1].lower() + message[1:]


def _closest(error: dict[str, Any]) -> str:
    """Return `, did you mean ...?` if one of the allowed words is close."""
    words = re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))
    close = _close(str(error["input"]), words)
    return f", did you mean {close[0]}?" if close else ""


def _close(word: str, words: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, words, n=1, cutoff=0.6)


def _known(model: type[BaseModel], path: Location) -> set[str]:
    """Return the keys that are allowed at `path`."""
    models = [model]
    for step in path:
        models = [
            inner
            for outer in models
            for name, field in outer.model_fields.items()
            if step in {_written(name, field), name}
            for inner in _models(field.annotation)
        ] or models  # a key of a dict or an index of a list stays at the same models
    return {_written(name, field) for m in models for name, field in m.model_fields.items()}


def _written(name: str, field: FieldInfo) -> str:
    """Return the key of a field in the document."""
    return field.alias or field.serialization_alias or name


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation refers to."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {Union, types.UnionType, Annotated, dict, list}:
        for argument in get_args(annotation):
            yield from _models(argument)
