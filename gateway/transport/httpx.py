"""A transport over httpcore's connections, for HTTP/2 and proxies.

httpx uses the same connections; the pool is the gateway's own (`gateway.transport.channels`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import httpcore
import httpx

from gateway.transport.bounds import Bounds
from gateway.transport.channels import Channels
from gateway.transport.inflate import inflate_answer
from gateway.transport.origin import IDEMPOTENT, WITH_CONTENT, request_head
from gateway.transport.pools import PoolLimits, Pools
from gateway.transport.receive import receive
from gateway.transport.sockets import Stale
from gateway.transport.tls import Trust

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, Callable, Sequence

    from gateway.aio.byte_budget import Hold
    from gateway.transport.answer import RawAnswer
    from gateway.transport.channels import Channel
    from gateway.transport.origin import Origin
    from gateway.transport.sockets import Sockets
    from gateway.transport.tls import TlsOptions

__all__ = ["HttpxTransport"]

_ATTEMPTS = 3
# Concurrent streams that httpcore opens on one HTTP/2 connection, and the identifier of the
# server's limit (RFC 9113 section 6.5.2).
_STREAMS = 100
_MAX_CONCURRENT_STREAMS = 3

_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (httpcore.ConnectTimeout, httpx.ConnectTimeout),
    (httpcore.ReadTimeout, httpx.ReadTimeout),
    (httpcore.WriteTimeout, httpx.WriteTimeout),
    (httpcore.ConnectError, httpx.ConnectError),
    (httpcore.ReadError, httpx.ReadError),
    (httpcore.WriteError, httpx.WriteError),
    (httpcore.ProxyError, httpx.ProxyError),
    (httpcore.UnsupportedProtocol, httpx.UnsupportedProtocol),
    (httpcore.LocalProtocolError, httpx.LocalProtocolError),
    (httpcore.RemoteProtocolError, httpx.RemoteProtocolError),
)


class HttpxTransport:
    """`exchange` over httpcore's connections, with the same bounds and the same errors.

    It gives the guarantees of `Http1Transport`: a caller that is cancelled at any moment leaks
    neither a connection nor a slot, and bytes that arrive before a request is written are never
    read as its answer. HTTP/2 numbers its answers, so none can be mistaken for another.

    Args:
        limits: limits on the connections to each origin; TCP and TLS have `connect_timeout` each.
        tls: TLS options or a context that is used unchanged; by default certifi's CA list.
        http2: offer HTTP/2 by ALPN; needs the `h2` package.
        proxy: URL of a proxy; SOCKS needs the `socksio` package.
        bounds: limits on an answer.
        hold: returns the reservation of memory for an answer to inflate.
    """

    def __init__(
        self,
        limits: PoolLimits | None = None,
        *,
        tls: TlsOptions | ssl.SSLContext | None = None,
        http2: bool = False,
        proxy: str | None = None,
        bounds: Bounds | None = None,
        hold: Callable[[], Hold] | None = None,
    ) -> None:
        self._limits = limits or PoolLimits()
        self._trust = Trust(tls)
        self._http2 = http2
        self._proxy = None if proxy is None else httpx.Proxy(proxy)
        self._bounds = bounds or Bounds()
        self._hold = hold
        self._pools = Pools(self._pool)

    @property
    def pools(self) -> list[Channels]:
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
        timeout: float | None = None,
    ) -> RawAnswer:
        """Send one request and return its answer, content inflated.

        It behaves like `Http1Transport.exchange`, but is slower.
        """
        progress = _Progress()
        connect = self._limits.connect_timeout
        if timeout is not None:
            connect = min(timeout, connect)
        try:
            async with asyncio.timeout(timeout) as scope:
                # Refuses invalid HTTP, which HTTP/2 would send.
                request_head(method, target, ())
                fields = origin.fields(headers)
                if body or method in WITH_CONTENT:
                    fields.append((b"content-length", b"%d" % len(body)))
                request = httpcore.Request(
                    method,
                    _url(origin, target),
                    headers=fields,
                    content=body or None,
                    extensions={"timeout": {"connect": connect}, "trace": progress},
                )
                answer = await self._send(origin, request, progress)
                if answer.coding:
                    hold = self._hold() if self._hold is not None else None
                    await inflate_answer(answer, self._bounds.max_inflated, scope.when(), hold)
                return answer
        except TimeoutError:
            raise progress.timed_out() from None

    async def aclose(self) -> None:
        """Close every connection; calls in flight fail, and so do later ones."""
        await self._pools.aclose()

    async def _send(
        self, origin: Origin, request: httpcore.Request, progress: _Progress
    ) -> RawAnswer:
        pool = self._pools.get(origin.key) or self._pools.open(origin)
        idempotent = request.method.decode("ascii") in IDEMPOTENT
        for attempt in range(_ATTEMPTS):
            channel = await pool.acquire(fresh=attempt > 0)
            progress.follow(pool, channel, tunnelled=self._tunnelled(origin))
            reused = channel.served > 0
            try:
                return await pool.run(channel, self._ask(channel, request))
            except (Stale, httpcore.ConnectionNotAvailable):
                # Nothing was sent.
                continue
            except (httpcore.NetworkError, httpcore.RemoteProtocolError, httpx.NetworkError) as e:
                # The server may close a connection as we write (RFC 9112 section 9.3.1).
                unheard = reused and not channel.http2 and not channel.sockets.heard
                if attempt + 1 < _ATTEMPTS and idempotent and unheard:
                    continue
                raise _translated(e) from e
            except Exception as error:
                raise _translated(error) from error
        raise httpx.ConnectError("no connection accepted the request")

    async def _ask(self, channel: Channel, request: httpcore.Request) -> RawAnswer:
        response = await channel.connection.handle_async_request(request)
        try:
            return await receive(
                request.method,
                response.status,
                response.headers,
                cast("AsyncIterable[bytes]", response.stream),
                response.extensions,
                self._bounds,
            )
        finally:
            await response.aclose()

    def _pool(self, origin: Origin) -> Channels:
        return Channels(
            origin,
            self._maker(origin),
            self._limits,
            # httpcore speaks HTTP/1.1 to a proxy.
            multiplexes=self._http2 and origin.scheme == "https",
            bounds=self._bounds,
        )

    def _maker(self, origin: Origin) -> Callable[[Sockets], httpcore.AsyncConnectionInterface]:
        """Return the factory of httpcore's connections to `origin`, through the proxy if any."""
        remote = _url(origin, b"/").origin
        common: dict[str, Any] = {"ssl_context": self._trust.context, "http2": self._http2}

        def make(sockets: Sockets) -> httpcore.AsyncConnectionInterface:
            # The pool only selects the type of connection; it never stores one.
            return _factory(self._proxy, {**common, "network_backend": sockets}).create_connection(
                remote
            )

        return make

    def _tunnelled(self, origin: Origin) -> bool:
        """Whether a proxy is spoken to in HTTP/1.1 before the origin's protocol is known."""
        return self._proxy is not None and origin.scheme == "https"


