"""Whether the process is about to end: set by the server, read by the readiness endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Lifecycle"]


class Lifecycle:
    """The stage of life of one process.

    Attributes:
        draining: the process finishes what it has and should get no new traffic.
        end_streams: ends the streams that would never end by themselves; called when load
            balancers have noticed that the process drains.
    """

    __slots__ = ("draining", "end_streams")

    def __init__(self, end_streams: Callable[[], None] = lambda: None) -> None:
        self.draining = False
        self.end_streams = end_streams
