"""Breaker: leave an upstream alone for a while when too many of its calls have failed.

The states are those of Nygard, "Release It!": `closed` (calls pass and are counted), `open` (calls
are refused), `half_open` (a few probes pass and decide). The figures are Hystrix's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from gateway.errors import BreakerOpen, ErrorCode, Failed, UpstreamStatus
from gateway.events import BreakerChange, Rejection
from gateway.policy import Policy
from gateway.units import Positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.call import Call, Clock, Layer, Request, Response
    from gateway.events import Events

__all__ = ["Breaker", "BreakerPolicy", "breaker"]

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"

_BUCKETS = 10
_LONGEST = 8
_SERVER_ERROR = 500


class BreakerPolicy(Policy):
    """When an upstream is left alone, and for how long."""

    failure_rate: float = Field(default=0.5, gt=0, le=1)
    """Share of failed calls at which the breaker opens."""

    minimum: int = Field(default=20, ge=1)
    """Calls in the window below which the rate says nothing."""

    window: Positive = Field(default="10s", validate_default=True)
    """How far back calls are counted."""

    open_for: Positive = Field(default="5s", validate_default=True)
    """How long calls are refused, give or take a fifth; up to eightfold while probes keep failing."""

    probes: int = Field(default=3, ge=1)
    """Calls that are let through at once after that time, and good answers it takes to close."""


def is_fault(error: Failed) -> bool:
    """Return whether `error` speaks against the upstream rather than against the request.

    A 404 is a good answer to a bad question. 5xx is the upstream's own verdict on itself (RFC 9110
    section 15.6); of the rest only what is worth a retry (408, 429) counts.
    """
    if isinstance(error, UpstreamStatus):
        return error.retryable or (error.status or _SERVER_ERROR) >= _SERVER_ERROR
    return True


class Breaker:
    """The state machine, without the calls."""

    __slots__ = (
        "_bad", "_bucket_ends", "_buckets", "_good", "_opened", "_policy", "_probing", "_proven",
        "_random", "_width", "epoch", "reopens_at", "state",
    )  # fmt: skip

    def __init__(self, policy: BreakerPolicy, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self._width = policy.window / _BUCKETS
        self._opened = 0
        self.reopens_at = 0.0
        self.epoch = 0
        self.state = CLOSED
        self._clear()

    def _clear(self) -> None:
        self._buckets: list[tuple[float, int, int]] = []  # (start, good, bad), oldest first
        self._bucket_ends = 0.0
        self._good = self._bad = 0
        self._probing = self._proven = 0

    def admit(self, now: float) -> bool:
        """Return whether a call may pass; in `half_open` it takes a probe, to be given back."""
        if self.state == CLOSED:
            return True
        if self.state == OPEN:
            if now < self.reopens_at:
                return False
            self._become(HALF_OPEN)
        if self._probing + self._proven >= self._policy.probes:
            return False
        self._probing += 1
        return True

    def succeed(self, epoch: int, now: float) -> None:
        """Count a good answer to a call that was admitted in `epoch`."""
        if epoch != self.epoch:
            return
        if self.state == CLOSED:
            if now >= self._bucket_ends:
                self._rotate(now)
            self._good += 1
            return
        self._probing -= 1
        self._proven += 1
        if self._proven >= self._policy.probes:
            self._opened = 0
            self._become(CLOSED)

    def fail(self, epoch: int, now: float) -> None:
        """Count a failed call that was admitted in `epoch`."""
        if epoch != self.epoch:
            return
        if self.state == CLOSED:
            if now >= self._bucket_ends:
                self._rotate(now)
            self._bad += 1
            if not self._too_many():
                return
        self._open(now)

    def forget(self, epoch: int) -> None:
        """Give back the probe of a call that ended without a verdict."""
        if epoch == self.epoch and self.state == HALF_OPEN:
            self._probing -= 1

    def _rotate(self, now: float) -> None:
        if self._good or self._bad:
            self._buckets.append((self._bucket_ends - self._width, self._good, self._bad))
        self._good = self._bad = 0
        self._bucket_ends = now + self._width
        oldest = now - self._policy.window
        self._buckets = [bucket for bucket in self._buckets if bucket[0] > oldest]

    def _too_many(self) -> bool:
        good = self._good + sum(bucket[1] for bucket in self._buckets)
        bad = self._bad + sum(bucket[2] for bucket in self._buckets)
        calls = good + bad
        return calls >= self._policy.minimum and bad >= self._policy.failure_rate * calls

    def _open(self, now: float) -> None:
        # Jitter, so that replicas and upstreams that opened together do not probe together.
        longer = min(2**self._opened, _LONGEST)
        self.reopens_at = now + self._policy.open_for * longer * (0.8 + 0.4 * self._random())
        self._opened += 1
        self._become(OPEN)

    def _become(self, state: str) -> None:
        self.state = state
        self.epoch += 1  # verdicts on calls from before no longer count
        self._clear()


def breaker(
    policy: BreakerPolicy,
    *,
    upstream: str,
    events: Events,
    clock: Clock,
    random: Callable[[], float],
) -> Layer:
    """Return a layer that raises `BreakerOpen` while too many calls have failed of late.

    Only `Failed` counts. A call that was cancelled or refused further in is no verdict.

    Args:
        policy: when to open and for how long.
        upstream: name of the upstream, for events and errors.
        events: where refusals and changes of state are told.
        clock: monotonic seconds.
        random: uniform in [0, 1).
    """
    machine = Breaker(policy, random)

    def tell(before: str, section: str) -> None:
        if before != machine.state and events:
            events.emit(BreakerChange(upstream, section, before, machine.state))

    def refuse(section: str, now: float) -> BreakerOpen:
        if events:
            events.emit(Rejection(upstream, section, ErrorCode.BREAKER_OPEN, "breaker_open"))
        return BreakerOpen(
            "the upstream has failed too often of late",
            upstream=upstream,
            retry_after=max(machine.reopens_at - now, 0.0),
        )

    def layer(call: Call) -> Call:
        async def guarded(request: Request) -> Response:
            if machine.state != CLOSED:
                before, now = machine.state, clock()
                admitted = machine.admit(now)
                tell(before, request.section)
                if not admitted:
                    raise refuse(request.section, now)
            epoch = machine.epoch
            try:
                response = await call(request)
            except Failed as error:
                before = machine.state
                if is_fault(error):
                    machine.fail(epoch, clock())
                else:
                    machine.succeed(epoch, clock())
                tell(before, request.section)
                raise
            except BaseException:
                machine.forget(epoch)
                raise
            before = machine.state
            machine.succeed(epoch, clock())
            if before != CLOSED:
                tell(before, request.section)
            return response

        return guarded

    return layer
