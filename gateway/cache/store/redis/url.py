"""Creates a redis-py client from a URL: single node, Sentinel or Cluster, with short timeouts.

redis-py's defaults (10 retries, 5 s timeouts) turn a dead server into seconds of waiting; here
nothing is retried, and `gateway.aio.bounded` limits the time of an operation. Sockets have no
timeout: redis-py would send each command within an `asyncio.wait_for`, which costs a task and loses
cancellations. Only Sentinels have one, so that the next Sentinel is tried after a silent one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from gateway.cache.store.redis.address import parse_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.store.redis.address import Address

__all__ = ["Client", "close", "connector"]

Client = Any  # Redis or RedisCluster: redis-py types their commands as awaitable or not, never both

_PORT = 6379
_SENTINEL_PORT = 26379
_CONNECTIONS = 8
_POOL_WAIT = 0.02
_SOCKET: dict[str, Any] = {"socket_connect_timeout": 1.0, "socket_timeout": None}
_SENTINEL_SOCKET = {"socket_connect_timeout": 0.2, "socket_timeout": 0.2}


def connector(url: str) -> Callable[[], Client]:
    """Return a factory of clients for `url`; a client connects at its first use.

    Raises:
        ValueError: the URL is invalid; the message says what to write.
    """
    address = parse_address(url)
    base, _, kind = address.scheme.partition("+")
    clustered = kind == "cluster" or address.query.get("cluster") in {"true", "1"}
    if kind == "sentinel" and base in {"redis", "rediss"}:
        return _sentinel(address, tls=base == "rediss")
    if clustered and base in {"redis", "rediss"} and kind in {"", "cluster"}:
        return _cluster(address, tls=base == "rediss")
    if address.scheme in {"redis", "rediss", "unix"}:
        return _single(url, address)
    raise ValueError(
        "The URL has no Redis scheme. Begin it with redis://, rediss://, unix://, "
        "redis+sentinel:// or redis+cluster://."
    )


async def close(client: Client) -> None:
    """Close all connections of `client`, also those that its `aclose` leaves open."""
    await client.aclose()
    if isinstance(client, RedisCluster):
        # After a lost connection, `aclose` does nothing until the topology has been read again.
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)
    sentinel = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for each in sentinel.sentinels if sentinel is not None else ():
        await each.aclose()


def _single(url: str, address: Address) -> Callable[[], Client]:
    if len(address.hosts) > 1:
        raise ValueError(
            "The URL names several hosts. Begin it with redis+sentinel:// or redis+cluster://, or "
            "name one host."
        )

    def connect() -> Client:
        pool = BlockingConnectionPool.from_url(
            url.strip(),
            max_connections=_CONNECTIONS,
            timeout=_POOL_WAIT,
            retry=_no_retry(),
            **_SOCKET,
        )
        return Redis.from_pool(pool)

    connect()  # opens no connection, but raises for an invalid URL
    return connect


def _sentinel(address: Address, *, tls: bool) -> Callable[[], Client]:
    service, _, db = address.path.partition("/")
    if not service:
        raise ValueError(
            "The URL names no service. Write redis+sentinel://host:port,host:port/service/db."
        )
    if db and not (db.isascii() and db.isdigit()):
        raise ValueError(
            "The database is not a number. Write redis+sentinel://host:port,host:port/service/0."
        )
    hosts = _hosts(address, _SENTINEL_PORT)
    options = {**_SOCKET, **_credentials(address), "db": int(db or 0), "ssl": tls}

    def connect() -> Client:
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            hosts, sentinel_kwargs={**_SENTINEL_SOCKET, "retry": _no_retry(), "ssl": tls}
        )
        return sentinel.master_for(
            service, max_connections=_CONNECTIONS, retry=_no_retry(), **options
        )

    return connect


def _cluster(address: Address, *, tls: bool) -> Callable[[], Client]:
    nodes = _hosts(address, _PORT)
    credentials = _credentials(address)

    def connect() -> Client:
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in nodes],
            max_connections=_CONNECTIONS,
            require_full_coverage=False,
            retry=_no_retry(),
            ssl=tls,
            **credentials,
            **_SOCKET,
        )

    return connect


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _credentials(address: Address) -> dict[str, Any]:
    found = {"username": address.username, "password": address.password}
    return {name: value for name, value in found.items() if value}


def _hosts(address: Address, default: int) -> list[tuple[str, int]]:
    if not address.hosts:
        raise ValueError("The URL names no host. Write host:port, with a comma between hosts.")
    return [(host, default if port is None else port) for host, port in address.hosts]
