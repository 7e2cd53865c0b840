"""An upstream's answer without any httpx object around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.aio.byte_budget import Hold

__all__ = ["RawAnswer"]


class RawAnswer:
    """One complete answer.

    Attributes:
        status: the status code, 200 to 999.
        headers: header fields in their order, names in lower case, values without surrounding
            blanks. Where content was inflated, `content-encoding` and `content-length` are left
            out: they describe bytes that are gone. Trailer fields are dropped.
        body: the content, transfer coding and content coding undone.
        http_version: `HTTP/1.1`, `HTTP/1.0`; `HTTP/2` over the stock transport.
        reason: the reason phrase, which means nothing.
        coding: the content coding still on `body`: `gzip`, `deflate`, or empty for none.
        hold: memory that the content was inflated into; whoever has decoded it gives it back.
    """

    __slots__ = ("body", "coding", "headers", "hold", "http_version", "reason", "status")

    def __init__(
        self,
        status: int,
        headers: list[tuple[bytes, bytes]],
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
