from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cache.store import MemoryStore
from gateway.cache.store.tiered import TieredStore
from tests.cache.store.conftest import entry
from tests.cache.store.redis.test_store import stored

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

Make = Any


@pytest.fixture
def tiers(make: Make, server: RedisServer) -> Any:
    def new() -> TieredStore:
        near = MemoryStore()
        return TieredStore(near, make(server.url, purges=near.purges))

    return new


async def test_what_is_put_is_here_at_once_and_there_soon(tiers: Any) -> None:
    one, two = tiers(), tiers()
    await one.open()
    await two.open()
    assert (one.shared, one.up) == (True, True)
    one.put(entry())
    assert one.peek("k") is not None
    assert two.peek("k") is None
    assert (await stored(two)).body == b'{"a":1}'
    assert two.peek("k") is not None  # and now it is here too
    assert await two.get("k") is two.peek("k")
    two.discard("k")
    assert two.peek("k") is None
    await two._shared._writes.drain()
    assert await two.get("k") is None
    await two.aclose()


async def test_of_two_entries_the_later_counts(tiers: Any) -> None:
    one, two = tiers(), tiers()
    await one.open()
    await two.open()
    now = time.time()
    one.put(entry(body=b'"old"', stored_at=now - 5))
    await stored(two)
    two.put(entry(body=b'"new"', stored_at=now))
    await two._shared._writes.drain()
    held, found = await one.acquire("k")
    assert found.body == b'"new"'
    assert one.peek("k").body == b'"new"'
    one.release(held)
    one._near.put(entry(body=b'"newest"', stored_at=now + 5))
    _, found = await one.acquire("k")
    assert found.body == b'"newest"'


async def test_one_list_of_purges_serves_both(tiers: Any) -> None:
    one = tiers()
    await one.open()
    await one.purge("t")
    assert one.purges is one._near.purges
    assert one.purges.cover(0, "", "", ("t",))
