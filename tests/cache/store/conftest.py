from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from gateway.cache.freshness import Entry
from gateway.cache.store.redis.store import RedisStore
from gateway.cache.store.redis.url import connector
from gateway.events import Event, Events
from tests.redis_server import RedisServer, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server for all tests that do it no harm."""
    with running(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server to do harm to."""
    with running(tmp_path_factory.mktemp("redis")) as one:
        yield one


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
async def make(heard: list[Event]) -> AsyncIterator[Callable[..., RedisStore]]:
    """Makes stores of one namespace, as the replicas of one deployment; closes them all."""
    namespace = f"test{next(_numbers)}"
    stores: list[RedisStore] = []

    def new(url: str, **options: Any) -> RedisStore:
        # Patient, because the machine may be busy; a test of a silent server asks for less.
        defaults = {"events": Events([heard.append]), "namespace": namespace, "timeout": 5.0}
        given: Any = defaults | options
        stores.append(RedisStore(connector(url), **given))
        return stores[-1]

    yield new
    for store in stores:
        await store.aclose()


def entry(key: str = "k", body: bytes = b'{"a":1}', **changes: Any) -> Entry:
    import orjson

    now = time.time()
    fields: dict[str, Any] = {
        "status": 200, "stored_at": now, "as_of": changes.get("stored_at", now), "fresh_until": now + 3600,
        "revalidate_until": now + 3600, "error_until": now + 3600, "cost": 0.1, "mark": 0,
    }  # fmt: skip
    status = changes.get("status", 200)
    value = None if status == 404 else orjson.loads(body)
    return Entry(key, body, value, **(fields | changes))
