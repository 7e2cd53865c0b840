"""Header fields as they came in the bytes of a head, parsed only when someone reads all of them.

Most answers are asked for two or three fields, and finding those takes a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, overload

__all__ = ["Field", "HeaderFields", "start_of", "values_of"]

Field = tuple[bytes, bytes]
"""The name in lower case, and the value without surrounding whitespace."""


@cache
def start_of(name: bytes) -> bytes:
    """Return how the line of a field begins; names are constants of the program."""
    return b"\r\n%b:" % name


class HeaderFields(Sequence[Field]):
    """The fields of one head, in their order; equal to a list of the same fields.

    Args:
        raw: the lines of a valid head without folded lines, with a line break before the first one
            and after each.
        low: `raw` in lower case.
    """

    __slots__ = ("_fields", "_low", "_raw")

    def __init__(self, raw: bytes, low: bytes) -> None:
        self._raw = raw
        self._low = low
        self._fields: list[Field] | None = None

    def has(self, start: bytes) -> bool:
        """Whether there is a field with that name; `start` is `start_of` it."""
        return self._low.find(start) >= 0

    def is_usual(self, start: bytes, rest: bytes) -> bool:
        """Whether the first line with that `start` goes on with `rest`, its end included."""
        low = self._low
        place = low.find(start)
        return place >= 0 and low.startswith(rest, place + len(start))

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of all fields with that name, which is in lower case."""
        low = self._low
        line = start_of(name)
        place = low.find(line)
        found = []
        while place >= 0:
            start = place + len(line)
            end = low.find(b"\r\n", start)
            found.append(self._raw[start:end].strip(b" \t"))
            place = low.find(line, end)
        return found

    @property
    def _parsed(self) -> list[Field]:
        if self._fields is None:
            parts = [line.partition(b":") for line in self._raw.split(b"\r\n")[1:-1]]
            self._fields = [(name.lower(), value.strip(b" \t")) for name, _, value in parts]
        return self._fields

    def __iter__(self) -> Iterator[Field]:
        return iter(self._parsed)

    def __len__(self) -> int:
        return len(self._parsed)

    @overload
    def __getitem__(self, index: int) -> Field: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Field]: ...
    def __getitem__(self, index: Any) -> Any:
        return self._parsed[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._parsed == list(other)

    __hash__ = None  # type: ignore[assignment] # equal to lists, which have none

    def __repr__(self) -> str:
        return repr(self._parsed)


def values_of(fields: Sequence[Field], name: bytes) -> list[bytes]:
    """Return the values of all fields with that name, which is in lower case."""
    if isinstance(fields, HeaderFields):
        return fields.values(name)
    return [value for each, value in fields if each == name]
