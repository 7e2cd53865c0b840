"""Every command that the gateway sends to Redis, by name.

Reads, plain writes and deletes use aiocache; leases and purges use redis-py. Of aiocache only the
commands and the namespace are used: no decorators, no serialiser, no timeout (which would create a
task for each operation), and never `clear`, which runs KEYS or FLUSHDB.
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
    """A stand-in for a client that collects commands, to send them all at once.

    A redis-py pipeline cannot replace it: a Cluster pipeline loses its commands when one of them is
    awaited, as aiocache does.
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
    """The commands of one client, in one namespace; values are bytes."""

    def __init__(self, client: Client, namespace: str) -> None:
        # RedisBackend.__init__ would create another client, from a host and a port only.
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
        """The channel that publishes purges, and the key of the hash that stores them."""
        return f"{self.namespace}:purges"

    def collected(self) -> Commands:
        """Return a copy that collects its commands until `execute`."""
        return Commands(_Collected(self.client), self.namespace)

    async def execute(self) -> list[Any]:
        """Send the collected commands; the error of a failed command is returned as its answer."""
        answers: list[Any] = await self.client.execute()
        return answers

    async def take(self, key: str, token: bytes, milliseconds: int) -> None:
        """Collect the commands for a lease: take it if free, read the entry, read its lifetime.

        The order matters: a replica that gets a free lease sees the entry of its last holder.
        """
        lease = self._lease(key)
        await self.client.set(lease, token, nx=True, px=milliseconds)
        await self.client.get(self.build_key(key, self.namespace))
        await self.client.pttl(lease)

    async def keep(self, key: str, token: bytes, data: bytes, milliseconds: int) -> None:
        """Write `data` and end the lease, if this process still holds it."""
        name = self.build_key(key, self.namespace)
        await self._eval(scripts.KEEP, (name, self._lease(key)), token, data, milliseconds)

    async def renew(self, key: str, token: bytes, milliseconds: int) -> None:
        """Extend a lease that this process still holds."""
        await self._eval(scripts.RENEW, (self._lease(key),), token, milliseconds)

    async def release(self, key: str, token: bytes) -> None:
        """End a lease that this process still holds."""
        await self._eval(scripts.RELEASE, (self._lease(key),), token)

    async def break_lease(self, key: str) -> None:
        """End a lease, whichever replica holds it."""
        await self.client.delete(self._lease(key))

    async def purge(self, tag: str, least: int) -> tuple[int, int]:
        """Generate a mark for `tag`, at least `least`; return it and the number of subscribers."""
        mark, reached = await self._eval(scripts.PURGE, (self.channel,), tag, least, self.channel)
        return int(mark), int(reached)

    async def latest_mark(self) -> int:
        """Return the greatest mark that was ever generated."""
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
        # In a Cluster only the part in braces selects the node: an entry and its lease are always
        # on the same node.
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
        raise NotImplementedError("other applications may use the same database")
