"""What a section came to: its value, its state, and why.

Provenance is data here; how it is written into header fields is decided in `gateway.web`.
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
    """An error and, in a list, the element it struck (its key, or its index)."""

    error: CallError
    element: str | int | None = None


class Outcome:
    """What a section came to.

    Attributes:
        state: how good the value is.
        value: what references see, before `select`.
        data: what the answer shows, after `select`.
        written: the same as JSON where it is there already, else empty.
        faults: why it is not simply `ok`, one for each element that failed.
        as_of: POSIX seconds at which the upstream said it, where it is a kept value.
        fresh_until: POSIX seconds up to which it is fresh, `None` where nothing is kept.
        reason: why a stale value is served where an error was the cause.
        cache: what the cache did, for `Cache-Status`.
        restrictions: what the upstreams forbid others to do with what it was made of.
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
        """Return the outcome of a section that has nothing to show for `error`."""
        return cls(State.FAILED, faults=(Fault(error, element),))

    def replaced(self, fallback: Any) -> Outcome:
        """Return the outcome in which `fallback` stands in for this failed one."""
        return Outcome(State.FALLBACK, fallback, fallback, faults=self.faults)

    @property
    def usable(self) -> bool:
        """Whether other sections can refer to the value."""
        return self.state is not State.FAILED and self.state is not State.SKIPPED

    def __repr__(self) -> str:
        return f"Outcome({self.state}, {self.data!r})"


class LargeOutcome(Outcome):
    """A good outcome that is too large for an expression to look into it on the event loop.

    Attributes:
        seen: what references see, as JSON.
    """

    __slots__ = ("seen",)

    seen: bytes

    @classmethod
    def of(cls, outcome: Outcome, seen: bytes) -> LargeOutcome:
        """Return `outcome` with what references see of it."""
        large = cls(outcome.state)
        for name in Outcome.__slots__:
            setattr(large, name, getattr(outcome, name))
        large.seen = seen
        return large


def dependency_failed(name: str, outcome: Outcome) -> DependencyFailed:
    """Return the error of a section that refers to the section `name`, which failed."""
    retryable = any(fault.error.retryable for fault in outcome.faults)
    return DependencyFailed(f"{name}, which it refers to, failed", retryable=retryable)
