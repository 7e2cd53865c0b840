"""Undoing gzip and deflate without trusting whoever made them (RFC 9110 section 8.4.1)."""

from __future__ import annotations

import asyncio
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

import httpx

from gateway.transport.failures import InflatedTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.aio.byte_budget import Hold

__all__ = ["CODINGS", "DESCRIBED", "Inflater", "content_coding", "inflate"]

CODINGS = {b"gzip": b"gzip", b"x-gzip": b"gzip", b"deflate": b"deflate"}
"""The content codings that are understood, by the names they go under."""

DESCRIBED = frozenset({b"content-encoding", b"content-length"})
"""The fields that tell of content before it is inflated, and so go when it is."""

_IN = 64 * 1024
_OUT = 256 * 1024
_TURN = 256 * 1024
_FREE = 1024 * 1024
_SLICE_COST = 4096

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
_ZLIB_HEADER = 2


def content_coding(value: bytes) -> bytes:
    """Return the one coding that a Content-Encoding field names, empty for none.

    Raises `httpx.DecodingError` for a coding that is not understood, and for more than one:
    layers multiply, so that a few hundred bytes become gigabytes.
    """
    names = [name for part in value.lower().split(b",") if (name := part.strip(b" \t"))]
    names = [name for name in names if name != b"identity"]
    if not names:
        return b""
    if len(names) > 1:
        raise httpx.DecodingError("more than one content encoding")
    coding = CODINGS.get(names[0])
    if coding is None:
        raise httpx.DecodingError(f"content encoding {names[0][:32]!r} is not understood")
    return coding


class Inflater:
    """Inflates one body, piece by piece, never more than a slice at a time.

    Args:
        coding: `gzip` or `deflate`; deflate without its zlib wrapper is understood too, since
            servers have sent that for ever.
        bound: inflated bytes of the whole body at which it is refused.
    """

    __slots__ = ("_bound", "_coding", "_held", "_stream", "_total", "_touched")

    def __init__(self, coding: bytes, bound: int) -> None:
        self._coding = coding
        self._bound = bound
        self._stream = zlib.decompressobj(_GZIP) if coding == b"gzip" else None
        self._held = b""
        self._total = 0
        self._touched = False

    def slices(self, data: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
        """Yield, for one piece of the body, bytes used up and what became of them.

        A slice is at most 256 KiB, so that whoever drives this can let others run in between.
        Raises `httpx.DecodingError` for what is not in the coding, `InflatedTooLarge` at the bound.
        """
        for start in range(0, len(data), _IN):
            piece = data[start : start + _IN]
            yield from self._piece(piece)

    def _piece(self, piece: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
        if self._stream is None:
            self._held += piece
            if len(self._held) < _ZLIB_HEADER:
                return
            piece = self._held
            self._stream = zlib.decompressobj(_wrapping(piece))
        self._touched = True
        while True:
            if self._stream.eof:
                # RFC 1952 section 2.2: a gzip file is a series of members.
                if self._coding != b"gzip":
                    raise httpx.DecodingError("content goes on behind its compressed end")
                self._stream = zlib.decompressobj(_GZIP)
            stream = self._stream
            try:
                inflated = stream.decompress(piece, _OUT)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from None
            rest = stream.unused_data if stream.eof else stream.unconsumed_tail
            self._total += len(inflated)
            if self._total > self._bound:
                raise InflatedTooLarge(f"content inflates to more than {self._bound} bytes")
            yield len(piece) - len(rest), inflated
            piece = rest
            # zlib can have taken all input and still hold output back.
            if not piece and (stream.eof or len(inflated) < _OUT):
                return

    def finish(self) -> None:
        """Raise `httpx.DecodingError` unless the body ended where its compression ends.

        A body of no bytes at all is fine: that is how an empty answer looks in practice.
        """
        if self._stream is None:
            if self._held:
                raise httpx.DecodingError("compressed content is cut short")
        elif self._touched and not self._stream.eof:
            raise httpx.DecodingError("compressed content is cut short")


def _wrapping(head: bytes) -> int:
    """Tell zlib's wrapper from bare deflate by the wrapper's checksum (RFC 1950 section 2.2)."""
    is_zlib = head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0  # noqa: PLR2004
    return _ZLIB if is_zlib else _RAW


async def inflate(
    coding: bytes, raw: bytes, bound: int, deadline: float | None = None, hold: Hold | None = None
) -> bytes:
    """Return `raw` inflated; lets the loop run after every 256 KiB of work.

    A small body never waits. One that has become a MiB waits until `hold` has room for `bound`
    bytes, and keeps the room that it needs.

    Raises `httpx.ReadTimeout` once the loop's clock passes `deadline`, and what `Inflater` raises.
    """
    if hold is None:
        return await _inflated(coding, raw, bound, deadline, None)
    try:
        inflated = await _inflated(coding, raw, bound, deadline, hold)
    except BaseException:
        hold.release()
        raise
    hold.shrink(len(inflated))
    return inflated


async def _inflated(
    coding: bytes, raw: bytes, bound: int, deadline: float | None, hold: Hold | None
) -> bytes:
    inflater = Inflater(coding, bound)
    # Gives its buffer away without a copy, where joining pieces would need the memory twice.
    inflated = BytesIO()
    work = 0
    for _, part in inflater.slices(raw):
        inflated.write(part)
        work += len(part) + _SLICE_COST
        if work > _TURN:
            work = 0
            await asyncio.sleep(0)
            if hold is not None and inflated.tell() > _FREE:
                await hold.fill(bound)
            if deadline is not None and asyncio.get_running_loop().time() > deadline:
                raise httpx.ReadTimeout("no time left to inflate the answer")
    inflater.finish()
    return inflated.getvalue()
