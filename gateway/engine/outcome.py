"""The outcome of a section: its value, its state, and where the value came from."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import DependencyFailed
from gateway.values.provenance import FETCHED

if TYPE_CHECKING:
    from gateway.errors import CallError
    from gateway.values.provenance import Provenance

__all__ = ["Fault", "LargeOutcome", "Outcome", "State", "dependency_failed"]


class State(StrEnum):
    """How good a section's value is; part of the public face."""

    OK = "ok"
    STALE = "stale"
    FALLBACK = "fallback"
    SKIPPED = "skipped"
    FAILED = "failed"


# An attribute of an enumeration takes three times as long as a function call.
_, _, _FALLBACK, _SKIPPED, _FAILED = State


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
        provenance: where the value came from; `gateway.web` writes it into header fields.
        elapsed: seconds from the section's start to its outcome.
    """

    __slots__ = ("data", "elapsed", "faults", "provenance", "state", "value", "written")

    def __init__(
        self,
        state: State,
        value: Any = None,
        data: Any = None,
        written: bytes = b"",
        provenance: Provenance = FETCHED,
        faults: tuple[Fault, ...] = (),
    ) -> None:
        self.state = state
        self.value = value
        self.data = data
        self.faults = faults
        self.written = written
        self.provenance = provenance
        self.elapsed = 0.0

    @classmethod
    def failed(cls, error: CallError, element: str | int | None = None) -> Outcome:
        """Return the outcome of a section that failed with `error`."""
        return cls(_FAILED, faults=(Fault(error, element),))

    def replaced(self, fallback: Any) -> Outcome:
        """Return the outcome in which `fallback` replaces the value of this failed one."""
        return Outcome(_FALLBACK, fallback, fallback, faults=self.faults)

    @property
    def shed(self) -> bool:
        """Whether it failed only because of the gateway's own limits."""
        return self.state is _FAILED and all(fault.error.shed for fault in self.faults)

    @property
    def usable(self) -> bool:
        """Whether other sections can refer to the value."""
        return self.state is not _FAILED and self.state is not _SKIPPED

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
