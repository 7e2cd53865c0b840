"""The connection to Redis: one client at a time, with short timeouts, replaced after a loss."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, TypeVar

from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

from gateway.aio.bounded import bounded
from gateway.cache.store.base import StoreRefused
from gateway.cache.store.redis.circuit import Circuit
from gateway.cache.store.redis.commands import Commands
from gateway.cache.store.redis.url import close

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.cache.store.redis.url import Client
    from gateway.call import Clock, Sleep
    from gateway.events import Events

__all__ = ["Connection"]

T = TypeVar("T")

_log = logging.getLogger("gateway.store")

# Errors that mean that the whole server is unusable. Any other error concerns one command.
_LOST = (
    TimeoutError, OSError, RedisConnectionError, RedisTimeoutError, ClusterDownError,
    MasterDownError, RedisClusterException,
)  # fmt: skip
_REFUSED = (OutOfMemoryError, ReadOnlyError, NoPermissionError)
_REFUSED_FOR = 1.0


class Linked(Protocol):
    """A callback for new clients."""

    def __call__(self, store: Commands, *, again: bool) -> None:
        """Use `store`; `again` is true when it is not the first client."""


class Connection:
    """Sends commands to the server while it is usable.

    Args:
        connect: creates a client, which connects at its first use.
        namespace: prefix of every key.
        linked: called with each new client that answered a ping, and whether it replaces another.
        events: receives changes of the state and refused writes.
        clock: monotonic seconds.
        sleep: waits between probes.
        random: uniform in [0, 1).
    """

    __slots__ = ("_bytes", "_circuit", "_clock", "_closing", "_connect", "_events", "_linked",
                 "_namespace", "_refused_until")  # fmt: skip

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        namespace: str,
        linked: Linked,
        events: Events,
        clock: Clock,
        sleep: Sleep,
        random: Callable[[], float],
    ) -> None:
        self._connect = connect
        self._namespace = namespace
        self._linked = linked
        self._events = events
        self._clock = clock
        self._circuit = Circuit(self._probe, events=events, sleep=sleep, random=random)
        self._bytes: Commands | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._refused_until = 0.0

    @property
    def up(self) -> bool:
        """Whether the server can be used."""
        return self._circuit.up

    @property
    def writable(self) -> bool:
        """Whether it can be used and has not refused a write recently."""
        return self._circuit.up and (
            not self._refused_until or self._clock() >= self._refused_until
        )

    async def open(self) -> None:
        """Try to connect now, then in the background until it succeeds."""
        await self._circuit.open()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._circuit.aclose()
        if self._bytes is not None:
            self._close(self._bytes.client)
        if self._closing:
            await asyncio.wait(self._closing)

    async def ask(self, work: Callable[[Commands], Awaitable[T]], patience: float) -> T | None:
        """Return the result of `work`; `None` when the server does not answer.

        Args:
            work: sends commands.
            patience: seconds.
        """
        commands = self._bytes
        if commands is None or not self._circuit.up:
            return None
        try:
            return await bounded(work(commands), patience)
        except (OSError, RedisError, RedisClusterException) as error:
            if commands is self._bytes:  # an error of a replaced client says nothing new
                self.judge(error)
            return None

    def judge(self, error: Exception) -> None:
        """Update the state after a command failed with `error`."""
        if isinstance(error, _LOST):
            self._circuit.trip(error)
        elif isinstance(error, _REFUSED):
            if self.writable:
                why = type(error).__name__
                _log.warning(
                    "the shared store refuses writes (%s)", why,
                    extra={"event": "store_refused", "cause": why},
                )  # fmt: skip
                if self._events.wants(StoreRefused):
                    self._events.emit(StoreRefused("", "", why))
            self._refused_until = self._clock() + _REFUSED_FOR
        else:
            _log.warning("the shared store refused a command: %s", type(error).__name__)

    async def _probe(self) -> None:
        client = self._connect()
        try:
            await client.ping()
        except BaseException:
            self._close(client)
            raise
        # The whole old client is closed, because any of its connections may be broken.
        before = self._bytes
        if before is not None:
            self._close(before.client)
        self._bytes = Commands(client, self._namespace)
        self._linked(self._bytes, again=before is not None)

    def _close(self, client: Client) -> None:
        async def finish() -> None:
            try:
                await close(client)
            except (RedisError, OSError) as error:
                _log.debug("a connection was already closed: %s", type(error).__name__)

        task = asyncio.get_running_loop().create_task(finish())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
