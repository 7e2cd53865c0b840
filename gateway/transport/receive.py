"""Reads the streamed answers of httpx and httpcore completely, within the bounds."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from gateway.transport.answer import RawAnswer
from gateway.transport.failures import AnswerTooLarge
from gateway.transport.inflate import content_coding

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping

    from gateway.transport.bounds import Bounds

__all__ = ["receive"]

_NO_BODY = frozenset({204, 304})
# A piece of any size costs about 15 us in h11 or h2.
_FREE_PIECES = 8192
_CONTENT_PER_PIECE = 64


async def receive(
    method: bytes,
    status: int,
    fields: list[tuple[bytes, bytes]],
    stream: AsyncIterable[bytes],
    extensions: Mapping[str, Any],
    bounds: Bounds,
) -> RawAnswer:
    """Return the answer to a request of `method`, not inflated.

    Raises:
        AnswerTooLarge: it exceeds a bound.
        httpx.DecodingError: its content coding is not supported.
    """
    if len(fields) > bounds.max_headers:
        raise AnswerTooLarge(f"more than {bounds.max_headers} header fields")
    headers = [(name.lower(), value) for name, value in fields]
    coding = b""
    if method != b"HEAD" and status not in _NO_BODY:
        coding = content_coding(
            b",".join([value for name, value in headers if name == b"content-encoding"])
        )
    return RawAnswer(
        status,
        headers,
        await _body(stream, bounds),
        extensions.get("http_version", b"HTTP/1.1").decode("ascii", "ignore"),
        extensions.get("reason_phrase", b""),
        coding,
    )


async def _body(stream: AsyncIterable[bytes], bounds: Bounds) -> bytes:
    body = BytesIO()
    pieces = 0
    async for piece in stream:
        body.write(piece)
        pieces += 1
        size = body.tell()
        if size > bounds.max_body:
            raise AnswerTooLarge(f"content of more than {bounds.max_body} bytes")
        if pieces > _FREE_PIECES + size // _CONTENT_PER_PIECE:
            raise AnswerTooLarge(f"framing: more than {pieces - 1} pieces in {size} bytes")
    return body.getvalue()
