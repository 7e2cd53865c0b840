"""The outcome of a section: its value, its state, and the reason for it.

Provenance is plain data here; `gateway.web` writes it into header fields.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import DependencyFailed
from gateway.values.restrictions import UNRESTRICTED

if TYPE_CHECKING:
    from gateway.errors import CallError
    from gateway.values.restrictions import Restriction

__all__ = ["Fault", "LargeOutcome", "Outcome", "State", "dependency_failed"]


class State(StrEnum):
    """How good a section's value is; part of the public face."""

    OK = "ok"
    STALE = "stale"
    FALLBACK = "fallback"
    SKIPPED = "skipped"
    FAILED = "failed"


class Fault(NamedTuple):
    """An error and, in a list, the element that failed (its key or its index)."""

    error: CallError
    element: str | int | None = None


class Outcome:
    """The outcome of a section.

    Attributes:
        state: how good the value is.
        value: what references see, before `select`.
        data: what the answer shows, after `select`.
        written: `data` as JSON if it is already encoded, else empty.
        faults: why it is not plainly `ok`, one for each element that failed.
        as_of: POSIX seconds at which the upstream sent the value, if it came from the cache.
        fresh_until: POSIX seconds up to which it is fresh; `None` if it is not cached.
        reason: the error because of which a stale value is served.
        cache: what the cache did, for `Cache-Status`.
        restrictions: what the upstreams forbid caches and clients to do with their answers.
        elapsed: seconds from the section's start to its outcome.
    """

    __slots__ = ("as_of", "cache", "data", "elapsed", "faults", "fresh_until", "reason",
                 "restrictions", "state", "value", "written")  # fmt: skip

    def __init__(
        self,
        state: State,
        value: Any = None,
        data: Any = None,
        *,
        faults: tuple[Fault, ...] = (),
        as_of: float | None = None,
        fresh_until: float | None = None,
        reason: Exception | None = None,
        cache: str = "",
        written: bytes = b"",
        restrictions: Restriction = UNRESTRICTED,
    ) -> None:
        self.state = state
        self.value = value
        self.data = data
        self.faults = faults
        self.as_of = as_of
        self.fresh_until = fresh_until
        self.reason = reason
        self.cache = cache
        self.written = written
        self.restrictions = restrictions
        self.elapsed = 0.0

    @classmethod
    def failed(cls, error: CallError, element: str | int | None = None) -> Outcome:
        """Return the outcome of a section that failed with `error`."""
        return cls(State.FAILED, faults=(Fault(error, element),))

    def replaced(self, fallback: Any) -> Outcome:
        """Return the outcome in which `fallback` replaces the value of this failed one."""
        return Outcome(State.FALLBACK, fallback, fallback, faults=self.faults)

    @property
    def shed(self) -> bool:
        """Whether it failed only because of the gateway's own limits."""
        return self.state is State.FAILED and all(fault.error.shed for fault in self.faults)

    @property
    def usable(self) -> bool:
        """Whether other sections can refer to the value."""
        return self.state is not State.FAILED and self.state is not State.SKIPPED

    def __repr__(self) -> str:
        return f"Outcome({self.state}, {self.data!r})"


class LargeOutcome(Outcome):
    """A good outcome that is too large to evaluate expressions on it on the event loop.

    Attributes:
        seen: what references see, as JSON.
    """

    __slots__ = ("seen",)

    seen: bytes

    @classmethod
    def of(cls, outcome: Outcome, seen: bytes) -> LargeOutcome:
        """Return `outcome` with the value that references see."""
        large = cls(outcome.state)
        for name in Outcome.__slots__:
            setattr(large, name, getattr(outcome, name))
        large.seen = seen
        return large


def dependency_failed(name: str, outcome: Outcome) -> DependencyFailed:
    """Return the error of a section that refers to the section `name`, which failed."""
    return DependencyFailed(
        f"section {name}, which this section refers to, failed",
        retryable=any(fault.error.retryable for fault in outcome.faults),
        shed=outcome.shed,
    )
