"""The operation of the kind `http`: method, target and the client's header fields."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from gateway.cache.keys import netstring

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HttpOperation"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_by_name = itemgetter(0)


class HttpOperation:
    """One HTTP request below the upstream's base URL.

    Attributes:
        target: origin-form of the request (RFC 9112 section 3.2.1) below the base URL:
            percent-encoded path and query, ASCII.
        method: HTTP method.
        headers: forwarded header fields, lower-case names; they are part of the identity.
        propagated: header fields that are sent but are not part of the identity: a shared call
            carries those of its first caller.
        writer: what has written the operation as a request, if anything.
        written: the request that it has written.
    """

    __slots__ = ("headers", "method", "propagated", "target", "writer", "written")

    writer: object
    written: bytes

    def __init__(
        self,
        target: str,
        method: str = "GET",
        headers: Sequence[tuple[bytes, bytes]] = (),
        propagated: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self.target = target
        self.method = method
        self.headers = headers
        self.propagated = propagated
        self.writer = None

    @property
    def identity(self) -> bytes:
        """Method, target and all forwarded header fields, credentials included.

        Two principals therefore never share a cached answer.
        """
        line = f"{len(self.method)}:{self.method}{len(self.target)}:{self.target}".encode("ascii")
        return line + _fields(self.headers) if self.headers else line

    @property
    def safe(self) -> bool:
        """Whether the method is safe (RFC 9110 section 9.2.1)."""
        return self.method in _SAFE

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


def _fields(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    # Only the order of fields with the same name is significant (RFC 9110 5.3): the sort is stable
    # and compares names only.
    parts = [netstring(part) for field in sorted(headers, key=_by_name) for part in field]
    return b"%d;" % len(headers) + b"".join(parts)
