"""Delivery: sends a whole answer in the form that its client can use.

That is nothing (304) where the client has the answer already, and a compressed form where it takes
one. Compressed forms of a cached answer are stored beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.web.compression import VARY, GzipStream
from gateway.web.fields import Fields
from gateway.web.response_headers import matches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.values.header_fields import Field
    from gateway.web.client_headers import Read
    from gateway.web.compression import Coding, Compression
    from gateway.web.fields import Respond
    from gateway.web.response_cache import CachedAnswer, ResponseCache
    from gateway.web.streaming import Begin, Outlet

__all__ = ["Delivery"]


class Delivery:
    """Sends the answers of one dashboard.

    Args:
        vary: the `Vary` field of its answers.
        cache: the response cache; `None` if no section is ever cached.
        compression: how answers are compressed; `None` if they are not.
        guarded: private answers are not compressed, because what the client writes may be beside
            what is private.
    """

    __slots__ = ("_cache", "_compression", "_guarded", "_vary", "_vary_more")

    def __init__(
        self,
        vary: Sequence[Field],
        cache: ResponseCache | None,
        compression: Compression | None,
        *,
        guarded: bool,
    ) -> None:
        self._cache = cache
        self._compression = compression
        self._guarded = guarded and compression is not None and not compression.private
        self._vary = vary
        self._vary_more = [(name, b"%b, %b" % (value, VARY)) for name, value in vary]

    @property
    def vary_of_streams(self) -> Sequence[Field]:
        """The `Vary` field of streams."""
        return self._vary if self._compression is None else self._vary_more

    def vary(self, size: int, *, private: bool) -> Sequence[Field]:
        """Return the `Vary` field of an answer of `size` bytes: another one may be compressed."""
        return self._vary if self._compresses(size, private=private) is None else self._vary_more

    def give(
        self,
        respond: Respond,
        method: str,
        key: tuple[bytes, bytes],
        answer: CachedAnswer,
        read: Read,
        now: float,
    ) -> int:
        """Respond with an answer, or with 304 if the client has it already; return the status.

        Args:
            respond: sends it, now or a little later.
            method: `GET` or `HEAD`.
            key: of the answer in the response cache, if it is there.
            answer: the answer.
            read: the client's header fields.
            now: POSIX seconds.
        """
        if read.if_none_match and matches(read.if_none_match, answer.etag):
            respond(304, answer.fields(now), b"")
            return 304
        self.send(respond, method, key, answer, read, now)
        return 200

    def send(
        self,
        respond: Respond,
        method: str,
        key: tuple[bytes, bytes],
        answer: CachedAnswer,
        read: Read,
        now: float,
    ) -> None:
        """Respond with an answer; see `give`."""
        coding = self._coding(len(answer.body), read)
        if coding is not None:
            body = answer.forms.get(coding.name)
            if body:
                fields = answer.encoded_fields(now, coding.name, len(body))
                respond(200, fields, b"" if method == "HEAD" else body)
                return
            if body is None:
                self._make(respond, method, key, answer, coding, now)
                return
        respond(200, answer.whole_fields(now), b"" if method == "HEAD" else answer.body)

    def begin(self, begin: Begin, read: Read) -> Begin:
        """Return what begins a stream: compressed, if its client takes that."""
        one = self._compression
        if one is None or not read.accept_encoding or (read.private and self._guarded):
            return begin
        return _compressing(begin) if one.streams(read.accept_encoding) else begin

    def _coding(self, size: int, read: Read) -> Coding | None:
        """Return how to compress a body; `None` to send it as it is."""
        if not read.accept_encoding:
            return None
        one = self._compresses(size, private=read.private)
        return None if one is None else one.chosen(read.accept_encoding)

    def _compresses(self, size: int, *, private: bool) -> Compression | None:
        """Return what compresses an answer of `size` bytes for clients that take it."""
        one = self._compression
        if one is None or size < one.min_size or (private and self._guarded):
            return None
        return one

    def _make(
        self,
        respond: Respond,
        method: str,
        key: tuple[bytes, bytes],
        answer: CachedAnswer,
        coding: Coding,
        now: float,
    ) -> None:
        """Compress an answer and respond with it; meanwhile others get it as it is."""
        assert self._compression is not None  # noqa: S101 - checked by the caller
        plain, name = answer.body, coding.name
        answer.forms[name] = b""

        def made(body: bytes) -> None:
            if body and len(body) < len(plain):
                if self._cache is not None:
                    self._cache.add_form(key, answer, name, body)
                fields = answer.encoded_fields(now, name, len(body))
                respond(200, fields, b"" if method == "HEAD" else body)
            else:
                respond(200, answer.whole_fields(now), b"" if method == "HEAD" else plain)
            if not answer.forms.get(name):
                answer.forms.pop(name, None)  # the next one tries again

        self._compression.make(coding, plain, made)


def _compressing(begin: Begin) -> Begin:
    def begun(status: int, fields: Fields, data: bytes) -> Outlet:
        compressor = GzipStream()
        encoded = Fields([*fields, (b"content-encoding", b"gzip")])
        first = compressor.write(data) if data else b""
        return _CompressedOutlet(begin(status, encoded, first), compressor)

    return begun


class _CompressedOutlet:
    """Compresses what is written, so that the client can read each part when it comes."""

    __slots__ = ("_compressor", "_outlet")

    def __init__(self, outlet: Outlet, compressor: GzipStream) -> None:
        self._outlet = outlet
        self._compressor = compressor

    @property
    def paused(self) -> bool:
        return self._outlet.paused

    @property
    def resumed(self) -> Callable[[], None] | None:
        return self._outlet.resumed

    @resumed.setter
    def resumed(self, resumed: Callable[[], None] | None) -> None:
        self._outlet.resumed = resumed

    def write(self, data: bytes) -> None:
        if data:
            self._outlet.write(self._compressor.write(data))

    def end(self, data: bytes = b"") -> None:
        self._outlet.end(self._compressor.end(data))
