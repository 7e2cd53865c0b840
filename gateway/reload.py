"""Reloads the configuration while the process serves."""

from __future__ import annotations

import asyncio
import logging
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from watchfiles import awatch

from gateway.app import swap
from gateway.errors import ConfigError
from gateway.plan.load import load
from gateway.runtime import fingerprint

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from pathlib import Path

    from gateway.call import Sleep
    from gateway.plan.load import Loaded
    from gateway.runtime import Runtime
    from gateway.web.application import Application

__all__ = ["Reloaded", "Reloader", "watched"]

_log = logging.getLogger("gateway.reload")

_STEP = 0.05
_MARGIN = 1.0
"""Seconds beyond the longest deadline after which a request of an old runtime must have ended."""
_MOST_RETIRING = 8


class Reloaded(NamedTuple):
    """A configuration that was loaded again.

    Attributes:
        loaded: the configuration.
        changed: it differs from the one before.
    """

    loaded: Loaded
    changed: bool


class Reloader:
    """Serves a file again after it has changed.

    A new runtime is opened beside the old one. Requests in flight finish on the old one, and then
    it is closed. Upstreams whose declaration is the same go over with their connections, breakers
    and limits. A file with a mistake changes nothing.

    Args:
        app: the application.
        path: the file.
        counts: counts reloads by result: `ok`, `unchanged`, `failed`.
        sleep: waits for requests in flight.
        on_changed: called after another configuration is served, so that other workers reload too.
    """

    def __init__(
        self,
        app: Application[Runtime],
        path: Path,
        *,
        counts: Counter[str],
        sleep: Sleep = asyncio.sleep,
        on_changed: Callable[[], None] | None = None,
    ) -> None:
        self._app = app
        self.path = path
        self._counts = counts
        self._sleep = sleep
        self._on_changed = on_changed
        self._turn = asyncio.Lock()
        self._retiring: list[asyncio.Task[None]] = []
        self._requested: set[asyncio.Task[None]] = set()

    async def reload(self, *, alone: bool = True) -> Reloaded:
        """Load the file and serve it from the next request on.

        Args:
            alone: no other worker was told to reload, so `on_changed` is called.

        Raises:
            ConfigError: it has mistakes; the error lists all of them, and they are logged.
        """
        async with self._turn:
            try:
                loaded = await asyncio.to_thread(load, self.path)
            except ConfigError as error:
                self._counts["failed"] += 1
                _log.error(
                    "the configuration is not reloaded, the one before is served: %s",
                    "; ".join(error.lines()),
                    extra={"event": "reload_failed", "mistakes": error.lines()},
                )
                raise
            before = self._app.served
            changed = fingerprint(loaded) != before.fingerprint
            if changed:
                await self._swap(before, before.successor(loaded))
            self._counts["ok" if changed else "unchanged"] += 1
        if changed and alone and self._on_changed is not None:
            self._on_changed()
        return Reloaded(loaded, changed)

    def request(self, *, alone: bool = True) -> None:
        """Call `reload` in the background; mistakes are logged."""
        task = asyncio.get_running_loop().create_task(self._reload_quietly(alone=alone))
        self._requested.add(task)
        task.add_done_callback(self._requested.discard)

    async def aclose(self) -> None:
        """Close the runtimes that still finish requests."""
        for task in self._requested:
            task.cancel()
        for retiring in self._retiring:
            retiring.cancel()
        await asyncio.gather(*self._requested, *self._retiring, return_exceptions=True)

    async def _reload_quietly(self, *, alone: bool) -> None:
        try:
            await self.reload(alone=alone)
        except ConfigError:
            pass  # it is logged
        except Exception:
            _log.exception("the configuration could not be reloaded")

    async def _swap(self, before: Runtime, after: Runtime) -> None:
        self._retiring = [task for task in self._retiring if not task.done()]
        if len(self._retiring) >= _MOST_RETIRING:  # memory stays bounded
            await asyncio.wait(self._retiring[:1])
        await swap(self._app, after)
        previous = self._retiring[-1] if self._retiring else None
        self._retiring.append(asyncio.create_task(self._retire(before, after, previous)))
        _log.info(
            "the configuration is reloaded: %d dashboards from %s",
            len(after.loaded.plans),
            after.loaded.file,
            extra={"event": "reloaded", "hash": after.fingerprint},
        )

    async def _retire(
        self, before: Runtime, after: Runtime, previous: asyncio.Task[None] | None
    ) -> None:
        """Close a runtime when its requests have ended.

        One after the other: a runtime may use upstreams that a later one closes.
        """
        try:
            await before.stop()
            if previous is not None:
                await asyncio.wait([previous])
            waits = before.longest + _MARGIN
            while before.in_flight and waits > 0:
                await self._sleep(_STEP)
                waits -= _STEP
        finally:
            await before.retire(after)


async def watched(reloader: Reloader) -> None:
    """Reload whenever the content of the file changes.

    The folder is watched, not the file: editors replace a file, and Kubernetes swaps a symbolic
    link beside it.
    """
    path = reloader.path
    before = await asyncio.to_thread(_content, path)
    async for _ in awatch(path.parent, recursive=False, debounce=200):
        content = await asyncio.to_thread(_content, path)
        if content and content != before:
            before = content
            reloader.request()


def _content(path: Path) -> bytes:
    """Return a digest of a file; empty while there is none, as in the middle of a swap."""
    try:
        return blake2b(path.read_bytes()).digest()
    except OSError:
        return b""
