"""HTTP transports to upstreams; no other package of the gateway speaks HTTP to them.

`Http1Transport` is the gateway's own HTTP/1.1 client. `HttpxTransport` uses httpx's connections for
HTTP/2 and proxies. Both implement `Exchange`.
"""

from gateway.transport.answer import RawAnswer
from gateway.transport.bounds import Bounds
from gateway.transport.exchange import Exchange
from gateway.transport.failures import AnswerTooLarge, InflatedTooLarge
from gateway.transport.http1 import Http1Transport
from gateway.transport.httpx import HttpxTransport
from gateway.transport.mocked import Mocked, Objections, pool_is_patched
from gateway.transport.origin import Origin
from gateway.transport.pools import PoolLimits
from gateway.transport.tls import TlsOptions

__all__ = [
    "AnswerTooLarge",
    "Bounds",
    "Exchange",
    "Http1Transport",
    "HttpxTransport",
    "InflatedTooLarge",
    "Mocked",
    "Objections",
    "Origin",
    "PoolLimits",
    "RawAnswer",
    "TlsOptions",
    "pool_is_patched",
]
