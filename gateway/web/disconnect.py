"""Cancels a request whose client has disconnected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.aio.timers import Alarm

if TYPE_CHECKING:
    import asyncio

    from starlette.types import Receive

    from gateway.aio.timers import Wheel

__all__ = ["DisconnectWatch"]


class DisconnectWatch(Alarm):
    """Cancels the current task when its client disconnects.

    Listening takes a task, and most answers finish before a client can disconnect. So it starts
    only after `after` seconds, and a fast answer pays only for a timer.

    Attributes:
        gone: the client has disconnected, and the task was cancelled for it.
    """

    __slots__ = ("_listener", "_receive", "_task", "gone")

    def __init__(self, wheel: Wheel, receive: Receive, after: float = 0.05) -> None:
        self._task: asyncio.Task[Any] = wheel.task()
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None
        self.gone = False
        wheel.set(self, after)

    def ring(self) -> None:
        """Start listening."""
        self._listener = self._task.get_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the rest of a request body that the endpoint does not read
        self.gone = True
        self._task.cancel()

    def stop(self) -> None:
        """Stop watching, and cancel the listener."""
        self.slot.discard(self)
        # Drop the reference too: a cancelled task holds its frames, and they hold this watch.
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
