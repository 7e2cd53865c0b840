"""An upstream's complete answer as plain data, without httpx objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.aio.byte_budget import Hold
    from gateway.values.header_fields import Field

__all__ = ["RawAnswer"]


class RawAnswer:
    """One complete answer.

    Attributes:
        status: the status code, 200 to 999.
        headers: header fields in their order, names in lower case, values without surrounding
            whitespace. `content-encoding` and `content-length` are removed from an inflated answer,
            because they describe the compressed bytes. Trailer fields are dropped.
        body: the content, with transfer coding and content coding removed.
        http_version: `HTTP/1.1`, `HTTP/1.0`; `HTTP/2` only through `HttpxTransport`.
        reason: the reason phrase; informational only.
        coding: the content coding still applied to `body`: `gzip`, `deflate`, or empty.
        hold: the memory reserved for the inflated content; the decoder releases it.
    """

    __slots__ = ("body", "coding", "headers", "hold", "http_version", "reason", "status")

    def __init__(
        self,
        status: int,
        headers: Sequence[Field],
        body: bytes,
        http_version: str = "HTTP/1.1",
        reason: bytes = b"",
        coding: bytes = b"",
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.http_version = http_version
        self.reason = reason
        self.coding = coding
        self.hold: Hold | None = None

    def __repr__(self) -> str:
        return f"RawAnswer({self.status}, {len(self.body)} bytes)"
