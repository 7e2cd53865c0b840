"""The core interface: a Call is `async (Request) -> Response`, a Layer wraps a Call in a Call.

The idea is Finagle's Service/Filter and tower's Service/Layer: everything around an upstream call
(caching, retries, limits ...) is one small function around the next one, and `stack` composes them
in reading order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from gateway.values.provenance import FETCHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.values.provenance import Provenance

__all__ = [
    "Call",
    "Clock",
    "Deadline",
    "Layer",
    "Operation",
    "Request",
    "Response",
    "Sleep",
    "stack",
]

Clock = Callable[[], float]
"""Seconds on a clock that never goes backwards (`time.monotonic`)."""

Sleep = Callable[[float], Awaitable[None]]
"""Wait for that many seconds (`asyncio.sleep`)."""


class Deadline:
    """The moment (monotonic seconds) at which the whole request must be answered.

    Attributes:
        alarm: rings when it has passed; `None` while nothing waits for it.
    """

    __slots__ = ("alarm", "at")

    def __init__(self, at: float) -> None:
        self.at = at
        self.alarm: Any = None

    def remaining(self, now: float) -> float:
        """Return the seconds left at `now`, negative once it has passed."""
        return self.at - now

    def __repr__(self) -> str:
        return f"Deadline(at={self.at!r})"


class Operation(Protocol):
    """What an upstream is asked to do: an HTTP exchange, an SQL statement.

    Only the upstream's kind reads more than this. `str()` of it appears in logs.
    """

    @property
    def identity(self) -> bytes:
        """Equal for two operations of one upstream if and only if they are the same."""

    @property
    def safe(self) -> bool:
        """Whether it is read-only, so that it may be repeated, shared and cached."""


class Request:
    """One call of one section to one upstream.

    Attributes:
        operation: what the upstream is asked to do; layers read only `identity` and `safe`.
        deadline: when the caller's whole request must be answered.
        section: name of the section, for events.
        cache: the section's freshness policy where it overrides the upstream's; below the layer
            `cache` the policy that applies.
        key: the key of the stored answer, computed by the layer `cache`; empty where no answer is
            stored.
        attempt: 1 for the first attempt, incremented by retry and hedge.
        tags: names of the dashboard and section, for purges of the cache.
        min_fresh: seconds for which the answer should stay fresh (RFC 9111 section 5.2.1.3): a
            stored answer that expires sooner is served, and refreshed in the background.
    """

    __slots__ = (
        "attempt", "cache", "deadline", "key", "min_fresh", "operation", "section", "tags",
    )  # fmt: skip

    def __init__(
        self,
        operation: Operation,
        deadline: Deadline,
        section: str = "",
        cache: Any = None,
        tags: tuple[str, ...] = (),
        attempt: int = 1,
        min_fresh: float = 0.0,
    ) -> None:
        self.operation = operation
        self.deadline = deadline
        self.section = section
        self.cache = cache
        self.attempt = attempt
        self.tags = tags
        self.min_fresh = min_fresh
        self.key = ""

    @property
    def identity(self) -> bytes:
        """Equal for two requests to one upstream if and only if they are the same."""
        return self.operation.identity

    @property
    def safe(self) -> bool:
        """Whether the request may be repeated, shared and cached."""
        return self.operation.safe

    @property
    def dashboard(self) -> str:
        """Name of the section's dashboard, from its tag; empty without one."""
        for tag in self.tags:
            kind, _, name = tag.partition(":")
            if kind == "dashboard":
                return name
        return ""

    def again(self, attempt: int) -> Request:
        """Return the same request as another attempt."""
        request = Request(
            self.operation,
            self.deadline,
            self.section,
            self.cache,
            self.tags,
            attempt,
            self.min_fresh,
        )
        request.key = self.key
        return request

    def __repr__(self) -> str:
        return f"Request({self.operation} for {self.section!r})"


class Response:
    """A good answer of an upstream.

    Attributes:
        value: the decoded JSON payload; callers share it, so it must not be modified.
        status: the HTTP status, a success.
        headers: header fields of the answer, with lower-case names.
        body: the validated payload, serialised again: compact, without duplicate keys. Empty where
            the answer had none, and where the value was computed from others.
        provenance: where it came from, and how good it still is.
    """

    __slots__ = ("body", "headers", "provenance", "status", "value")

    def __init__(
        self,
        value: Any,
        status: int = 200,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes = b"",
        provenance: Provenance = FETCHED,
    ) -> None:
        self.value = value
        self.status = status
        self.headers = headers
        self.body = body
        self.provenance = provenance

    def marked(self, cache: str) -> Response:
        """Return the same answer with another cache state."""
        return self.with_provenance(self.provenance.but(cache=cache))

    def with_provenance(self, provenance: Provenance) -> Response:
        """Return the same answer with another provenance."""
        return Response(self.value, self.status, self.headers, self.body, provenance)

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


Call = Callable[[Request], Awaitable[Response]]
"""Calls an upstream; the only errors it raises deliberately are `gateway.errors.CallError`."""

Layer = Callable[[Call], Call]
"""Wraps a Call in a Call."""


def stack(call: Call, *layers: Layer | None) -> Call:
    """Wrap `call` in `layers`, outermost first; a disabled layer is `None` and costs nothing."""
    for layer in reversed(layers):
        if layer is not None:
            call = layer(call)
    return call
