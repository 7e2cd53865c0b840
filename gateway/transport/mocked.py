"""Upstream calls that a test's mock answers, and what the mock objects to.

respx raises an `AssertionError` for a request that it has no route for, and a test's own side
effects assert things. For the gateway such an error is a bug like any other: it may end in a task
that lost a race, in a refresh in the background or in a 500 problem. So it is noted here, where it
comes from, and the endpoint raises it once more for the test.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.transport.answer import RawAnswer
    from gateway.transport.exchange import Exchange
    from gateway.transport.origin import Origin

__all__ = ["Mocked", "Objections"]

_TURNS = 100


class Objections:
    """Assertions that failed inside a mock and that no test has seen yet.

    Attributes:
        expected: a call was answered by a mock; always false in production.
    """

    __slots__ = ("_errors", "expected")

    def __init__(self) -> None:
        self.expected = False
        self._errors: list[AssertionError] = []

    def add(self, error: AssertionError) -> None:
        """Keep `error` for the test."""
        if error not in self._errors:
            self._errors.append(error)

    def raise_first(self) -> None:
        """Raise the first objection; all count as seen then."""
        if self._errors:
            first = self._errors[0]
            self._errors = []
            raise first

    async def settle(self, busy: Callable[[], bool]) -> None:
        """Raise the first objection, also one that is made in the background just now.

        A mock answers without waiting for anything, so it is given turns of the event loop and no
        time. What takes longer is raised by a later request.

        Args:
            busy: whether a call is under way in the background.
        """
        turns = _TURNS
        while turns and not self._errors and busy():
            turns -= 1
            await asyncio.sleep(0)
        self.raise_first()


class Mocked:
    """The stock transport while a mock stands in for its connection pool."""

    __slots__ = ("_objections", "_stock")

    def __init__(self, stock: Exchange, objections: Objections) -> None:
        self._stock = stock
        self._objections = objections

    async def exchange(
        self,
        origin: Origin,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> RawAnswer:
        """Do what the stock transport does, and note what the mock objects to."""
        self._objections.expected = True
        try:
            return await self._stock.exchange(
                origin, method, target, headers, body, timeout=timeout
            )
        except AssertionError as error:
            self._objections.add(error)
            raise

    async def aclose(self) -> None:
        """Close every connection."""
        await self._stock.aclose()
