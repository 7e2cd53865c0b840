"""The gateway's own HTTP/1.1 client, with one connection pool for each origin."""

from __future__ import annotations

import ssl
from math import inf
from typing import TYPE_CHECKING

import httpx

from gateway.transport.bounds import Bounds
from gateway.transport.failures import closed_failure
from gateway.transport.inflate import inflate_answer
from gateway.transport.origin import IDEMPOTENT
from gateway.transport.pool import Pool
from gateway.transport.tls import TlsOptions, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.aio.byte_budget import Hold
    from gateway.transport.answer import RawAnswer
    from gateway.transport.origin import Origin

__all__ = ["Http1Transport"]

_MANY_POOLS = 64
_STALE = (httpx.NetworkError, httpx.RemoteProtocolError)


class Http1Transport:
    """Speaks HTTP/1.1 to any number of origins.

    It stores no cookies, follows no redirects and reads no environment variables. It belongs to the
    event loop that first uses it.

    Args:
        max_connections: connections for each origin; further calls wait in a queue.
        max_idle: idle connections for each origin; by default all of them.
        idle_age: seconds after which an idle connection is closed; choose less than the upstreams'
            keep-alive timeout.
        connect_timeout: seconds for DNS, TCP and TLS together.
        tls: TLS options or a context that is used unchanged; by default certifi's CA list.
        bounds: limits on an answer.
        quarantine: seconds for which connections to an origin are not reused after it sent bytes
            that answer no request; doubled each time, up to an hour.
        hold: returns the reservation of memory for an answer to inflate.

    An answer belongs to its request as far as HTTP/1.1 allows. Bytes that arrive before a request
    is written are never read as its answer. Bytes that an upstream writes unsolicited while a
    request is in flight are; the quarantine bounds how often one origin can do that.
    """

    def __init__(
        self,
        *,
        max_connections: int = 100,
        max_idle: int | None = None,
        idle_age: float = 30.0,
        connect_timeout: float = 5.0,
        tls: TlsOptions | ssl.SSLContext | None = None,
        bounds: Bounds | None = None,
        quarantine: float = 60.0,
        hold: Callable[[], Hold] | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._max_idle = max_connections if max_idle is None else max_idle
        self._idle_age = idle_age
        self._connect_timeout = connect_timeout
        self._tls = tls
        self._context = tls if isinstance(tls, ssl.SSLContext) else None
        self._bounds = bounds or Bounds()
        self._quarantine = quarantine
        self._hold = hold
        self._pools: dict[tuple[str, str, int, str], Pool] = {}
        self._closed = False

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
        pool = self._pools.get(origin.key) or self._open_pool(origin)
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
        self._closed = True
        for pool in self.pools:
            await pool.aclose()

    def _open_pool(self, origin: Origin) -> Pool:
        if self._closed:
            raise closed_failure()
        if len(self._pools) >= _MANY_POOLS:
            # A client that calls ever new origins must not accumulate pools.
            self._pools = {key: pool for key, pool in self._pools.items() if _needed(pool)}
        context = None
        if origin.scheme == "https":
            if self._context is None:
                options = self._tls if isinstance(self._tls, TlsOptions) else TlsOptions()
                self._context = tls_context(options)
            context = self._context
        pool = self._pools[origin.key] = Pool(
            origin,
            context=context,
            bounds=self._bounds,
            max_connections=self._max_connections,
            max_idle=self._max_idle,
            idle_age=self._idle_age,
            connect_timeout=self._connect_timeout,
            quarantine=self._quarantine,
        )
        return pool


def _needed(pool: Pool) -> bool:
    return pool.slots > 0 or pool.quarantined
