"""Upper bounds on the size of an upstream's answer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds"]

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper bounds on one answer; the transport refuses an answer that exceeds one.

    It then closes the connection.

    Attributes:
        max_body: bytes of content on the wire, still encoded.
        max_inflated: bytes of content after gzip or deflate is decoded.
        max_header_bytes: bytes before the body, interim (1xx) answers included.
        max_headers: number of header fields.
        max_framing: bytes of chunk sizes, chunk extensions and trailers, on top of a quarter of the
            content. Each chunk costs CPU time: 8 MiB in chunks of one byte took a second.
    """

    max_body: int = 8 * _MEBIBYTE
    max_inflated: int = 16 * _MEBIBYTE
    max_header_bytes: int = 64 * 1024
    max_headers: int = 128
    max_framing: int = 128 * 1024
