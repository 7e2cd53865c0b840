from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool

from gateway.cache.store import MemoryStore, open_store
from gateway.cache.store.redis.url import connector
from gateway.cache.store.tiered import TieredStore
from gateway.events import Events


def pool(url: str) -> Any:
    client = connector(url)()
    assert isinstance(client, Redis)
    return client.connection_pool


def test_a_single_node() -> None:
    own = pool("redis://user:p%40ss@host:7000/3")
    assert isinstance(own, BlockingConnectionPool)
    assert own.max_connections == 8
    assert own.timeout == 0.02
    options = own.connection_kwargs
    assert (options["host"], options["port"], options["db"]) == ("host", 7000, 3)
    assert (options["username"], options["password"]) == ("user", "p@ss")
    assert pool("redis://[::1]:7000").connection_kwargs["host"] == "::1"
    assert options["retry"].get_retries() == 0
    assert options["socket_timeout"] is None


def test_tls_and_unix_sockets() -> None:
    assert pool("rediss://host/0").connection_class is SSLConnection
    assert pool("unix:///run/redis.sock?db=1").connection_class is UnixDomainSocketConnection


def test_sentinel() -> None:
    own = pool("redis+sentinel://:secret@one:1,two,[::1]:3/main/2")
    assert isinstance(own, SentinelConnectionPool)
    assert own.service_name == "main"
    hosts = [
        (s.connection_pool.connection_kwargs["host"], s.connection_pool.connection_kwargs["port"])
        for s in own.sentinel_manager.sentinels
    ]
    assert hosts == [("one", 1), ("two", 26379), ("::1", 3)]
    assert own.connection_kwargs["db"] == 2
    assert own.connection_kwargs["password"] == "secret"
    assert pool("rediss+sentinel://one/main").connection_kwargs["db"] == 0


def test_an_ipv6_host_may_stand_anywhere_in_a_list() -> None:
    client = connector("redis+cluster://one:1,[::1]:3")()
    assert set(client.nodes_manager.startup_nodes) == {"one:1", "::1:3"}
    own = pool("redis+sentinel://one:1,[::1]:3/main")
    assert own.sentinel_manager.sentinels[1].connection_pool.connection_kwargs["host"] == "::1"


@pytest.mark.parametrize(
    "url", ["redis+cluster://a:1,b:2", "redis://a:1?cluster=true", "rediss+cluster://a:1"]
)
def test_cluster(url: str) -> None:
    client = connector(url)()
    assert isinstance(client, RedisCluster)
    assert "a:1" in client.nodes_manager.startup_nodes


@pytest.mark.parametrize(
    "url",
    [
        "http://host", "host:6379", "redis+other://host", "unix+cluster:///x", "",
        "redis+sentinel://host", "redis+cluster://", "redis+sentinel://host/main/three",
        "redis+cluster://host:port", "redis://one,two/0", "redis://[::1]:1,two",
    ],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"^[A-Z].*\. .*\.$"):
        connector(url)


def test_the_store_is_chosen_by_the_address() -> None:
    assert isinstance(open_store(None, events=Events()), MemoryStore)
    store = open_store("redis://host", events=Events(), max_bytes=1000)
    assert isinstance(store, TieredStore)
    assert (store.shared, store.up) == (True, False)


def test_nothing_of_redis_is_loaded_without_an_address() -> None:
    import subprocess
    import sys

    check = (
        "import sys; from gateway.events import Events; from gateway.cache.store import open_store;"
        "open_store(None, events=Events());"
        "sys.exit(any(m.split('.')[0] in ('redis', 'aiocache') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
