"""Noticing that the client has gone, so that nobody's work is done for nobody."""

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

    Listening takes a task, and most answers are there sooner than a client can go away: so it
    begins only after `after` seconds, and a fast answer pays for an alarm.

    Attributes:
        gone: the client has disconnected, and it was this that cancelled the task.
    """

    __slots__ = ("_listener", "_receive", "_task", "gone")

    def __init__(self, wheel: Wheel, receive: Receive, after: float = 0.05) -> None:
        self._task: asyncio.Task[Any] = wheel.task()
        self._receive = receive
        self._listener: asyncio.Task[None] | None = None
        self.gone = False
        wheel.set(self, after)

    def ring(self) -> None:
        """Begin to listen."""
        self._listener = self._task.get_loop().create_task(self._listen())

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the rest of a request body that nobody asked for
        self.gone = True
        self._task.cancel()

    def stop(self) -> None:
        """Stop watching. The listener ends by itself: it only waits for a message."""
        self.slot.discard(self)
        # Let go of too: a cancelled task keeps its frames, and they keep this watch.
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
