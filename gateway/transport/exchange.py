"""The interface of a transport: send one request, return its complete answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.transport.answer import RawAnswer
    from gateway.transport.origin import Origin

__all__ = ["Exchange"]


class Exchange(Protocol):
    """One request, one complete answer; `Http1Transport` and `HttpxTransport` implement it."""

    async def exchange(
        self,
        origin: Origin,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> RawAnswer:
        """Send one request and return its answer, content inflated."""

    async def aclose(self) -> None:
        """Close every connection."""
