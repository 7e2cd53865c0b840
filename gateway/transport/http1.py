"""The gateway's own HTTP/1.1 client, with one connection pool for each origin."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import httpx

from gateway.transport.bounds import Bounds
from gateway.transport.inflate import inflate_answer, inflate_small
from gateway.transport.origin import IDEMPOTENT
from gateway.transport.pool import Pool
from gateway.transport.pools import PoolLimits, Pools
from gateway.transport.tls import Trust

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.aio.byte_budget import Hold
    from gateway.transport.answer import RawAnswer
    from gateway.transport.connection import Connection, Owner
    from gateway.transport.origin import Origin
    from gateway.transport.tls import TlsOptions

__all__ = ["AnswerReceiver", "Http1Transport"]

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
        return await self.inflated(answer, expires) if answer.coding else answer

    def send(
        self, origin: Origin, method: str, request: bytes, receiver: AnswerReceiver, context: Any
    ) -> Connection | None:
        """Send one request without content, if a connection is idle.

        Args:
            origin: the server.
            method: HTTP method.
            request: the complete request, as `origin.request` returns it.
            receiver: gets the context with the answer or the error, possibly at once.
            context: what the receiver knows the request by.

        Returns:
            The connection; `cancel` gives up the answer. `None` if no connection is idle:
            `exchange` then opens one.
        """
        pool = self._pools.get(origin.key)
        connection = None if pool is None else pool.take()
        if connection is not None:
            errand = (receiver, context, request, method)
            connection.send(request, self, errand, method == "HEAD")
        return connection

    # Of a connection

    def answered(self, connection: Connection, errand: _Errand, answer: RawAnswer) -> None:
        """Release the connection and pass the answer on."""
        connection.owner.release(connection)
        receiver, context, _, _ = errand
        if not answer.coding:
            receiver.answered(context, answer)
            return
        try:
            at_once = self.inflates_at_once(answer)
        except Exception as error:
            receiver.failed(context, error)
            return
        if at_once:
            receiver.answered(context, answer)
        else:
            receiver.waits_for(context, partial(self.inflated, answer))

    def failed(self, connection: Connection, errand: _Errand, error: Exception) -> None:
        """Send the request again if the server may not have seen it, or pass the error on."""
        receiver, context, request, method = errand
        pool = connection.owner
        idempotent = method in IDEMPOTENT
        if isinstance(error, _STALE) and connection.may_ask_again(idempotent=idempotent):
            # A task that is cancelled before it runs would keep the slot.
            pool.give_up(connection)
            receiver.waits_for(context, partial(self._again, pool, request, method))
        else:
            pool.release(connection)
            receiver.failed(context, error)

    async def _again(self, pool: Owner, request: bytes, method: str) -> RawAnswer:
        """Return the answer on another connection."""
        connection = await pool.acquire()
        try:
            answer = await connection.ask(request, head_request=method == "HEAD")
        finally:
            pool.release(connection)
        return await self.inflated(answer) if answer.coding else answer

    # Answers

    async def inflated(self, answer: RawAnswer, expires: float = inf) -> RawAnswer:
        """Return `answer` with its content inflated."""
        hold = self._hold() if self._hold is not None else None
        await inflate_answer(answer, self._bounds.max_inflated, expires, hold)
        return answer

    def inflates_at_once(self, answer: RawAnswer) -> bool:
        """Inflate the content of a small answer; return whether it is small."""
        return inflate_small(answer, self._bounds.max_inflated)

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail, and so do later ones."""
        await self._pools.aclose()

    def _pool(self, origin: Origin) -> Pool:
        context = self._trust.context if origin.scheme == "https" else None
        return Pool(origin, self._limits, context=context, bounds=self._bounds)


class AnswerReceiver(Protocol):
    """Takes the answer to a request that `Http1Transport.send` has sent."""

    def answered(self, context: Any, answer: RawAnswer) -> None:
        """Take a complete answer, its content inflated."""

    def failed(self, context: Any, error: Exception) -> None:
        """Take the error that ended the exchange; see `gateway.transport.failures`."""

    def waits_for(self, context: Any, answer: Callable[[], Awaitable[RawAnswer]]) -> None:
        """Wait for an answer that needs more than one turn of the loop."""


_Errand: TypeAlias = tuple[AnswerReceiver, Any, bytes, str]
"""Who waits for an answer, what it knows the request by, the request and its method."""
