"""Durations and sizes as people write them: `2s`, `500ms`, `10m`, `1d`; `64KiB`, `2MB`."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize, Field, ValidationInfo, WithJsonSchema

__all__ = [
    "LONGEST",
    "WRITTEN",
    "Duration",
    "Positive",
    "Size",
    "format_duration",
    "parse_duration",
]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*", re.ASCII)

LONGEST = 366 * 86400.0
"""Seconds of the longest duration that can be configured."""

WRITTEN = "written"
"""Validation context for values that a person wrote in a file: bare numbers are refused there."""


def parse_duration(text: str) -> float:
    """Return the seconds of `2s`, `500ms`, `10m`, `1h` or `1d`.

    Raises:
        ValueError: the text is not a duration with a unit.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("write a duration with its unit, such as 500ms, 2s, 10m, 1h or 1d")
    return float(match[1]) * _SECONDS[match[2]]


def _seconds(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str):
        return parse_duration(value)
    # In code a number means seconds. In a file `5` may mean seconds or milliseconds, and a wrong
    # guess about time is an outage.
    if type(value) in {int, float} and (value == 0 or info.context != WRITTEN):
        return value
    raise ValueError("write a duration with its unit, such as 500ms, 2s, 10m, 1h or 1d")


# Below so many seconds, the length of the unit, the unit: two of a unit read better in the smaller.
_READ = ((0.9995, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h"))


def format_duration(seconds: float) -> str:
    """Return `seconds` for a human: `250 ms`, `3 s`, `1.5 s`, `10 min`, `7 d`."""
    for below, length, unit in _READ:
        if seconds < below:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:.3g} d"


_SCHEMA = {
    "title": "duration",
    "anyOf": [
        {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(ms|s|m|h|d)\s*$"},
        {"type": "number", "const": 0},
    ],
    "examples": ["500ms", "2s", "10m", "1d"],
}

Duration = Annotated[
    float, BeforeValidator(_seconds), Field(ge=0, le=LONGEST), WithJsonSchema(_SCHEMA)
]
"""Seconds; written with a unit."""

Positive = Annotated[
    float, BeforeValidator(_seconds), Field(gt=0, le=LONGEST), WithJsonSchema(_SCHEMA)
]
"""Seconds, more than 0; written with a unit."""

Size = Annotated[
    ByteSize,
    Field(gt=0),
    WithJsonSchema(
        {
            "title": "size",
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {"type": "string", "pattern": r"^\s*\d*\.?\d+\s*(?:[A-Za-z]+)?\s*$"},
            ],
            "examples": ["64KiB", "2MB"],
        }
    ),
]
"""Bytes; written as a number or with a unit."""
