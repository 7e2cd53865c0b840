from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ClusterDownError, RedisClusterException, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.cache.store.redis.commands import Commands
from gateway.cache.store.redis.connection import Connection
from gateway.events import Events
from tests.layers.test_cache import on_virtual_time
from tests.virtual_time import loop_time


class FakeClient:
    """A server that is there, until it is `gone`."""

    gone = False

    async def ping(self) -> None:
        if self.gone:
            raise RedisConnectionError

    async def aclose(self) -> None:
        pass


async def opened(client: FakeClient) -> Connection:
    def linked(store: Commands, *, again: bool) -> None:
        pass

    link = Connection(
        lambda: client, namespace="n", linked=linked, events=Events(), clock=loop_time,
        sleep=asyncio.sleep, random=lambda: 1.0,
    )  # fmt: skip
    await link.open()
    return link


@pytest.mark.parametrize(
    ("error", "up"),
    [
        (RedisConnectionError(), False),
        (OSError(), False),
        (ClusterDownError("CLUSTERDOWN"), False),
        (RedisClusterException("Redis Cluster cannot be connected."), False),  # no RedisError
        (ResponseError("WRONGTYPE"), True),
    ],
)
@on_virtual_time
async def test_an_error_is_no_answer_and_may_be_the_end_of_the_link(
    error: Exception, up: bool
) -> None:
    client = FakeClient()
    link = await opened(client)
    assert link.up
    client.gone = True

    async def work(store: Any) -> Any:
        raise error

    assert await link.ask(work, 1.0) is None
    assert link.up == up
    client.gone = False
    await asyncio.sleep(0.1)
    assert link.up
    await link.aclose()
