"""Every command that the gateway sends to Redis, by name.

Reads, plain writes and deletes are aiocache's; leases and purges are redis-py's. Of aiocache only
the commands and the namespace are used: no decorators, no serialiser, no timeout of its own (it
would be a task for each operation), and never `clear`, which looks for KEYS or runs FLUSHDB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiocache.backends.redis import RedisCache  # type: ignore[import-untyped]
from aiocache.base import BaseCache  # type: ignore[import-untyped]
from aiocache.serializers import NullSerializer  # type: ignore[import-untyped]
from redis.asyncio.cluster import RedisCluster

from gateway.cache.store.purges import read_mark
from gateway.cache.store.redis import scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cache.store.redis.url import Client

__all__ = ["Commands"]


class _Collected:
    """Stands in for a client: takes note of commands, to send them all at once.

    redis-py's pipelines are no such thing: what a Cluster pipeline has collected is lost when one
    of its commands is awaited, as aiocache does.
    """

    __slots__ = ("_client", "_commands")

    def __init__(self, client: Client) -> None:
        self._client = client
        self._commands: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        async def collect(*arguments: Any, **options: Any) -> None:
            self._commands.append((name, arguments, options))

        return collect

    async def execute(self) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for name, arguments, options in self._commands:
            getattr(pipeline, name)(*arguments, **options)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers


class Commands(RedisCache):  # type: ignore[misc]
    """Bytes under names, in a namespace, through a client that is given."""

    def __init__(self, client: Client, namespace: str) -> None:
        # RedisBackend's own would make another client, from a host and a port only.
        BaseCache.__init__(
            self, serializer=NullSerializer(encoding=None), namespace=namespace, timeout=None
        )
        self.client = client

    @property
    def clustered(self) -> bool:
        """Whether the keys are spread over several servers."""
        return isinstance(self.client, RedisCluster)

    @property
    def channel(self) -> str:
        """Where purges are told, and under which name they are kept."""
        return f"{self.namespace}:purges"

    def collected(self) -> Commands:
        """Return the same store, its commands held back until `execute`."""
        return Commands(_Collected(self.client), self.namespace)

    async def execute(self) -> list[Any]:
        """Send what was held back; what a command fails with takes the place of its answer."""
        answers: list[Any] = await self.client.execute()
        return answers

    async def take(self, key: str, token: bytes, milliseconds: int) -> None:
        """Collect what asks for a lease: whether it was free, what is kept, how long it has left.

        In this order: who is granted a free lease sees what its last holder has brought.
        """
        lease = self._lease(key)
        await self.client.set(lease, token, nx=True, px=milliseconds)
        await self.client.get(self.build_key(key, self.namespace))
        await self.client.pttl(lease)

    async def keep(self, key: str, token: bytes, data: bytes, milliseconds: int) -> None:
        """Write `data` and end the lease, unless that is no longer ours."""
        name = self.build_key(key, self.namespace)
        await self._eval(scripts.KEEP, (name, self._lease(key)), token, data, milliseconds)

    async def renew(self, key: str, token: bytes, milliseconds: int) -> None:
        """Prolong a lease that is still ours."""
        await self._eval(scripts.RENEW, (self._lease(key),), token, milliseconds)

    async def release(self, key: str, token: bytes) -> None:
        """End a lease that is still ours."""
        await self._eval(scripts.RELEASE, (self._lease(key),), token)

    async def break_lease(self, key: str) -> None:
        """End a lease, whosesoever it is."""
        await self.client.delete(self._lease(key))

    async def purge(self, tag: str, least: int) -> tuple[int, int]:
        """Draw a mark for `tag`, `least` or later; return it and how many were told."""
        mark, told = await self._eval(scripts.PURGE, (self.channel,), tag, least, self.channel)
        return int(mark), int(told)

    async def latest_mark(self) -> int:
        """Return the greatest mark that was ever drawn."""
        return read_mark(await self.client.hget(self.channel, ""))

    async def marks(self) -> dict[str, int]:
        """Return the mark of every purged tag."""
        found = await self.client.hgetall(self.channel)
        return {tag.decode(errors="replace"): read_mark(mark) for tag, mark in found.items() if tag}

    async def _eval(self, script: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        return await self.client.eval(script, len(keys), *keys, *arguments)

    def _lease(self, key: str) -> str:
        return f"{self.build_key(key, self.namespace)}:lease"

    def _build_key(self, key: str, namespace: str | None = None) -> str:
        # In a Cluster the part in braces alone decides where a key lives: an entry and its lease
        # are always at the same place.
        return f"{namespace}:{{{key}}}"

    async def _multi_get(
        self,
        keys: Sequence[str],
        encoding: str | None = None,  # noqa: ARG002 - aiocache's signature
        _conn: Any = None,
    ) -> list[bytes | None]:
        if self.clustered:
            values = await self.client.mget_nonatomic(*keys)  # one MGET for each slot
        else:
            values = await self.client.mget(*keys)
        return list(values)

    async def _clear(self, namespace: str | None = None, _conn: Any = None) -> bool:
        raise NotImplementedError("other applications may live in the same database")
