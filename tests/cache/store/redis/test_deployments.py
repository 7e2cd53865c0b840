"""The kinds of Redis that a URL can name, each with a real server."""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from gateway.cache.store.redis.url import close, connector
from tests.cache.store.conftest import entry
from tests.cache.store.redis.test_store import stored
from tests.redis_server import RedisServer, running
from tests.waiting import until, until_blocking, until_found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

Make = Any


async def works(make: Make, url: str) -> Any:
    """Go through everything that a store does, as two replicas."""
    one, two = make(url), make(url)
    await one.open()
    await two.open()
    await until(lambda: one.up and two.up)
    held, found = await one.acquire("k")
    assert held.token
    assert found is None
    assert (await two.acquire("k")).lease is None
    one.put(entry(), held)
    assert (await stored(two)).body == b'{"a":1}'
    for number in range(20):
        one.put(entry(f"k{number}"))
    await one._writes.drain()
    assert all([await two.get(f"k{number}") for number in range(20)])
    one.discard("k")
    await one._writes.drain()
    assert await two.get("k") is None
    assert await one.purge("t") >= 1
    await until(lambda: two.purges.latest == one.purges.latest)
    held, _ = await one.acquire("j")
    one.release(held)
    await one._writes.drain()
    assert (await two.acquire("j")).lease is not None
    return one


async def test_a_unix_socket(make: Make, server: RedisServer) -> None:
    await works(make, server.unix_url)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisServer]:
    with running(tmp_path, "--cluster-enabled", "yes") as one:
        one.command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until_blocking(lambda: b"cluster_state:ok" in one.command("CLUSTER", "INFO"))
        yield one


async def test_a_cluster(make: Make, cluster: RedisServer) -> None:
    store = await works(make, f"redis+cluster://127.0.0.1:{cluster.port}")
    cluster.kill()
    await store.get("k")
    await until(lambda: not store.up)
    assert await store.get("k") is None


async def test_a_cluster_client_that_lost_a_connection_closes_the_others(
    cluster: RedisServer,
) -> None:
    client = connector(f"redis+cluster://127.0.0.1:{cluster.port}")()
    waits = asyncio.create_task(client.blpop(["list"], 0))
    await until(lambda: b"cmd=blpop" in cluster.command("CLIENT", "LIST"))
    await client.get("k")
    [other] = re.findall(rb"id=(\d+) .* cmd=get ", cluster.command("CLIENT", "LIST"))
    cluster.command("CLIENT", "KILL", "ID", other)
    with pytest.raises(RedisConnectionError):
        await client.get("k")
    await close(client)
    await until(lambda: b"cmd=blpop" not in cluster.command("CLIENT", "LIST"))
    with pytest.raises(RedisConnectionError):
        await waits


@pytest.fixture
def sentinel(tmp_path: Path, own_server: RedisServer) -> Iterator[RedisServer]:
    conf = tmp_path / "sentinel.conf"
    conf.write_text(
        f"sentinel monitor main 127.0.0.1 {own_server.port} 1\n"
        "sentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 2000\n"
    )
    one = RedisServer(tmp_path)
    one.start(str(conf), "--sentinel")
    one.command("SENTINEL", "DEBUG", "info-period", 200)
    own_server.command("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    yield one
    one.kill()


async def test_a_sentinel_and_its_failover(
    make: Make, sentinel: RedisServer, own_server: RedisServer, tmp_path: Path
) -> None:
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main"
    store = await works(make, url)
    with running(tmp_path, "--replicaof", "127.0.0.1", str(own_server.port)) as replica:
        await until(lambda: b"master_link_status:up" in _replication(replica))
        # By hand: by itself a lone sentinel first waits for its timeouts.
        await until(lambda: _fails_over(sentinel))
        await until(lambda: b"role:master" in _replication(replica))
        own_server.kill()

        async def kept() -> Any:
            store.put(entry("after"))
            return await store.get("after")

        await until_found(kept)
        assert replica.command("DBSIZE") > 0


def _replication(server: RedisServer) -> bytes:
    try:
        told = server.command("INFO", "replication")
    except RedisConnectionError:  # a change of role ends the connections that there are
        return b""
    return str(told).encode().replace(b"': '", b":")


def _fails_over(sentinel: RedisServer) -> bool:
    try:
        sentinel.command("SENTINEL", "FAILOVER", "main")
    except ResponseError:  # it does not know the replica well enough yet
        return False
    return True


@asynccontextmanager
async def over_tls(server: RedisServer, directory: Path) -> AsyncIterator[int]:
    """A TLS terminator in front of `server`, whose build may have no TLS; yields its port."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", server.port)
        writers.extend([writer, behind[1]])

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(data)
            sink.close()

        await asyncio.gather(pass_on(reader, behind[1]), pass_on(behind[0], writer))

    terminator = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield terminator.sockets[0].getsockname()[1]
    terminator.close()
    for writer in writers:
        writer.close()
    await terminator.wait_closed()


async def test_tls(make: Make, server: RedisServer, tmp_path: Path) -> None:
    async with over_tls(server, tmp_path) as port:
        url = f"rediss://127.0.0.1:{port}"
        store = await works(make, f"{url}?ssl_ca_certs={tmp_path / 'ca.pem'}")
        stranger = make(url)  # does not know the authority
        await stranger.open()
        assert not stranger.up
        await stranger.aclose()
        await store.aclose()
