"""What an answer may cost: the bounds on everything that an upstream decides the size of."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Bounds"]

_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper bounds on one answer; an answer over any of them is refused and its connection closed.

    Attributes:
        max_body: bytes of content as they come over the wire, still encoded.
        max_inflated: bytes of content after gzip or deflate is undone.
        max_header_bytes: bytes of everything in front of the body, interim (1xx) answers included.
        max_headers: number of header fields.
        max_framing: bytes of chunk sizes, chunk extensions and trailers, on top of a quarter of the
            content. Each chunk costs time of its own: 8 MiB in chunks of one byte took a second.
    """

    max_body: int = 8 * _MEBIBYTE
    max_inflated: int = 16 * _MEBIBYTE
    max_header_bytes: int = 64 * 1024
    max_headers: int = 128
    max_framing: int = 128 * 1024
