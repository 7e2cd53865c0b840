"""What the gateway asks of a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.transport.answer import RawAnswer
    from gateway.transport.origin import Origin

__all__ = ["Exchange"]


class Exchange(Protocol):
    """One request, one whole answer; `Http1Transport` and `HttpxTransport` both are one."""

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
