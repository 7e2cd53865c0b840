"""Bounded decoding of gzip and deflate content from untrusted upstreams (RFC 9110 8.4.1)."""

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
    from gateway.transport.answer import RawAnswer

__all__ = ["CODINGS", "DESCRIBED", "Inflater", "content_coding", "inflate", "inflate_answer",
           "inflate_small"]  # fmt: skip

CODINGS = {b"gzip": b"gzip", b"x-gzip": b"gzip", b"deflate": b"deflate"}
"""The supported content codings, by their names."""

DESCRIBED = frozenset({b"content-encoding", b"content-length"})
"""The fields that describe compressed content; they are removed when it is inflated."""

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

    Raises `httpx.DecodingError` for an unsupported coding, and for more than one: layers of
    compression multiply, so a few hundred bytes become gigabytes.
    """
    names = [name for part in value.lower().split(b",") if (name := part.strip(b" \t"))]
    names = [name for name in names if name != b"identity"]
    if not names:
        return b""
    if len(names) > 1:
        raise httpx.DecodingError("more than one content encoding")
    coding = CODINGS.get(names[0])
    if coding is None:
        raise httpx.DecodingError(f"content encoding {names[0][:32]!r} is not supported")
    return coding


class Inflater:
    """Inflates one body, piece by piece, never more than a slice at a time.

    Args:
        coding: `gzip` or `deflate`; deflate without its zlib wrapper is supported too, since some
            servers send that.
        bound: inflated bytes of the whole body at most.
    """

    __slots__ = ("_bound", "_coding", "_held", "_stream", "_total", "_touched")

    def __init__(self, coding: bytes, bound: int) -> None:
        self._coding = coding
        self._bound = bound
        self._stream = zlib.decompressobj(_GZIP) if coding == b"gzip" else None
        self._held = b""
        self._total = 0
        self._touched = False

    def slices(self, data: bytes | bytearray) -> Iterator[bytes]:
        """Yield the inflated bytes of one piece of the body.

        A slice is at most 256 KiB, so the caller can let other tasks run in between. Raises
        `httpx.DecodingError` for malformed content and `InflatedTooLarge` beyond the bound.
        """
        for start in range(0, len(data), _IN):
            piece = data[start : start + _IN]
            yield from self._piece(piece)

    def _piece(self, piece: bytes | bytearray) -> Iterator[bytes]:
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
                    raise httpx.DecodingError("content continues after its compressed end")
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
            yield inflated
            piece = rest
            # zlib can have consumed all input and still hold back output.
            if not piece and (stream.eof or len(inflated) < _OUT):
                return

    def finish(self) -> None:
        """Raise `httpx.DecodingError` unless the body ended where its compression ends.

        An empty body is accepted: empty answers in practice have one.
        """
        if self._stream is None:
            if self._held:
                raise httpx.DecodingError("compressed content is truncated")
        elif self._touched and not self._stream.eof:
            raise httpx.DecodingError("compressed content is truncated")


def _wrapping(head: bytes) -> int:
    """Return zlib's window bits: wrapped or raw, by the header's checksum (RFC 1950 2.2)."""
    is_zlib = head[0] & 0x0F == 8 and (head[0] << 8 | head[1]) % 31 == 0  # noqa: PLR2004
    return _ZLIB if is_zlib else _RAW


def inflate_small(answer: RawAnswer, bound: int) -> bool:
    """Inflate the content of `answer` if that takes one turn of the loop; return whether it did.

    Raises `httpx.DecodingError` and `InflatedTooLarge`, as `inflate` does.
    """
    inflater = Inflater(answer.coding, bound)
    parts = []
    work = 0
    for part in inflater.slices(answer.body):
        parts.append(part)
        work += len(part) + _SLICE_COST
        if work > _TURN:
            return False
    inflater.finish()
    _replace(answer, parts[0] if len(parts) == 1 else b"".join(parts))
    return True


async def inflate_answer(
    answer: RawAnswer, bound: int, deadline: float | None = None, hold: Hold | None = None
) -> None:
    """Replace the compressed content of `answer` with the inflated one.

    The fields that describe the compressed bytes are removed. It waits and raises like `inflate`.
    """
    answer.hold = hold
    _replace(answer, await inflate(answer.coding, answer.body, bound, deadline, hold))


def _replace(answer: RawAnswer, inflated: bytes) -> None:
    answer.body = inflated
    answer.coding = b""
    answer.headers = [field for field in answer.headers if field[0] not in DESCRIBED]


async def inflate(
    coding: bytes, raw: bytes, bound: int, deadline: float | None = None, hold: Hold | None = None
) -> bytes:
    """Return `raw` inflated; yields to the loop after every 256 KiB of work.

    A small body never waits. Beyond 1 MiB of output it waits until `hold` has room for `bound`
    bytes, and then releases the room that it does not need.

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
    # BytesIO returns its buffer without a copy; joining pieces would need the memory twice.
    inflated = BytesIO()
    work = 0
    for part in inflater.slices(raw):
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
