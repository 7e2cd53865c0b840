"""The parser of a connection's answers (RFC 9112): bytes in, answers out, no I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
from httptools import HttpParserError, HttpResponseParser

from gateway.transport.answer import RawAnswer
from gateway.transport.failures import AnswerTooLarge
from gateway.transport.inflate import content_coding
from gateway.transport.whole import WholeReader

if TYPE_CHECKING:
    from gateway.transport.bounds import Bounds

__all__ = ["AnswerReader", "Readers"]

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})
_WITHOUT_CONTENT = frozenset({204, 304})
_REASON = re.compile(rb"[^\x00\x0b\x0c\r\n]*").fullmatch

_OK = 200
_SWITCHING = 101
_LOWEST = 100
_H = 0x48
_CONTENT_PER_FRAMING = 4
_PIECES = 1024
_LENGTH_DIGITS = 20
_TAIL = len(b".\r\n\r\n")
_SPARE = 64


class Readers:
    """The readers of one origin; a free list, so that an answer does not have to create one.

    Args:
        bounds: limits on each answer.

    Attributes:
        whole: reads answers that come in one piece.
    """

    __slots__ = ("_bounds", "_spare", "whole")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._spare: list[AnswerReader] = []
        self.whole = WholeReader(bounds)

    def take(self) -> AnswerReader:
        """Return a reader; call `begin` on it."""
        return self._spare.pop() if self._spare else AnswerReader(self._bounds)

    def give_back(self, reader: AnswerReader) -> None:
        """Take back a reader that is `reusable`."""
        if len(self._spare) < _SPARE:
            reader.forget()
            self._spare.append(reader)


class AnswerReader:
    """Parses one answer after the other and reports surplus bytes.

    llhttp parses. This class adds the checks that llhttp does not make: the bounds, HTTP versions,
    transfer codings, unsolicited statuses, and bytes after the end.

    Attributes:
        complete: the answer is complete; also true before the first `begin`.
        head_done: status and header fields are parsed.
        started: the first byte of the answer has arrived.
        reusable: the answer is complete and keeps the connection alive, without surplus bytes.
        pieces: the body so far or, when streaming, since the consumer last took it.
    """

    __slots__ = (
        "_bounds",
        "_coding",
        "_fields",
        "_framed",
        "_head_bytes",
        "_head_request",
        "_headers",
        "_interim",
        "_keeps_alive",
        "_length",
        "_parser",
        "_plain",
        "_reason",
        "_refusal",
        "_size",
        "_status",
        "_streaming",
        "_surplus",
        "_tail",
        "_version",
        "_wire",
        "complete",
        "head_done",
        "pieces",
        "reusable",
    )

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._parser = HttpResponseParser(self)
        self.begin()
        self.complete = True
        self.reusable = True

    @property
    def surplus(self) -> bool:
        """Whether bytes followed the end of the answer."""
        return self._surplus

    @property
    def started(self) -> bool:
        """Whether the first byte of the answer has arrived."""
        return self._head_bytes > 0

    def begin(self, *, head_request: bool = False, streaming: bool = False) -> None:
        """Prepare for the answer to a request.

        Args:
            head_request: it was a HEAD request: the answer's framing fields describe no body.
            streaming: the caller takes `pieces` as they arrive.
        """
        self.complete = False
        self.head_done = False
        self.reusable = False
        self.pieces: list[bytes | bytearray] = []
        self._head_request = head_request
        self._streaming = streaming
        self._headers: list[tuple[bytes, bytes]] = []
        self._fields = 0
        self._head_bytes = 0
        self._interim = False
        self._keeps_alive = False
        self._surplus = False
        self._framed = False
        self._length = -1
        self._size = 0
        self._wire = 0
        self._status = 0
        self._plain = False
        self._version = "HTTP/1.1"
        self._reason = b""
        self._tail = b""
        self._coding: bytes | None = None
        self._refusal: Exception | None = None

    def forget(self) -> None:
        """Drop references to the answer."""
        self.pieces = []
        self._headers = []
        self._tail = b""

    def feed(self, data: bytes) -> bool:
        """Parse bytes; return whether the answer is complete.

        Raises:
            httpx.RemoteProtocolError: the answer is invalid; `AnswerTooLarge`: it exceeds a bound.
            httpx.DecodingError: its content coding is not supported.
        """
        try:
            if self.head_done:
                self._wire += len(data)
                self._parser.feed_data(data)
            else:
                self._feed_head(data)
        except HttpParserError as error:
            if not self.complete:
                raise self._refusal or httpx.RemoteProtocolError(str(error)) from None
            # The answer itself is valid; the bytes after its end are not.
            self._surplus = True
        if self.complete:
            self._end(data)
            return True
        self._tail = (self._tail + data[-_TAIL:])[-_TAIL:]
        allowed = self._bounds.max_framing + self._size // _CONTENT_PER_FRAMING
        if self._wire - self._size > allowed:
            # Millions of tiny chunks, endless chunk extensions, endless trailers.
            raise AnswerTooLarge(f"chunk framing of more than {allowed} bytes")
        return False

    def feed_eof(self) -> None:
        """Handle the end of input, which ends a body without a length.

        Raises `httpx.RemoteProtocolError` if it comes too early.
        """
        if not self.head_done:
            raise httpx.RemoteProtocolError("the server closed the connection without an answer")
        if self._framed:
            raise httpx.RemoteProtocolError("the server closed the connection within the body")
        self.complete = True

    def answer(self) -> RawAnswer:
        """Return the answer with the body in `pieces`."""
        pieces = self.pieces
        body = bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)
        return RawAnswer(
            self._status, self._headers, body, self._version, self._reason, self._coding or b""
        )

    # HttpResponseParser

    def on_message_begin(self) -> None:
        """Stop at a second answer after the first."""
        if self.complete:
            raise HttpParserError("bytes after the end of the answer")

    def on_status(self, reason: bytes) -> None:
        """Store the reason phrase."""
        self._reason += reason
        if reason != b"OK" and not _REASON(reason):
            raise self._refuse("the reason phrase has control characters")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store one header field (or trailer field, which is dropped at the end)."""
        name = name.lower()
        value = value.rstrip(b" \t")
        if name in _FRAMING and not self.head_done:
            self._note(name, value)
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the head and determine how the body ends."""
        status = self._parser.get_status_code()
        if status < _OK:
            self._skip_interim(status)
            return
        if not self._plain:
            self._check_version()
        if len(self._headers) > self._bounds.max_headers:
            raise self._refuse(f"more than {self._bounds.max_headers} header fields", large=True)
        self._status = status
        self._fields = len(self._headers)
        self.head_done = True
        if self._head_request or status in _WITHOUT_CONTENT:
            self._framed = True
            self._coding = None
            if self._head_request:
                self.complete = True
                self._keeps_alive = self._parser.should_keep_alive()
            return
        if self._length > self._bounds.max_body:
            raise self._refuse(f"content of more than {self._bounds.max_body} bytes", large=True)
        if self._coding is not None:
            try:
                self._coding = content_coding(self._coding)
            except httpx.DecodingError as error:
                self._refusal = error
                raise

    def on_body(self, data: bytes) -> None:
        """Store one piece of the body."""
        if self.complete:
            self._surplus = True
            return
        self._size += len(data)
        if self._size > self._bounds.max_body:
            raise self._refuse(f"content of more than {self._bounds.max_body} bytes", large=True)
        if len(self.pieces) >= _PIECES and not self._streaming:
            self._merge()
        self.pieces.append(data)

    def on_message_complete(self) -> None:
        """Handle the end of the answer, or of an interim answer."""
        if self._interim:
            self._interim = False
            return
        self.complete = True
        # Trailer fields are not merged into the header fields (RFC 9110 section 6.5.1).
        del self._headers[self._fields :]
        # Read here: the parser resets it right after.
        self._keeps_alive = self._parser.should_keep_alive()

    # Inner parts

    def _feed_head(self, data: bytes) -> None:
        if not self._head_bytes:
            if data[0] != _H:
                # llhttp skips empty lines here, which can be the rest of another answer.
                self._head_bytes = len(data)
                raise HttpParserError("the answer does not begin with HTTP/")
            self._plain = data.startswith(b"HTTP/1.1 ")
        room = self._bounds.max_header_bytes - self._head_bytes
        self._head_bytes += len(data)
        if len(data) <= room:
            self._parser.feed_data(data)
            return
        self._parser.feed_data(data[:room])
        if not self.head_done:
            raise AnswerTooLarge(f"header of more than {self._bounds.max_header_bytes} bytes")
        self._parser.feed_data(data[room:])

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._framed = True
            # llhttp has checked that it is digits, and that it is the only one.
            if len(value) > _LENGTH_DIGITS:
                raise self._refuse("Content-Length has too many digits")
            self._length = int(value)
        elif name == b"content-encoding":
            self._coding = value if self._coding is None else self._coding + b"," + value
        elif self._framed or value.lower() != b"chunked":
            # Framing is never guessed (RFC 9112 section 6.3). llhttp refuses the combination with
            # Content-Length.
            raise self._refuse("Transfer-Encoding is not `chunked`")
        else:
            self._framed = True

    def _skip_interim(self, status: int) -> None:
        if status < _LOWEST or status == _SWITCHING:
            raise self._refuse(f"status {status} is unsolicited")
        self._interim = True
        self._plain = False
        self._headers = []
        self._reason = b""
        self._framed = False
        self._length = -1
        self._coding = None

    def _check_version(self) -> None:
        version = self._parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            raise self._refuse(f"HTTP/{version} is not supported")
        self._version = f"HTTP/{version}"

    def _refuse(self, why: str, *, large: bool = False) -> Exception:
        """Return an error to raise from a callback; `feed` raises it instead of the parser's."""
        error = AnswerTooLarge(why) if large else httpx.RemoteProtocolError(why)
        self._refusal = error
        return error

    def _merge(self) -> None:
        """Merge the pieces: a body in two-byte chunks would take twenty times its size."""
        first, *rest = self.pieces
        merged = first if isinstance(first, bytearray) else bytearray(first)
        merged += b"".join(rest)
        self.pieces = [merged]

    def _end(self, last: bytes) -> None:
        self.reusable = (
            self._keeps_alive
            and not self._surplus
            and self._version == "HTTP/1.1"
            and self._ends_cleanly(last)
        )
        if self._head_request:
            # The parser would wait for a body.
            self._parser = HttpResponseParser(self)

    def _ends_cleanly(self, last: bytes) -> bool:
        """Whether the answer ended where `last` ends; llhttp skips line breaks after it."""
        if self._length > 0 and self.pieces:
            piece = self.pieces[-1]
            # `endswith` cannot decide for a piece that is only line breaks.
            return last.endswith(piece) and (len(last) == len(piece) or bool(piece.strip(b"\r\n")))
        tail = (self._tail + last[-_TAIL:])[-_TAIL:]
        return tail.endswith(b"\r\n\r\n") and tail[:1] not in {b"\r", b"\n"}
