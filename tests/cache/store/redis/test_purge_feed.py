from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError

from gateway.cache.store.purges import Purges
from gateway.cache.store.redis.purge_feed import PurgeFeed
from tests.layers.test_cache import on_virtual_time
from tests.virtual_time import loop_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HANGS = object()


class FakePubSub:
    """Does what `turns` say, one after the other; then nothing is heard any more."""

    def __init__(self, turns: deque[Any]) -> None:
        self.turns = turns

    async def take(self) -> Any:
        turn = self.turns.popleft() if self.turns else None
        if turn is HANGS:
            await asyncio.sleep(3600)
        if isinstance(turn, Exception):
            raise turn
        return turn

    async def subscribe(self, channel: str) -> None:
        await self.take()

    async def get_message(self, *, ignore_subscribe_messages: bool, timeout: float) -> Any:
        turn = await self.take()
        if turn is None:
            await asyncio.sleep(timeout)
        return turn

    async def aclose(self) -> None:
        pass


class FakeStore:
    """A `Commands` to listen through, and its client."""

    channel = "gateway:purges"

    def __init__(self, *turns: Any, clustered: bool = False) -> None:
        self.clustered = clustered
        self.turns = deque(turns)
        self.client = self

    def pubsub(self) -> FakePubSub:
        return FakePubSub(self.turns)


@contextlib.asynccontextmanager
async def watching(store: Any) -> AsyncIterator[tuple[Purges, list[float]]]:
    """A watch over `store`: what it has heard, and when it has looked."""
    purges, looks, began = Purges(), [], loop_time()

    async def look() -> None:
        looks.append(loop_time() - began)

    watch = PurgeFeed(purges, look, asyncio.sleep)
    watch.start(store)
    try:
        yield purges, looks
    finally:
        await watch.aclose()


def message(data: bytes) -> dict[str, Any]:
    return {"type": "message", "data": data}


@on_virtual_time
async def test_a_silent_subscription_looks_every_second() -> None:
    async with watching(FakeStore()) as (_, looks):
        await asyncio.sleep(3.5)
    assert looks == pytest.approx([1, 2, 3])


@on_virtual_time
async def test_a_subscription_that_is_lost_looks_at_once() -> None:
    lost = RedisConnectionError("Connection closed by server.")
    async with watching(FakeStore("subscribed", message(b"7 t"), lost)) as (purges, looks):
        await asyncio.sleep(0.1)
        assert purges.latest == 7
    assert looks == [0]


@pytest.mark.parametrize("error", [RedisConnectionError("refused"), OSError(), NoPermissionError()])
@on_virtual_time
async def test_a_subscription_that_cannot_be_had_looks_again_and_again(error: Exception) -> None:
    async with watching(FakeStore(*[error] * 10)) as (_, looks):
        await asyncio.sleep(1.6)
    assert looks == pytest.approx([0, 0.5, 1, 1.5])


@on_virtual_time
async def test_a_server_that_never_answers_the_subscription_is_looked_for() -> None:
    async with watching(FakeStore(HANGS)) as (_, looks):
        await asyncio.sleep(1.2)
    assert looks == pytest.approx([1])


@on_virtual_time
async def test_a_connection_that_hangs_while_listening_is_looked_for() -> None:
    async with watching(FakeStore("subscribed", HANGS)) as (_, looks):
        await asyncio.sleep(2.2)
    assert looks == pytest.approx([2])


@on_virtual_time
async def test_messages_are_noted_and_rubbish_is_passed_over() -> None:
    rubbish = [b"", b"x", b"-5 t", b"1e9 t", b"9" * 5000 + b" t", b"9007199254740992 t", b"0 t"]
    store = FakeStore("subscribed", *map(message, [*rubbish, b"9 a b", b"8 \xff"]))
    async with watching(store) as (purges, _):
        await asyncio.sleep(0.1)
    assert purges.since(0) == {"a b": 9, "\ufffd": 8}


@on_virtual_time
async def test_a_cluster_is_looked_at_four_times_a_second() -> None:
    async with watching(FakeStore(clustered=True)) as (_, looks):
        await asyncio.sleep(0.6)
    assert looks == pytest.approx([0, 0.25, 0.5])


@on_virtual_time
async def test_only_the_last_store_is_listened_to() -> None:
    old, new = FakeStore(*[RedisConnectionError()] * 10), FakeStore("subscribed")
    looks: list[float] = []

    async def look() -> None:
        looks.append(loop_time())

    watch = PurgeFeed(Purges(), look, asyncio.sleep)
    watch.start(old)  # type: ignore[arg-type]
    watch.start(new)  # type: ignore[arg-type]
    await asyncio.sleep(0.9)
    await watch.aclose()
    assert (len(old.turns), looks) == (10, [])
