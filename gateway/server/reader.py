"""Reads requests from the bytes of one connection, within limits. Knows no socket and no clock.

llhttp (httptools) decides what a request is. This module decides how much of the input it gets at a
time: never more than one message, so that a request that follows waits as plain bytes until the one
before it is answered, and never more than the limits.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from httptools import (
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)

from gateway.server.refusal import Refusal

if TYPE_CHECKING:
    from gateway.server.limits import Limits
    from gateway.values.header_fields import Field

__all__ = ["BodyReceiver", "Phase", "RequestReader", "target_of"]

_END = b"\r\n\r\n"
_VERSION = b" HTTP/1.1"
_NOTED = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
_HOST = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?"
).fullmatch
"""uri-host [":" port] (RFC 9110 section 7.2); it may be empty."""
_FRAMING_SHARE = 4


class Phase(IntEnum):
    """What the next byte of a connection belongs to."""

    BETWEEN = 0  # the next request, of which nothing has come
    HEAD = 1
    BODY = 2


_BETWEEN, _HEAD, _BODY = Phase


class BodyReceiver(Protocol):
    """Takes the content of a request."""

    def body(self, data: bytes) -> None:
        """Take a part of the content."""

    def complete(self) -> None:
        """Take note that the content is complete."""


class RequestReader:
    """Reads the requests of one connection.

    Args:
        limits: the limits.

    Attributes:
        pending: bytes that have come and are not parsed yet.
        phase: what the next byte of `pending` belongs to.
        headed: a head is complete, and `next` has not been called for it yet.
        url: the request target.
        fields: the header fields, names in lower case.
        keep_alive: the client lets the connection stay open.
        version: `1.1` or `1.0`.
        expects: the client waits for `100 Continue` before it sends the content.
        upgrades: the client asks for another protocol.
        receiver: takes the content; without one it is counted and dropped.
    """

    __slots__ = (
        "_coding", "_content", "_counted", "_framing", "_host", "_known_host", "_length",
        "_limits", "_line", "_parser", "_quick", "_repeated", "_tail", "expects", "fields",
        "headed", "keep_alive", "method", "pending", "phase", "receiver", "upgrades", "url",
        "version",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._quick = min(limits.request_line, limits.head)
        self._parser = HttpRequestParser(self)
        self.pending = bytearray()
        self.phase = _BETWEEN
        self.receiver: BodyReceiver | None = None
        self._known_host = b""
        self._line = False  # the request line is complete
        self._counted = 0  # bytes of this head
        self._tail = b""  # the last bytes that were parsed: the end may lie across two pieces
        self._content = 0  # bytes of content so far
        self._framing = 0  # bytes of this body so far that are not content
        self.version = "1.1"
        self.keep_alive = True
        self.method = ""
        self._reset()

    def _reset(self) -> None:
        self.url = b""
        self.fields: list[Field] = []
        self.headed = False
        self.expects = False
        self.upgrades = False
        self._host: bytes | None = None
        self._repeated = False
        self._length = 0
        self._coding = b""

    # Reading

    def is_whole(self, data: bytes) -> bool:
        """Whether `data` is one head, and nothing came before it that is not parsed."""
        return (
            self.phase == _BETWEEN
            and not self.pending
            and data.find(_END) == len(data) - 4
            and len(data) <= self._quick
        )

    def read_whole(self, data: bytes) -> None:
        """Parse what `is_whole`.

        Raises:
            Refusal: it is not a request that the server takes.
        """
        end = data.find(b"\r\n")
        self._parse(data)
        if self.headed:
            self._check(modern=data[end - 9 : end] == _VERSION)

    def read(self) -> None:
        """Parse `pending` up to the end of the next head or message, or as far as it goes.

        Raises:
            Refusal: it is not a request that the server takes.
        """
        if self.phase == _BODY:
            self._read_body()
            return
        if self.phase == _BETWEEN:
            if self.pending[0] in _END:  # RFC 9112 section 2.2: empty lines before a request
                self.pending = self.pending.lstrip(_END)
                if not self.pending:
                    return
            self.phase = _HEAD
            self._line = False
            self._counted = 0
            self._tail = b""
        self._read_head()
        if self.headed:
            self._check(modern=False)

    def close(self) -> None:
        """Read nothing more; forget what is pending.

        Reader and parser refer to each other. Without this a thousand closed connections would wait
        for the garbage collector, which runs rarely.
        """
        self.pending.clear()
        del self._parser

    def next(self) -> None:
        """Forget the head; what follows is its content or another request."""
        if self.phase == _BODY:
            self._content = self._framing = 0
            self._tail = b""
            chunked, length = bool(self._coding), self._length
            self._reset()
            self._coding, self._length = b"chunked" if chunked else b"", length
        else:
            self._reset()

    def _read_head(self) -> None:
        pending, limits, counted = self.pending, self._limits, self._counted
        cut = self._end()
        if not self._line:
            newline = pending.find(b"\n", 0, cut)
            if counted + (cut if newline < 0 else newline) > limits.request_line:
                self._take(limits.request_line - counted)
                raise Refusal(414, f"the request line is longer than {limits.request_line} bytes")
            self._line = newline >= 0
        if counted + cut > limits.head:
            self._take(limits.head - counted)
            raise Refusal(431, f"the head of the request is larger than {limits.head} bytes")
        self._counted = counted + cut
        self._take(cut)

    def _read_body(self) -> None:
        chunked = bool(self._coding)
        left = self._length - self._content
        cut = self._end() if chunked else min(len(self.pending), max(left, 1))
        before = self._content
        unread = self.receiver is None  # not of content that has just been read to its end
        self._take(cut)
        if self.phase == _BODY:
            self._framing += cut - (self._content - before)
        limits = self._limits
        if unread and self._content + self._framing > limits.unread_body:
            raise Refusal(
                413, f"the content is larger than {limits.unread_body} bytes, and no one reads it"
            )
        if self._framing > limits.head + self._content // _FRAMING_SHARE:
            raise Refusal(400, "the chunks or the trailers are too large for their content")

    def _end(self) -> int:
        """Return how many pending bytes there are up to the next empty line, it included."""
        if self._tail:
            across = (self._tail + self.pending[:3]).find(_END)
            if across >= 0:
                return across + 4 - len(self._tail)
        end = self.pending.find(_END)
        return len(self.pending) if end < 0 else end + 4

    def _take(self, cut: int) -> None:
        piece = bytes(self.pending[:cut])
        del self.pending[:cut]
        self._tail = b"" if piece.endswith(_END) else (self._tail + piece[-3:])[-3:]
        self._parse(piece)

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.upgrades = True
        except HttpParserError as error:
            self._check_count()
            raise self._refusal(error) from None
        if len(self.fields) > self._limits.fields:
            self._check_count()

    # Judging

    def _check_count(self) -> None:
        if len(self.fields) > self._limits.fields:
            raise Refusal(431, f"the request has more than {self._limits.fields} header fields")

    def _refusal(self, error: HttpParserError) -> Refusal:
        major = self._parser.get_http_version().split(".")[0]
        if major not in {"0", "1"}:
            return Refusal(505, "the server speaks HTTP/1.1 and HTTP/1.0 only")
        if isinstance(error, HttpParserInvalidURLError):
            return Refusal(400, "the request target is not valid")
        return Refusal(400, f"the request is not valid HTTP: {error}")

    def _check(self, *, modern: bool) -> None:
        """Check what llhttp leaves to a server; a head is complete.

        Args:
            modern: it is known that the version is 1.1.
        """
        self.method = self._parser.get_method().decode("ascii")
        if modern:
            self.version = "1.1"
        else:
            self._check_version()
        host = self._host
        if self._repeated or (host is None and self.version != "1.0"):
            raise Refusal(400, "the request must have exactly one Host field")
        if host is not None and host != self._known_host:
            if _HOST(host) is None:
                raise Refusal(400, "the Host field is not valid")
            self._known_host = host
        if self._coding:
            self._check_coding()

    def _check_version(self) -> None:
        self.version = version = self._parser.get_http_version()
        if version == "1.0":
            self.keep_alive = False
        elif version != "1.1":
            if version.startswith("0"):
                raise Refusal(400, "the request has no HTTP version that the server speaks")
            raise Refusal(505, "the server speaks HTTP/1.1 and HTTP/1.0 only")

    def _check_coding(self) -> None:
        if self.version == "1.0":  # RFC 9112 section 6.1: its framing is faulty
            raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding")
        if self._coding.lower() != b"chunked":
            raise Refusal(501, "the server takes no transfer coding but chunked")

    # Callbacks of the parser

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target."""
        self.url = self.url + url if self.url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header field, or a trailer."""
        name = name.lower()
        if name in _NOTED and self.phase != _BODY:
            self._note(name, value)
        self.fields.append((name, value))

    def _note(self, name: bytes, value: bytes) -> None:
        value = value.strip()
        if name == b"host":
            self._repeated = self._host is not None
            self._host = value
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name == b"content-length":
            self._length = int(value)  # llhttp takes digits only, and no more than 64 bits
        else:
            self._coding = b"%b, %b" % (self._coding, value) if self._coding else value

    def on_headers_complete(self) -> None:
        """Take note that the head is complete."""
        self.headed = True
        self.phase = _BODY
        # llhttp forgets it with the end of the message.
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Take a part of the content."""
        self._content += len(data)
        if self.receiver is not None:
            self.receiver.body(data)

    def on_message_complete(self) -> None:
        """Take note that the request is complete."""
        self.phase = _BETWEEN
        if not self.headed:
            self._reset()  # its trailers, which no one reads
        if self.receiver is not None:
            self.receiver.complete()
            self.receiver = None


def target_of(url: bytes) -> tuple[bytes, bytes]:
    """Return path and query of a request target.

    Raises:
        Refusal: it is not valid.
    """
    if url[:1] == b"/" and b"#" not in url:
        path, _, query = url.partition(b"?")
        return path, query
    try:
        parsed = parse_url(url)
    except HttpParserInvalidURLError:
        raise Refusal(400, "the request target is not valid") from None
    return parsed.path or b"/", parsed.query or b""
