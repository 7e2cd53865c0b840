"""A fairly shared budget of bytes: a weighted semaphore with one queue per user.

All upstreams of one application share it, so that many large answers at once take the memory of a
few. The upstreams take turns: one that sends only large answers queues behind itself and does not
delay the others. An answer that is already decoded and waits to be shaped goes first, because it
takes memory while it waits. There is no limit on the waiting time: the callers' deadlines cancel
it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ByteBudget", "Hold"]

_Line = dict[str, deque[tuple[int, asyncio.Future[None]]]]


class ByteBudget:
    """A weighted semaphore over bytes.

    Args:
        capacity: bytes; a request for more than the capacity gets all of it, alone.

    Attributes:
        capacity: bytes.
        used: bytes that are held.
    """

    __slots__ = ("_lines", "capacity", "used")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        # The priority queues, and the others.
        self._lines: tuple[_Line, _Line] = ({}, {})

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return sum(len(queue) for line in self._lines for queue in line.values())

    def hold(self, user: str, *, first: bool = False) -> Hold:
        """Return an empty hold for `user` to fill; `first` gives it priority."""
        return Hold(self, user, first=first)

    async def acquire(self, user: str, size: int, *, first: bool = False) -> int:
        """Wait for room, in turn with other users; return how much of `size` was taken."""
        size = min(size, self.capacity)
        if any(self._lines) or self.used + size > self.capacity:
            await self._wait(self._lines[not first], user, size)
        else:
            self.used += size
        return size

    async def _wait(self, line: _Line, user: str, size: int) -> None:
        future = asyncio.get_running_loop().create_future()
        place = (size, future)
        line.setdefault(user, deque()).append(place)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # cancelled at the moment of its turn
                self.give_back(size)
            else:
                self._leave(line, user, place)
            raise

    def _leave(self, line: _Line, user: str, place: tuple[int, asyncio.Future[None]]) -> None:
        queue = line.get(user)
        if queue is not None and place in queue:  # otherwise it was already skipped
            queue.remove(place)
            if not queue:
                del line[user]
            self._serve()  # it may have blocked a smaller one

    def give_back(self, size: int) -> None:
        """Give bytes back; called by the hold that has them."""
        self.used -= size
        self._serve()

    def _serve(self) -> None:
        while line := self._lines[0] or self._lines[1]:
            user, queue = next(iter(line.items()))
            size, future = queue[0]
            if self.used + size > self.capacity:
                return  # it is next, even if those behind it would fit
            queue.popleft()
            del line[user]
            if queue:
                line[user] = queue  # at the end of the line
            if not future.done():
                self.used += size
                future.set_result(None)


class Hold:
    """Bytes of a budget; `release`, or the end of the `with` block, gives them back."""

    __slots__ = ("_budget", "_first", "_user", "size")

    def __init__(self, budget: ByteBudget, user: str, *, first: bool) -> None:
        self._budget = budget
        self._user = user
        self._first = first
        self.size = 0

    async def fill(self, size: int) -> Self:
        """Wait for `size` bytes, unless it has some: to wait while holding could deadlock."""
        if not self.size:
            self.size = await self._budget.acquire(self._user, size, first=self._first)
        return self

    def shrink(self, size: int) -> None:
        """Give back the bytes beyond `size`."""
        if size < self.size:
            rest, self.size = self.size - size, size
            self._budget.give_back(rest)

    def release(self) -> None:
        """Give all bytes back; idempotent."""
        self.shrink(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
