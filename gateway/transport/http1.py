"""The gateway's own HTTP/1.1 client, with one connection pool for each origin."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import httpx

from gateway.transport.bounds import Bounds
from gateway.transport.inflate import inflate_answer
from gateway.transport.origin import IDEMPOTENT
from gateway.transport.pool import Pool
from gateway.transport.pools import PoolLimits, Pools
from gateway.transport.tls import Trust

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from gateway.aio.byte_budget import Hold
    from gateway.transport.answer import RawAnswer
    from gateway.transport.origin import Origin
    from gateway.transport.tls import TlsOptions

__all__ = ["Http1Transport"]

_STALE = (httpx.NetworkError, httpx.RemoteProtocolError)


class Http1Transport:
    """Speaks HTTP/1.1 to any number of origins.

    It stores no cookies, follows no redirects and reads no environment variables. It belongs to the
    event loop that first uses it.

    Args:
        limits: limits on the connections to each origin.
        tls: TLS options or a context that is used unchanged; by default certifi's CA list.
        bounds: limits on an answer.
        hold: returns the reservation of memory for an answer to inflate.

    An answer belongs to its request as far as HTTP/1.1 allows. Bytes that arrive before a request
    is written are never read as its answer. Bytes that an upstream writes unsolicited while a
    request is in flight are; the quarantine bounds how often one origin can do that.
    """

    def __init__(
        self,
        limits: PoolLimits | None = None,
        *,
        tls: TlsOptions | ssl.SSLContext | None = None,
        bounds: Bounds | None = None,
        hold: Callable[[], Hold] | None = None,
    ) -> None:
        self._limits = limits or PoolLimits()
        self._trust = Trust(tls)
        self._bounds = bounds or Bounds()
        self._hold = hold
        self._pools = Pools(self._pool)

    @property
    def pools(self) -> list[Pool]:
        """The current pools, one for each origin that was called."""
        return list(self._pools.values())

    async def exchange(
        self,
        origin: Origin,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,  # asyncio.timeout costs 4.5 us a call
    ) -> RawAnswer:
        """Send one request and return its answer, content inflated.

        Only `host` and `content-length` are added to the request. Without `accept-encoding` in
        `headers` answers are not compressed, which is fastest on a local network.

        Args:
            origin: the server, with the header fields of every request.
            method: HTTP method.
            target: request target in origin-form, percent-encoded.
            headers: further header fields.
            body: the complete content.
            timeout: seconds in total: waiting for a connection, connecting, sending, and the
                answer.

        Raises:
            httpx.TransportError: see `gateway.transport.failures`.
            httpx.DecodingError: the content cannot be inflated within the bounds.
        """
        request = origin.request(method, target, headers, body)
        pool = self._pools.get(origin.key) or self._pools.open(origin)
        expires = inf if timeout is None else pool.loop.time() + timeout
        connection = pool.take() or await pool.acquire(expires)
        head_request = method == "HEAD"
        try:
            try:
                answer = await connection.ask(request, head_request=head_request, expires=expires)
            except _STALE:
                if not connection.may_ask_again(idempotent=method in IDEMPOTENT):
                    raise
                connection = await pool.connect(expires)
                answer = await connection.ask(request, head_request=head_request, expires=expires)
        finally:
            pool.release(connection)
        if answer.coding:
            hold = self._hold() if self._hold is not None else None
            await inflate_answer(answer, self._bounds.max_inflated, expires, hold)
        return answer

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail, and so do later ones."""
        await self._pools.aclose()

    def _pool(self, origin: Origin) -> Pool:
        context = self._trust.context if origin.scheme == "https" else None
        return Pool(origin, self._limits, context=context, bounds=self._bounds)
