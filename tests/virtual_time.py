"""An event loop whose clock jumps to the next timer instead of waiting for it.

`asyncio.sleep(3600)` returns at once and `loop.time()` is an hour later, so a test of timeouts,
backoff or breakers runs in no time and never flakes. Only for code without real I/O.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Instead of blocking for a timeout it moves the clock by it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("deadlock: every task waits for something that cannot happen")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop on virtual time, starting at 1000 s."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        self._jumping.now = 1000.0
        super().__init__(self._jumping)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._jumping.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on virtual time; inject `loop_time` where a clock is asked for."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def loop_time() -> float:
    """Return the virtual now; what tests inject as the clock."""
    return asyncio.get_running_loop().time()
