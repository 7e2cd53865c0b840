"""Strict JSON: parses untrusted bytes into a value and its serialised form, or raises an error.

It follows RFC 8259 to the letter (no NaN, no lone surrogates, no numbers out of range), limits
size and depth, and checks the declared schema. A byte order mark is ignored, as section 8.1 of the
RFC allows, and not written again.
"""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING, Any

import orjson

from gateway.expressions.json_schema import violation
from gateway.expressions.nesting import Frame, has_few_brackets

if TYPE_CHECKING:
    from gateway.expressions.json_schema import Validator

__all__ = ["NotStrictError", "StrictJson"]

_SMALL = 4096
_WITH_MARK = {
    "utf_16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    "utf_32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
}


class NotStrictError(ValueError):
    """A payload is rejected; the message says why."""


class StrictJson:
    """Reads payloads within limits. One instance reads one payload at a time.

    Args:
        max_depth: maximum levels of nesting.
        max_bytes: maximum bytes of a payload after transcoding.
        schema: the schema that every payload must match.
    """

    __slots__ = ("_frame", "_schema", "max_bytes", "max_depth")

    def __init__(self, max_depth: int, max_bytes: int, schema: Validator | None = None) -> None:
        self.max_depth = max_depth
        self.max_bytes = max_bytes
        self._schema = schema
        self._frame = Frame(max_depth)

    def again(self) -> StrictJson:
        """Return a copy for another thread."""
        return StrictJson(self.max_depth, self.max_bytes, self._schema)

    def read(self, body: bytes, codec: str = "") -> tuple[Any, bytes]:
        """Return the value of `body`, and the value as JSON: compact, without duplicate keys.

        Args:
            body: the payload.
            codec: Python's codec for the payload's charset, empty for UTF-8.

        Raises:
            NotStrictError: the payload is rejected.
        """
        if codec:
            body = self._transcoded(body, codec)
        if not body:
            raise NotStrictError("the answer is empty")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            value = _behind_mark(body, error)
        limit = self.max_depth
        flat = len(body) <= _SMALL and has_few_brackets(body, limit)
        # The slice is a copy of the exact size: orjson returns bytes in a buffer of a kilobyte, of
        # which the rest would stay allocated for every cached answer.
        written = orjson.dumps([value])[1:-1] if flat else self._frame.write(value)
        if written is None:
            raise NotStrictError(f"nested more than {limit} levels deep")
        if self._schema is not None:
            self.check(value)
        return value, written

    def check(self, value: Any) -> None:
        """Raise `NotStrictError` when `value` does not match the schema."""
        if self._schema is not None and (wrong := violation(self._schema, value)):
            raise NotStrictError(wrong)

    def _transcoded(self, body: bytes, codec: str) -> bytes:
        if codec in _WITH_MARK and not body.startswith(_WITH_MARK[codec]):
            # Without a mark the order of the bytes shows in the first character, which is ASCII.
            codec += "_be" if body.startswith(b"\0") else "_le"
        try:
            # Strict twice: UTF-16 and UTF-32 can name lone surrogates, which UTF-8 cannot.
            body = body.decode(codec).encode()
        except UnicodeError:
            raise NotStrictError("the answer is not in the charset that it declares") from None
        if len(body) > self.max_bytes:
            raise NotStrictError(f"more than {self.max_bytes} bytes in UTF-8")
        return body


def _behind_mark(body: bytes, error: orjson.JSONDecodeError) -> Any:
    """Return the value after a byte order mark, or raise for `error` where there is no mark."""
    if body.startswith(codecs.BOM_UTF8):
        try:
            return orjson.loads(body[len(codecs.BOM_UTF8) :])
        except orjson.JSONDecodeError as behind:
            error = behind
    raise NotStrictError(f"not strict JSON: {error.msg} at byte {error.pos}") from None
