"""The kind `http`: upstreams that speak HTTP."""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.transport import (
    Bounds,
    Http1Transport,
    HttpxTransport,
    Mocked,
    Origin,
    PoolLimits,
    TlsOptions,
)
from gateway.transport.tls import unusable_files
from gateway.upstreams.http.call import HttpCall
from gateway.upstreams.http.config import HttpUpstreamConfig
from gateway.upstreams.http.decode import Decoder
from gateway.upstreams.http.operation import HttpOperation
from gateway.upstreams.http.template import Template, parse_template
from gateway.upstreams.kind import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.transport import Exchange
    from gateway.upstreams.kind import Environment

__all__ = ["HTTP"]


class _Http:
    """HTTP/1.1 over the gateway's own transport, or HTTP/2 and proxies over httpcore's."""

    key = "base_url"
    config = HttpUpstreamConfig

    def parse(self, text: str) -> Template:
        """Compile `upstream:/path?query`."""
        return parse_template(text)

    def open(self, name: str, config: HttpUpstreamConfig, environment: Environment) -> Wire:
        """Return the wire of one upstream; does not connect yet."""
        transports = _Transports(name, config, environment)
        parts = urlsplit(config.base_url)
        defaults, constant = _fields(config)
        call = HttpCall(
            transports.configured,
            Origin.of(f"{parts.scheme}://{parts.netloc}", constant),
            Decoder(
                name,
                max_depth=config.max_depth,
                max_body=config.max_body,
                content_types=config.content_types,
                schema=config.schema_,
                offload=environment.offload,
                now=environment.now,
            ),
            upstream=name,
            prefix=parts.path,
            defaults=defaults,
            mocked=transports.mocked,
            expose_errors=config.expose_errors,
            deadline_header=config.deadline_header,
            clock=environment.clock,
        )
        return Wire(
            call,
            transports.aclose,
            HttpOperation("/"),
            _generation(config),
            forward=_lower(config.forward_headers),
            propagate=_lower(config.propagated),
            gauges={
                "connections_idle": transports.idle,
                "connections_busy": transports.busy,
                "connections_waiting": transports.waiting,
            },
        )

    def missing(self, config: HttpUpstreamConfig) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the requirements that this machine does not meet."""
        for option, why in unusable_files(TlsOptions(**config.tls.model_dump())).items():
            yield ("tls", option), f"{option} {why}"
        if (config.proxy or "").startswith("socks") and find_spec("socksio") is None:
            message = (
                "SOCKS needs the package socksio, which is not installed; install httpx[socks]"
            )
            yield ("proxy",), message


HTTP = _Http()


class _Transports:
    """The transport of one upstream, and the one for mocks, which is created on first use.

    Attributes:
        configured: the transport that the declaration selects.
    """

    def __init__(self, name: str, config: HttpUpstreamConfig, environment: Environment) -> None:
        offload = environment.offload
        native = config.transport == "native"
        http2 = not native and find_spec("h2") is not None
        self._options: dict[str, Any] = {
            "bounds": Bounds(max_body=config.max_body, max_inflated=config.max_body),
            "tls": TlsOptions(**config.tls.model_dump()),
            "hold": None if offload is None else partial(offload.budget.hold, name),
        }
        self._route: dict[str, Any] = {"http2": http2, "proxy": config.proxy}
        self._objections = environment.objections
        self._mocked: Mocked | None = None
        self._limits = _limits(config)
        self.configured: Http1Transport | HttpxTransport = (
            Http1Transport(self._limits, **self._options)
            if native
            else HttpxTransport(self._limits, **self._options, **self._route)
        )

    def mocked(self) -> Exchange:
        """Return the transport to use while a test's mock answers the upstream's calls."""
        if self._mocked is None:
            self._mocked = Mocked(
                self._objections,
                connect_timeout=self._limits.connect_timeout,
                **self._options,
                **self._route,
            )
        return self._mocked

    def idle(self) -> int:
        """Return the number of idle connections."""
        return sum(pool.idle for pool in self.configured.pools)

    def busy(self) -> int:
        """Return the number of connections that are in use or connecting."""
        return sum(pool.slots - pool.idle for pool in self.configured.pools)

    def waiting(self) -> int:
        """Return the number of calls that wait for a connection."""
        return sum(pool.waiting for pool in self.configured.pools)

    async def aclose(self) -> None:
        """Close every connection."""
        await self.configured.aclose()
        if self._mocked is not None:
            await self._mocked.aclose()


def _limits(config: HttpUpstreamConfig) -> PoolLimits:
    return PoolLimits(config.most_connections, connect_timeout=config.connect_timeout)


def _fields(
    config: HttpUpstreamConfig,
) -> tuple[Sequence[tuple[bytes, bytes]], Sequence[tuple[bytes, bytes]]]:
    """Return the header fields that a client may replace, and the constant ones."""
    headers = {b"accept": b"application/json", b"accept-encoding": b"gzip, deflate",
               b"user-agent": b"aggregation-gateway"}  # fmt: skip
    headers |= {k.lower().encode("ascii"): v.encode("ascii") for k, v in config.headers.items()}
    replaceable = {*_lower(config.forward_headers), *_lower(config.propagated)}
    defaults = [field for field in headers.items() if field[0] in replaceable]
    return defaults, [field for field in headers.items() if field[0] not in replaceable]


def _lower(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(name.lower().encode("ascii") for name in names)


def _generation(config: HttpUpstreamConfig) -> bytes:
    """Return a digest of the declaration, so that answers cached under another are not used."""
    declared = config.model_dump_json(
        include={"base_url", "headers", "schema_", "max_depth", "content_types"}
    )
    return blake2b(declared.encode(), digest_size=8).digest()
