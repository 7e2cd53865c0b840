"""Whether the process is about to end: set by the server, read by the readiness endpoint."""

from __future__ import annotations

__all__ = ["Lifecycle"]


class Lifecycle:
    """The stage of life of one process.

    Attributes:
        draining: the process finishes what it has and should get no new traffic.
    """

    __slots__ = ("draining",)

    def __init__(self) -> None:
        self.draining = False
