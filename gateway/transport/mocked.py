"""Upstream calls that a test's mock answers, and the assertions that fail in the mock.

respx raises an `AssertionError` for a request without a route, and a test's side effects make
assertions. The gateway handles such an error as a bug, so it could disappear in a task that lost a
race, in a refresh in the background or in a 500 problem. It is recorded here, and the endpoint
raises it again for the test.
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
        expected: a mock has answered a call; always false in production.
    """

    __slots__ = ("_errors", "expected")

    def __init__(self) -> None:
        self.expected = False
        self._errors: list[AssertionError] = []

    def add(self, error: AssertionError) -> None:
        """Record `error` for the test."""
        if error not in self._errors:
            self._errors.append(error)

    def raise_first(self) -> None:
        """Raise the first recorded error and drop the others."""
        if self._errors:
            first = self._errors[0]
            self._errors = []
            raise first

    async def settle(self, busy: Callable[[], bool]) -> None:
        """Raise the first recorded error, waiting briefly for calls in the background.

        A mock answers without waiting, so this waits for turns of the event loop and not for time.
        A later request raises an error that takes longer.

        Args:
            busy: returns whether a call is in flight in the background.
        """
        turns = _TURNS
        while turns and not self._errors and busy():
            turns -= 1
            await asyncio.sleep(0)
        self.raise_first()


class Mocked:
    """The httpx transport while a mock replaces its connection pool."""

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
        """Call the httpx transport and record failed assertions."""
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
