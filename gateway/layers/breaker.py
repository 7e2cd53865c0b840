"""Circuit breaker: stops calling an upstream for a while when too many calls to it failed.

The states are those of Nygard, "Release It!": `closed` (calls pass and are counted), `open` (calls
are refused), `half_open` (a few probes pass and decide). The defaults are Hystrix's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gateway.errors import BreakerOpen, ErrorCode, Failed
from gateway.events import BreakerChange, Rejection, cause_of
from gateway.layers.passage import Gate
from gateway.values.base import Policy
from gateway.values.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.call import Response
    from gateway.errors import CallError
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

__all__ = ["Breaker", "BreakerPolicy", "breaker"]

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
_STATES = (CLOSED, HALF_OPEN, OPEN)  # as numbers, for metrics

_BUCKETS = 10
_LONGEST = 8  # times `open_for`, while probes keep failing
_JITTER = 0.2


class BreakerPolicy(Policy):
    """When calls to an upstream are stopped, and for how long."""

    failure_rate: float = Field(default=0.5, gt=0, le=1)
    """Share of failed calls at which the breaker opens."""

    minimum: int = Field(default=20, ge=1)
    """Minimum calls in the window before the rate counts."""

    window: Positive = Field(default="10s", validate_default=True)
    """Length of the window in which calls are counted."""

    open_for: Positive = Field(default="5s", validate_default=True)
    """How long calls are refused, plus or minus a fifth; up to eight times as long while probes
    fail."""

    probes: int = Field(default=3, ge=1)
    """Calls that pass after that time; the breaker closes when all of them succeed."""


class Breaker:
    """The state machine, without the calls.

    Attributes:
        state: `closed`, `open` or `half_open`.
        epoch: counts the state changes. A result counts only in the epoch that admitted its call:
            a call sent before the breaker opened says nothing about the upstream afterwards.
        open_for: seconds for which it refuses calls since it last opened.
    """

    __slots__ = (
        "_bad", "_bucket_ends", "_buckets", "_failed_probes", "_good", "_policy", "_probing",
        "_proven", "_random", "_reopens_at", "epoch", "open_for", "state",
    )  # fmt: skip

    def __init__(self, policy: BreakerPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._reopens_at = 0.0
        self.open_for = 0.0
        self._failed_probes = 0
        self.epoch = -1
        self._become(CLOSED)

    def admit(self, now: float) -> bool:
        """Return whether a call may pass; in `half_open` it is a probe and must be ended."""
        if self.state == CLOSED:
            return True
        if self.state == OPEN:
            if now < self._reopens_at:
                return False
            self._become(HALF_OPEN)
        if self._probing + self._proven >= self._policy.probes:
            return False
        self._probing += 1
        return True

    def retry_after(self, now: float) -> float:
        """Return the seconds after which a caller may try again."""
        return self._reopens_at - now if self.state == OPEN else 1.0

    def succeed(self, epoch: int, now: float) -> None:
        """End a call that was admitted in `epoch` with a good answer."""
        if epoch != self.epoch:
            return
        if self.state == CLOSED:
            if now >= self._bucket_ends:
                self._turn(now)
            self._good += 1
            return
        self._probing -= 1
        self._proven += 1
        if self._proven >= self._policy.probes:
            self._failed_probes = 0
            self._become(CLOSED)

    def fail(self, epoch: int, now: float) -> None:
        """End a call that was admitted in `epoch` with a failure."""
        if epoch != self.epoch:
            return
        if self.state == CLOSED:
            if now >= self._bucket_ends:
                self._turn(now)
            self._bad += 1
            if not self._too_many():
                return
        longer = min(2**self._failed_probes, _LONGEST)
        self._failed_probes += 1
        # Jitter, so that replicas that opened together do not probe together.
        jitter = 1 - _JITTER + 2 * _JITTER * self._random()
        self.open_for = self._policy.open_for * longer * jitter
        self._reopens_at = now + self.open_for
        self._become(OPEN)

    def forget(self, epoch: int) -> None:
        """End a call that was admitted in `epoch` without a result."""
        if epoch == self.epoch and self.state == HALF_OPEN:
            self._probing -= 1

    def _become(self, state: str) -> None:
        self.state = state
        self.epoch += 1
        self._good = self._bad = self._probing = self._proven = 0
        self._buckets: list[tuple[float, int, int]] = []  # (end, good, bad), oldest first
        self._bucket_ends = float("-inf")

    def _turn(self, now: float) -> None:
        """Start a new bucket and drop those that have left the window."""
        if self._good or self._bad:
            self._buckets.append((self._bucket_ends, self._good, self._bad))
        oldest = now - self._policy.window
        self._buckets = [bucket for bucket in self._buckets if bucket[0] > oldest]
        self._good = self._bad = 0
        self._bucket_ends = now + self._policy.window / _BUCKETS

    def _too_many(self) -> bool:
        bad = self._bad + sum(bucket[2] for bucket in self._buckets)
        calls = bad + self._good + sum(bucket[1] for bucket in self._buckets)
        return calls >= self._policy.minimum and bad >= self._policy.failure_rate * calls


def breaker(policy: BreakerPolicy, context: LayerContext) -> Gate:
    """Return a layer that raises `BreakerOpen` after too many calls failed recently.

    Only a `Failed` that is the upstream's fault counts as a failure; a 404 counts as a success. A
    call that was cancelled, or refused by an inner layer, does not count.

    Args:
        policy: when to open and for how long.
        context: its events receive rejections and state changes.
    """
    return _BreakerGate(Breaker(policy, context.random), context)


class _BreakerGate(Gate):
    """Asks the state machine, reports to it, and emits its events."""

    __slots__ = ("_machine",)

    def __init__(self, machine: Breaker, context: LayerContext) -> None:
        super().__init__(context)
        self._machine = machine
        context.meter.gauges["breaker_state"] = lambda: _STATES.index(machine.state)

    def admit(self, passage: Passage) -> None:
        machine = self._machine
        if machine.state != CLOSED:
            self._probe(passage.request.section)
        passage.epoch = machine.epoch

    def succeeded(self, passage: Passage, response: Response) -> None:
        before = self._machine.state
        self._machine.succeed(passage.epoch, self.clock())
        if before != CLOSED:
            self._emit(before, passage.request.section)

    def failed(self, passage: Passage, error: CallError) -> None:
        machine = self._machine
        if not isinstance(error, Failed):
            machine.forget(passage.epoch)
            return
        before = machine.state
        (machine.fail if error.fault else machine.succeed)(passage.epoch, self.clock())
        self._emit(before, passage.request.section, error)

    def abandoned(self, passage: Passage, bug: BaseException | None) -> None:
        self._machine.forget(passage.epoch)

    def _probe(self, section: str) -> None:
        """Admit a call to a breaker that is not closed, or raise `BreakerOpen`."""
        machine, now = self._machine, self.clock()
        before = machine.state
        admitted = machine.admit(now)
        self._emit(before, section)
        if admitted:
            return
        if self.events.wants(Rejection):
            code = ErrorCode.BREAKER_OPEN
            self.events.emit(Rejection(self.upstream, section, code, "breaker_open"))
        raise BreakerOpen(
            "the upstream failed too often recently",
            upstream=self.upstream,
            retry_after=machine.retry_after(now),
        )

    def _emit(self, before: str, section: str, error: Failed | None = None) -> None:
        """Emit a state change, if there was one since `before`; `error` is its cause."""
        after = self._machine.state
        if before == after or not self.events.wants(BreakerChange):
            return
        if error is None or after != OPEN:
            change = BreakerChange(self.upstream, section, before, after)
        else:
            seconds = self._machine.open_for
            change = BreakerChange(
                self.upstream, section, before, after, seconds, **cause_of(error)
            )
        self.events.emit(change)
