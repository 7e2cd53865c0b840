"""Content codings: chooses one by `Accept-Encoding`, and compresses with it.

The levels are those after which more time saves little on dashboard answers. What would hold the
event loop for a millisecond is compressed in a thread, which the libraries let run beside it.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple

import brotli  # type: ignore[import-untyped] # it has no stubs

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.config.models import CompressionConfig
    from gateway.expressions.parameter import Parameter

__all__ = ["CODINGS", "VARY", "Coding", "Compression", "GzipStream", "accepted", "takes_text"]

VARY = b"Accept-Encoding"
"""What `Vary` names where an answer may be compressed."""

_AT_ONCE = 64 * 1024
"""Largest body that is compressed on the event loop: 0.3 ms with zstd, 0.8 ms with the others."""

_LARGE = 1024 * 1024
"""From here on speed matters more than size: each MiB takes one of few cores for 10 to 20 ms."""

_GZIP = 31  # a window of 32 KiB, in a gzip container
_GZIP_8_KIB = 29

_WAITING = 16
"""Bodies that may wait for the thread; further ones are sent as they are."""

_LONGEST = 1024
_MOST = 32


class Coding(NamedTuple):
    """One content coding.

    Attributes:
        name: its name in header fields.
        compress: returns a whole body, compressed at a level; can be called in any thread.
        level: the usual level.
        fast: the level for a large body.
    """

    name: bytes
    compress: Callable[[bytes, int], bytes]
    level: int
    fast: int

    def of(self, body: bytes) -> bytes:
        """Return a whole body, compressed."""
        return self.compress(body, self.fast if len(body) > _LARGE else self.level)


def _zstd(body: bytes, level: int) -> bytes:
    return zstd.compress(body, level)


def _brotli(body: bytes, level: int) -> bytes:
    return bytes(brotli.compress(body, quality=level))


def _gzip(body: bytes, level: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    return compressor.compress(body) + compressor.flush()


class GzipStream:
    """Compresses the parts of one stream, in 56 KB of memory.

    Streams are always gzip: with events of 600 bytes it is smaller than zstd in half the memory,
    and Brotli takes 300 KB for each stream.
    """

    __slots__ = ("_compressor",)

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(4, zlib.DEFLATED, _GZIP_8_KIB, 6)

    def write(self, data: bytes) -> bytes:
        """Return what lets the client read all that was written so far."""
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def end(self, data: bytes = b"") -> bytes:
        """Return the last part and the end of the stream."""
        return self._compressor.compress(data) + self._compressor.flush()


CODINGS = {
    "zstd": Coding(b"zstd", _zstd, 3, 1),
    "br": Coding(b"br", _brotli, 4, 1),
    "gzip": Coding(b"gzip", _gzip, 4, 1),
}
"""The codings by name, the best first."""


class Compression:
    """Compresses answers as `web.compression` says.

    Args:
        config: what is declared.

    Attributes:
        min_size: bytes of the smallest body that is compressed.
        private: private answers are compressed whatever may be in them.
    """

    def __init__(self, config: CompressionConfig) -> None:
        self.min_size = int(config.min_size)
        self.private = config.private
        self._codings = tuple(CODINGS[name] for name in config.codings)
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0
        self._closed = False
        self.chosen = lru_cache(maxsize=256)(self._chosen)

    def _chosen(self, accept_encoding: bytes) -> Coding | None:
        """Return the coding that a client likes best; `None` to send the answer as it is."""
        qualities = accepted(accept_encoding)
        best = max((qualities.get(one.name, 0.0) for one in self._codings), default=0.0)
        if best <= 0.0 or qualities.get(b"identity", 0.0) > best:
            return None
        return next(one for one in self._codings if qualities.get(one.name) == best)

    def streams(self, accept_encoding: bytes) -> bool:
        """Whether a stream to a client is compressed."""
        quality = accepted(accept_encoding).get(b"gzip", 0.0)
        offered = CODINGS["gzip"] in self._codings
        return offered and 0.0 < quality >= accepted(accept_encoding).get(b"identity", 0.0)

    def make(self, coding: Coding, body: bytes, done: Callable[[bytes], None]) -> None:
        """Compress a body, now or in a thread.

        Args:
            coding: how.
            body: what.
            done: called with the compressed body, or an empty one if there is no time for it.
        """
        if len(body) <= _AT_ONCE:
            done(coding.of(body))
        elif self._closed or self._waiting >= _WAITING:
            done(b"")
        else:
            self._waiting += 1
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "compression")
            loop = asyncio.get_running_loop()
            made = loop.run_in_executor(self._thread, coding.of, body)
            made.add_done_callback(partial(self._made, done))

    async def aclose(self) -> None:
        """End the thread, when it has done what it has begun; what is large is left as it is."""
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _made(self, done: Callable[[bytes], None], made: asyncio.Future[bytes]) -> None:
        self._waiting -= 1
        failed = made.cancelled() or made.exception() is not None
        done(b"" if failed else made.result())


@lru_cache(maxsize=256)
def accepted(accept_encoding: bytes) -> dict[bytes, float]:
    """Return the quality of each coding that a client names (RFC 9110 section 12.5.3).

    A member that is not valid is ignored: a client that gets an answer as it is can read it. `*`
    counts as gzip, which everyone reads; a client that says no more may know nothing else.
    """
    qualities: dict[bytes, float] = {}
    if len(accept_encoding) > _LONGEST:
        return qualities
    for member in accept_encoding.lower().split(b",")[:_MOST]:
        name, _, parameter = (part.strip(b" \t") for part in member.partition(b";"))
        quality = _quality(parameter) if parameter or b";" in member else 1.0
        if name and quality is not None:
            qualities[b"gzip" if name == b"x-gzip" else name] = quality
    if b"*" in qualities:
        qualities.setdefault(b"gzip", qualities[b"*"])
    return qualities


def _quality(parameter: bytes) -> float | None:
    """Return the value of `q=0.5`; `None` for anything else."""
    name, _, text = parameter.partition(b"=")
    whole, _, rest = text.partition(b".")
    digits = not rest or (rest.isdigit() and len(rest) <= 3)  # noqa: PLR2004 - RFC 9110 12.4.2
    if name != b"q" or whole not in {b"0", b"1"} or not digits:
        return None
    quality = float(text)
    return quality if quality <= 1.0 else None


def takes_text(parameters: Iterable[Parameter]) -> bool:
    """Whether a client can put characters of its choice into a request.

    An answer may repeat them beside what is private. The length of the compressed answer then tells
    a page that can make requests in the name of its visitor whether it has guessed right (BREACH).
    Booleans and enumerations leave it no choice.
    """
    return any(not _is_closed(parameter) for parameter in parameters)


def _is_closed(parameter: Parameter) -> bool:
    schema = parameter.schema
    if parameter.is_array:
        items = schema.get("items")
        schema = items if isinstance(items, dict) else {}
    return schema.get("type") == "boolean" or "enum" in schema or "const" in schema
