"""A list as a table in CSV (RFC 4180), safe to open in a spreadsheet.

A list of objects has a column for each key, in the order in which keys first appear. Any other list
has one column. A spreadsheet would run text that looks like a formula, so such text starts with an
apostrophe.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["written"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters by which a spreadsheet takes text for a formula (OWASP, CSV injection)."""

_AT_ONCE = 500
"""Rows of one part: about a millisecond of work."""


def written(name: str, rows: Sequence[Any]) -> Iterator[bytes]:
    """Yield a table in parts: the header with the first rows, then more rows.

    Args:
        name: names the column of a list whose elements are no objects.
        rows: the elements; `None` is an empty row.
    """
    keys = list(dict.fromkeys(key for row in rows if isinstance(row, dict) for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([_defused(key) for key in keys] if keys else [_defused(name)])
    for start in range(0, max(len(rows), 1), _AT_ONCE):
        for row in rows[start : start + _AT_ONCE]:
            writer.writerow(_cells(row, keys))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _cells(row: Any, keys: Sequence[str]) -> list[str]:
    if not keys:
        return [_cell(row)]
    if isinstance(row, dict):
        return [_cell(row.get(key)) for key in keys]
    return [_cell(row), *[""] * (len(keys) - 1)]


def _cell(value: Any) -> str:
    """Return a value as text: text as it is, nothing for null, anything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _defused(value)
    return orjson.dumps(value).decode()


def _defused(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
