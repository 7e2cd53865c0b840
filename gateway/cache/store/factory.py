"""Creates the store of a process: memory only, or memory in front of Redis."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.cache.store.memory import MemoryStore

if TYPE_CHECKING:
    from gateway.cache.store.base import Store
    from gateway.call import Clock
    from gateway.events import Events

__all__ = ["open_store"]


def open_store(
    redis_url: str | None,
    *,
    events: Events,
    max_bytes: int = 64 * 1024 * 1024,
    namespace: str = "gateway",
    clock: Clock = time.monotonic,
    now: Clock = time.time,
) -> Store:
    """Return the store of a process; it connects when it is opened.

    Args:
        redis_url: the shared store; `None` stores everything in this process. One of
            `redis://`, `rediss://` (TLS), `unix://`, `redis+sentinel://host:port,host:port/service/db`
            and `redis+cluster://host:port,host:port`; the latter two with `rediss` for TLS.
        events: receives changes of the shared store's state.
        max_bytes: maximum size of the entries in this process.
        namespace: prefix of every key in Redis; gateways with the same prefix share entries.
        clock: monotonic seconds.
        now: POSIX seconds.

    Raises:
        ValueError: the URL is none of these.
    """
    memory = MemoryStore(max_bytes, now=now)
    if redis_url is None:
        return memory
    # Imported here: a process without a shared store does not load the client libraries.
    from gateway.cache.store.redis.store import RedisStore  # noqa: PLC0415
    from gateway.cache.store.redis.url import connector  # noqa: PLC0415
    from gateway.cache.store.tiered import TieredStore  # noqa: PLC0415

    shared = RedisStore(
        connector(redis_url),
        namespace=namespace,
        purges=memory.purges,
        events=events,
        clock=clock,
        now=now,
    )
    return TieredStore(memory, shared)
