"""Reads the usual answer: `200 OK` with a length, its head and body in one piece.

llhttp checks it as it checks every answer, but it calls Python once and not for each header field.
What is not plainly the usual answer is left to `AnswerReader`, which sees the same bytes from the
start: this reader never refuses an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import HttpParserError, HttpResponseParser

from gateway.transport.answer import RawAnswer
from gateway.values.header_fields import HeaderFields

if TYPE_CHECKING:
    from gateway.transport.bounds import Bounds

__all__ = ["WholeReader"]

_STATUS_LINE = b"HTTP/1.1 200 OK"
_FIELDS = len(_STATUS_LINE)
_END = b"\r\n\r\n"
_LINE = 4
"""Bytes of the shortest field: a name, a colon and the end of the line."""


class WholeReader:
    """Reads answers that come in one piece; one reader serves all connections of an origin.

    Args:
        bounds: limits on each answer.
    """

    __slots__ = ("_bounds", "_complete", "_parser")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._complete = False
        self._parser = HttpResponseParser(self)

    def read(self, data: bytes) -> RawAnswer | None:
        """Return the answer that is all of `data`; `None` if the other reader has to decide.

        The connection can be used again after it.
        """
        head = data.find(_END)
        if head < 0 or not data.startswith(_STATUS_LINE):
            return None
        raw = data[_FIELDS : head + 2]
        low = raw.lower()
        start = head + 4
        if not self._is_plain(low, start, len(data) - start):
            return None
        self._complete = False
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self._complete = False
        if not self._complete:  # it is invalid, or the last one of its connection
            self._parser = HttpResponseParser(self)
            return None
        return RawAnswer(200, HeaderFields(raw, low), data[start:], "HTTP/1.1", b"OK")

    def on_message_complete(self) -> None:
        """Note whether the connection stays open; llhttp forgets it right after."""
        self._complete = self._parser.should_keep_alive()

    def _is_plain(self, low: bytes, start: int, length: int) -> bool:
        """Whether the head declares the length in the usual form, has no codings, and is in bounds.

        llhttp refuses bare line breaks and folded lines, and a second length.
        """
        bounds = self._bounds
        return (
            low.startswith(b"\r\n")  # else the reason phrase goes on
            and low.find(b"\r\ncontent-length: %d\r\n" % length) >= 0
            and low.find(b"ncoding:") < 0
            and length <= bounds.max_body
            and start <= bounds.max_header_bytes
            and (
                start <= _LINE * bounds.max_headers or low.count(b"\r\n") <= bounds.max_headers + 1
            )
        )
