"""The table of pools by origin."""

from __future__ import annotations

import httpx
import pytest

from gateway.transport import Origin
from gateway.transport.pools import PoolLimits, Pools


class Pool:
    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.slots = 0
        self.quarantined = False
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


def test_a_pool_is_made_for_each_origin() -> None:
    pools = Pools(Pool)
    first, second = Origin("http", "a"), Origin("https", "a")
    assert pools.open(first).origin is first
    assert pools.open(second) is pools[second.key] is not pools[first.key]


def test_pools_that_are_not_needed_go_when_there_are_many() -> None:
    pools = Pools(Pool)
    for n in range(64):
        pool = pools.open(Origin("http", f"h{n}"))
        pool.slots = n == 5
        pool.quarantined = n == 7
    assert len(pools) == 64
    pools.open(Origin("http", "one-more"))
    assert {pool.origin.host for pool in pools.values()} == {"h5", "h7", "one-more"}


async def test_closing_closes_every_pool_and_refuses_new_ones() -> None:
    pools = Pools(Pool)
    made = [pools.open(Origin("http", f"h{n}")) for n in range(3)]
    await pools.aclose()
    assert all(pool.closed for pool in made)
    with pytest.raises(httpx.ConnectError, match="closed"):
        pools.open(Origin("http", "later"))


def test_all_connections_may_be_idle_by_default() -> None:
    assert PoolLimits(7).most_idle == 7
    assert PoolLimits(7, max_idle=0).most_idle == 0
