"""Noticing that the client has gone, so that nobody's work is done for nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive

__all__ = ["DisconnectWatch"]


class DisconnectWatch:
    """Cancels the current task when its client disconnects.

    Listening takes a task, and most answers are there sooner than a client can go away: so it
    begins only after `after` seconds, and a fast answer pays for a timer.

    Attributes:
        gone: the client has disconnected, and it was this that cancelled the task.
    """

    __slots__ = ("_listener", "_loop", "_receive", "_task", "_timer", "gone")

    def __init__(self, receive: Receive, after: float = 0.05) -> None:
        self._loop = loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 - requests are served in tasks
        self._task = task
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None
        self._timer = loop.call_later(after, self._begin)
        self.gone = False

    def _begin(self) -> None:
        self._listener = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the rest of a request body that nobody asked for
        self.gone = True
        self._task.cancel()

    def stop(self) -> None:
        """Stop watching. The listener ends by itself: it only waits for a message."""
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