def _url(origin: Origin, target: bytes) -> httpcore.URL:
    url = origin.url(b"/")
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=target)


def _factory(proxy: httpx.Proxy | None, common: dict[str, Any]) -> httpcore.AsyncConnectionPool:
    if proxy is None:
        return httpcore.AsyncConnectionPool(**common)
    url = httpcore.URL(
        scheme=proxy.url.raw_scheme,
        host=proxy.url.raw_host,
        port=proxy.url.port,
        target=proxy.url.raw_path,
    )
    if url.scheme in {b"socks5", b"socks5h"}:
        return httpcore.AsyncSOCKSProxy(proxy_url=url, proxy_auth=proxy.raw_auth, **common)
    return httpcore.AsyncHTTPProxy(
        proxy_url=url,
        proxy_auth=proxy.raw_auth,
        proxy_headers=proxy.headers.raw,
        proxy_ssl_context=proxy.ssl_context,
        **common,
    )


def _translated(error: Exception) -> Exception:
    """Return httpx's exception for one of httpcore's; any other error unchanged."""
    for theirs, ours in _ERRORS:
        if isinstance(error, theirs):
            return ours(str(error))
    return error


class _Progress:
    """Traces httpcore: the stage that a request has reached, and its connection's protocol."""

    __slots__ = ("_channel", "_pool", "_stage", "_through")

    def __init__(self) -> None:
        self._stage: type[httpx.TimeoutException] = httpx.PoolTimeout
        self._pool: Channels | None = None
        self._channel: Channel | None = None
        self._through = True

    def follow(self, pool: Channels, channel: Channel, *, tunnelled: bool) -> None:
        """Record which channel carries the request."""
        self._pool = pool
        self._channel = channel
        self._through = not tunnelled or channel.served > 0

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        """Handle an event; raise `Stale` if the request must not be written."""
        layer, _, step = event.partition(".")
        if layer in {"connection", "proxy", "socks"}:
            self._stage = httpx.ConnectTimeout
            self._through |= step == "start_tls.complete" and layer != "connection"
        elif step.startswith("send_") and step.endswith(".started"):
            self._stage = httpx.WriteTimeout
        elif step.startswith("receive_"):
            self._stage = httpx.ReadTimeout
        if self._channel is not None:
            if event == "http11.send_request_headers.started":
                self._speaks_http1(self._channel, info)
            elif event == "http2.receive_remote_settings.complete":
                self._speaks_http2(self._channel, info)

    def timed_out(self) -> httpx.TimeoutException:
        """Return the timeout error for the stage that the request has reached."""
        return self._stage("no answer within the time allowed")

    def _speaks_http1(self, channel: Channel, info: dict[str, Any]) -> None:
        channel.sockets.begin(
            # Neither has content, whatever its header fields say.
            head_request=info["request"].method in {b"HEAD", b"CONNECT"},
            reused=channel.served > 0,
        )
        if self._through and not channel.decided and self._pool is not None:
            self._pool.decide(channel, 1, http2=False)

    def _speaks_http2(self, channel: Channel, info: dict[str, Any]) -> None:
        # httpcore opens one stream at a time until the server has sent its limit.
        limit = info["return_value"].changed_settings.get(_MAX_CONCURRENT_STREAMS)
        capacity = min(limit.new_value, _STREAMS) if limit and limit.new_value else channel.capacity
        if self._pool is not None:
            self._pool.decide(channel, capacity, http2=True)
