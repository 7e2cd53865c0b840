"""The purge feed: receives purges of other replicas by pub/sub, and reliably by polling.

Pub/sub may lose a message; polling makes up for it within a second. Polling is also the heartbeat
by which an idle process notices that the server is gone, so it runs whether the subscription works,
is silent or fails.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from gateway.aio.bounded import bounded
from gateway.aio.tasks import cancel_until_gone
from gateway.cache.store.purges import read_mark

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.cache.store.purges import Purges
    from gateway.cache.store.redis.commands import Commands
    from gateway.call import Sleep

__all__ = ["PurgeFeed"]

_LOOK_AGAIN = 1.0
_WITHOUT_MESSAGES = 0.25
_SUBSCRIBE_AGAIN = 0.5
# A server that accepts connections and never answers would block redis-py for ever: its sockets
# have no timeout here.
_PATIENCE = 1.0


class PurgeFeed:
    """Listens for the purges of other replicas.

    Args:
        purges: records the purges.
        look: polls for missed purges.
        sleep: waits between polls.
    """

    __slots__ = ("_look", "_purges", "_sleep", "_store", "_task")

    def __init__(self, purges: Purges, look: Callable[[], Awaitable[None]], sleep: Sleep) -> None:
        self._purges = purges
        self._look = look
        self._sleep = sleep
        self._store: Commands | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, store: Commands) -> None:
        """Listen only through `store` from now on."""
        if self._task is not None:
            self._task.cancel()
        self._store = store  # a cancellation may be lost: the old task checks this too
        # redis-py's Cluster client subscribes to one node, and loses it with that node.
        work = self._poll(store) if store.clustered else self._listen(store)
        self._task = asyncio.get_running_loop().create_task(work)

    async def aclose(self) -> None:
        """Stop listening, and wait until the task has ended."""
        if self._task is not None:
            await cancel_until_gone([self._task])

    async def _listen(self, store: Commands) -> None:
        while self._store is store:
            pubsub = store.client.pubsub()
            try:
                await bounded(pubsub.subscribe(store.channel), _PATIENCE)
                while self._store is store:
                    listening = pubsub.get_message(
                        ignore_subscribe_messages=True, timeout=_LOOK_AGAIN
                    )
                    message = await bounded(listening, _LOOK_AGAIN + _PATIENCE)
                    if message is None:
                        # No message for a while, or the subscription was confirmed: poll for purges
                        # that were published before.
                        await self._look()
                    else:
                        self._heard(message)
            except (RedisError, OSError):
                # This one connection has failed. The poll finds out whether the server is gone too,
                # or only refuses the subscription.
                await self._look()
                await self._sleep(_SUBSCRIBE_AGAIN)
            finally:
                await pubsub.aclose()

    async def _poll(self, store: Commands) -> None:
        while self._store is store:
            await self._look()
            await self._sleep(_WITHOUT_MESSAGES)

    def _heard(self, message: dict[str, Any]) -> None:
        mark, _, tag = message["data"].partition(b" ")
        self._purges.add(tag.decode(errors="replace"), read_mark(mark))
