"""A list as a table in CSV (RFC 4180), safe to open in a spreadsheet.

A list of objects has a column for each key, in the order in which keys first appear. Any other list
has one column. Every text is quoted. A spreadsheet would run text that looks like a formula, so
such text starts with an apostrophe.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["TooLargeError", "written"]

_MOST_COLUMNS = 1000
_MOST_CELLS = 100_000
"""Most rows times columns: the objects of a list may each bring columns of their own."""

_ROWS_AT_ONCE = 500
_CELLS_AT_ONCE = 5000
"""Most in one part: about a millisecond of work."""

_FORMULA = re.compile(
    r"[\s\x00-\x1f\x7f-\x9f\xad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"
    r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
).match
"""Matches text that a spreadsheet takes for a formula (OWASP, CSV injection). Some drop blanks and
what cannot be seen before they look, and take full-width signs for the signs."""


class TooLargeError(ValueError):
    """A list would be too large a table; the text says what it has too many of."""


def written(name: str, rows: Sequence[Any]) -> Iterator[bytes]:
    """Return a table in parts: the header with the first rows, then more rows.

    Args:
        name: names the column of a list whose elements are no objects.
        rows: the elements; `None` is an empty row.

    Raises:
        TooLargeError: it would have more than 1,000 columns, or 100,000 rows times columns.
    """
    keys = _keys(rows)
    if len(rows) * max(len(keys), 1) > _MOST_CELLS:
        raise TooLargeError(f"more than {_MOST_CELLS} cells")
    return _parts(name, rows, keys)


def _keys(rows: Sequence[Any]) -> list[str]:
    """Return the keys of all objects."""
    keys: dict[str, None] = {}
    for row in rows:
        if isinstance(row, dict):
            keys.update(dict.fromkeys(row))
            if len(keys) > _MOST_COLUMNS:
                raise TooLargeError(f"more than {_MOST_COLUMNS} columns")
    return list(keys)


def _parts(name: str, rows: Sequence[Any], keys: Sequence[str]) -> Iterator[bytes]:
    header = keys or [name]
    lines = [",".join(map(_text, header))]
    at_once = min(_ROWS_AT_ONCE, max(1, _CELLS_AT_ONCE // len(header)))
    for start in range(0, max(len(rows), 1), at_once):
        lines += [_line(row, keys) for row in rows[start : start + at_once]]
        yield "\r\n".join([*lines, ""]).encode()
        lines = []


def _line(row: Any, keys: Sequence[str]) -> str:
    if not keys:
        line = _cell(row)
    elif isinstance(row, dict):
        line = ",".join([_cell(row.get(key)) for key in keys])
    else:
        line = _cell(row) + "," * (len(keys) - 1)
    return line or '""'  # an empty line would be no row


def _cell(value: Any) -> str:
    """Return a value as text: nothing for null, text quoted, anything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _text(value)
    found = orjson.dumps(value).decode()
    return _quoted(found) if isinstance(value, (list, dict)) else found


def _text(text: str) -> str:
    return _quoted(f"'{text}" if _FORMULA(text) else text)


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))
