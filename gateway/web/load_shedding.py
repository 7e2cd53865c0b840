"""Load shedding: decides at the door which requests for a dashboard are begun, and when.

One event loop on one core does all the work, so its queue is what grows under overload. A request
that is begun costs a hundred times as much as one that waits, and one that is begun and not
finished in time is wasted. Therefore:

- **Pace.** One turn of the loop begins only as many requests as keep the turn short; the rest wait
  unstarted. Requests in flight come first: each turn serves everything that has arrived for them.
  The number follows the measured length of the turns (the gradient of Netflix's
  concurrency-limits and of Envoy's adaptive concurrency filter, with a target as CoDel has one). It
  limits starts, not requests in flight, so slow upstreams do not lower it; and turns are measured
  in CPU time, because a process that shares its core does not get more of it by beginning less.
- **Queue.** Waiting requests are served by adaptive LIFO, as in Facebook's "Fail at Scale", the
  dashboards in turns. A request that can no longer be answered within its deadline is never begun.
- **Refusals are work too.** What is too late is refused at a pace of its own, a fraction of that of
  the starts, so no number of refusals takes the time of good answers.
- **Limit.** An answer none of whose sections arrived, because an upstream's own limits were full,
  was begun in vain. It lowers the limit on requests in flight for this dashboard (AIMD, as
  collaborative admission control in WeChat's DAGOR), and each good answer raises it a little.
"""

from __future__ import annotations

import time
from asyncio import get_running_loop
from enum import StrEnum
from math import inf, sqrt
from typing import TYPE_CHECKING

from gateway.aio.adaptive_lifo import AdaptiveLifo
from gateway.engine.outcome import State

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Sequence

    from gateway.call import Clock
    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Plan

__all__ = ["Admission", "Door", "Refusal", "Waiter", "in_vain"]

TARGET = 0.001
"""Seconds of CPU time that a turn of the loop may take under load."""

_WATCHED = 32
"""Turns after a long one whose CPU time is measured too; asking for it costs a system call."""

_FIRST = 32.0  # starts in a turn until something is measured
_MOST = 256.0
_STEEPEST = 0.5  # one turn never reduces the pace by more than half
_GROWTH = 1.25  # per turn that was short and began as many as it could
_STARTS_PER_REFUSAL = 4
_BACKOFF = 0.9  # factor after an answer that was begun in vain
_RISE = 0.5  # growth per good answer, divided by the root of the limit
_LEARNING = 0.1  # weight of the latest request in the usual duration of one


class Refusal(StrEnum):
    """Why a request was refused."""

    IN_FLIGHT = "in_flight"
    """`GATEWAY_MAX_IN_FLIGHT` requests were in flight or waiting."""
    LATE = "late"
    """Too little of its deadline was left when its turn came."""
    SHED = "shed"
    """It was begun, but no section arrived because of the limits of the upstreams."""


def in_vain(plan: Plan, outcomes: Sequence[Outcome | None]) -> bool:
    """Return whether no section arrived, and only because of the gateway's own limits.

    These are a full queue or too long a wait in it (`limiter_full`), and a deadline that left a
    waiting call too little time (`deadline_exceeded`). A breaker or a cool-down is the upstream's
    doing. A stale value or a fallback has arrived; a skipped section does not count.
    """
    landed = list(zip(plan.sections, outcomes, strict=True))
    failed = [outcome for _, outcome in landed if outcome and outcome.state is State.FAILED]
    arrived = any(outcome and outcome.usable for section, outcome in landed if not section.hidden)
    return bool(failed) and not arrived and all(outcome.shed for outcome in failed)


class Waiter:
    """A request that waits to be begun.

    Attributes:
        ends: monotonic seconds at which it must be answered.
        queued: it waits.
        admitted: it was admitted, and `begun` has not been called yet.
    """

    __slots__ = ("admitted", "ends", "queued")

    def __init__(self) -> None:
        self.ends = 0.0
        self.queued = self.admitted = False

    def begun(self) -> None:
        """Go on; call `Door.leave` at the end."""
        raise NotImplementedError

    def refused(self) -> None:
        """Give up: it can no longer be answered in time."""
        raise NotImplementedError


class Admission:
    """Admits the requests for all dashboards of one process.

    Args:
        maximum: most requests in flight, including those that wait.
        clock: monotonic seconds.
        cpu: seconds of CPU time of this thread.

    Attributes:
        maximum: most requests in flight, including those that wait.
        in_flight: requests that were begun and have not ended.
        waiting: requests that wait to be begun.
        admitted: requests begun since the start.
        refused: requests refused since the start, by reason.
        lag: seconds from when a callback was last due until it ran.
        pace: requests that one turn of the event loop begins at most, not rounded.
        left: requests that this turn may still begin.
        window_ends: when `left` is counted anew, if no turn has done so before.
    """

    __slots__ = (
        "_asked", "_cpu", "_doors", "_loop", "_may_refuse", "_pending", "_spent", "_timer",
        "_watched", "admitted", "clock", "in_flight", "lag", "left", "maximum", "pace", "refused",
        "waiting", "window_ends",
    )  # fmt: skip

    def __init__(
        self, maximum: int, clock: Clock = time.monotonic, cpu: Clock = time.thread_time
    ) -> None:
        self.maximum = maximum
        self.clock = clock
        self._cpu = cpu
        self.in_flight = self.waiting = self.admitted = self.left = 0
        self.refused = dict.fromkeys(Refusal, 0)
        self.lag = 0.0
        self.pace = _FIRST
        self.window_ends = -inf
        self._doors: dict[Door, None] = {}  # those where somebody waits, in turns
        self._loop: AbstractEventLoop | None = None
        self._pending = False  # a turn is measured
        self._asked = self._spent = 0.0  # when its turn began, by both clocks
        self._watched = 0  # turns whose CPU time is still to be measured
        self._may_refuse = 0.0
        self._timer: TimerHandle | None = None

    @property
    def limit(self) -> int:
        """The requests in flight that it admits now."""
        return self.in_flight + self.left if self.waiting else self.maximum

    def door(self, deadline: float) -> Door:
        """Return the door of one dashboard, whose requests must be answered in `deadline`."""
        return Door(self, deadline)

    def open_window(self, now: float) -> None:
        """Allow a turn's worth of starts, unless the last turn that was measured is not over."""
        self._follow_loop()
        if not self._pending:
            self.left = int(self.pace)
            self.window_ends = now + TARGET
            self.measure(now)

    def measure(self, now: float) -> None:
        """Measure the turn of the loop that begins now; call `_turn` when it is over."""
        if not self._pending and self._loop is not None:
            self._pending = True
            self._asked = now
            if self._watched:
                self._spent = self._cpu()
            self._loop.call_soon(self._turn)

    def enqueue(self, door: Door, now: float) -> None:
        """Serve `door`, where a request has begun to wait."""
        self._follow_loop()
        self.waiting += 1
        self._doors.setdefault(door)
        self.measure(now)

    def _follow_loop(self) -> None:
        loop = get_running_loop()
        if loop is not self._loop:  # what waited in the previous loop, now closed, never goes on
            self._loop = loop
            self._pending = False
            self._timer = None
            for door in self._doors:
                door.forget()
            self._doors.clear()
            self.waiting = 0

    def _turn(self) -> None:
        """Judge the turn that is over, and begin what the next one can take."""
        now = self.clock()
        self._pending = False
        self.lag = now - self._asked
        took = self._cpu_time(self.lag)
        if took > TARGET:
            self.pace = max(1.0, self.pace * max(_STEEPEST, TARGET / took))
        elif self.left <= 0:
            self.pace = min(_MOST, self.pace * _GROWTH)
        self.left = int(self.pace)
        self.window_ends = now + TARGET
        if self._doors:
            self._hand_out(now)

    def _cpu_time(self, took: float) -> float:
        """Return the CPU time of a turn that `took` so long, which is no more than that.

        The first long turn is taken to be short: it may have waited for its core.
        """
        watched = self._watched
        if took <= TARGET:
            if watched:
                self._watched -= 1
            return took
        self._watched = _WATCHED
        return self._cpu() - self._spent if watched else 0.0

    def _hand_out(self, now: float) -> None:
        doors = self._doors
        stuck: dict[Door, None] = {}
        while doors and self.left > 0:
            door = next(iter(doors))
            del doors[door]
            if not door.begin_next(now):
                stuck[door] = None
            elif door.waiting:
                doors[door] = None  # after the others
        doors.update(stuck)
        begun = int(self.pace) - self.left
        self._may_refuse += begun / _STARTS_PER_REFUSAL if begun else self.pace
        for door in list(doors):
            self._may_refuse -= door.refuse_late(now, int(self._may_refuse))
            if not door.waiting:
                del doors[door]
        self._may_refuse = min(self._may_refuse, self.pace)
        if any(door.may_go_on(now) for door in doors):
            self.measure(now)
        elif doors and self._timer is None and self._loop is not None:
            wait = min(door.next_late() for door in doors) - now
            self._timer = self._loop.call_later(max(wait, TARGET), self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.measure(self.clock())


class Door:
    """Admits the requests for one dashboard.

    Args:
        admission: the admission of the process.
        deadline: seconds in which a request must be answered.

    Attributes:
        in_flight: requests that were begun and have not ended.
        limit: most requests in flight, not rounded; infinite until answers are begun in vain.
        usual: seconds that a request usually takes once it is begun.
    """

    __slots__ = (
        "_admission", "_deadline", "_lowered", "_queue", "in_flight", "limit", "usual",
    )  # fmt: skip

    def __init__(self, admission: Admission, deadline: float) -> None:
        self._admission = admission
        self._deadline = deadline
        self._queue: AdaptiveLifo[Waiter] = AdaptiveLifo()
        self._lowered = -inf
        self.in_flight = 0
        self.limit = inf
        self.usual = 0.0

    @property
    def waiting(self) -> int:
        """The number of requests that wait to be begun."""
        return len(self._queue)

    def enter(self, now: float) -> bool:
        """Begin a request that arrived `now` and return true, or return false: then `park` it.

        Call `leave` when it has ended.
        """
        admission = self._admission
        if now >= admission.window_ends:
            admission.open_window(now)
        if (
            admission.left > 0
            and self.in_flight < self.limit
            and not self._queue
            and admission.in_flight + admission.waiting < admission.maximum
        ):
            self._begin()
            return True
        return False

    def park(self, waiter: Waiter, arrived: float) -> bool:
        """Let a request that could not `enter` wait; return false if too many do already.

        Args:
            waiter: the request.
            arrived: when it arrived; its deadline counts from then.
        """
        admission = self._admission
        if admission.in_flight + admission.waiting >= admission.maximum:
            admission.refused[Refusal.IN_FLIGHT] += 1
            return False
        waiter.ends = arrived + self._deadline
        waiter.queued = True
        admission.enqueue(self, arrived)
        self._queue.append(waiter, arrived, waiter.ends)
        return True

    def abandon(self, waiter: Waiter) -> None:
        """Forget a request that no longer wants to be begun."""
        if waiter.queued:
            self._remove(waiter)
        elif waiter.admitted:  # and not begun yet
            waiter.admitted = False
            self._end()

    def leave(self, began: float, *, shed: bool = False) -> None:
        """End a request.

        Args:
            began: when it was begun.
            shed: no section of its answer arrived because of the limits of the upstreams.
        """
        if shed:
            self._admission.refused[Refusal.SHED] += 1
            if began >= self._lowered:  # once for all that were in flight together
                self._lowered = self._admission.clock()
                self.limit = max(1.0, self.in_flight * _BACKOFF)
        else:
            self.usual += (self._admission.clock() - began - self.usual) * _LEARNING
            if self.limit < self._admission.maximum:
                self.limit += _RISE / sqrt(self.limit)
        self._end()

    # For `Admission`.

    def begin_next(self, now: float) -> bool:
        """Begin the next request that waits; return false if none can be begun."""
        while self._queue and self.in_flight < self.limit:
            waiter = self._queue.take(now)
            if waiter.ends - self._needed < now:
                # Even the newest is too late, so all are. It goes back to be refused in its turn.
                self._queue.append(waiter, now, now)
                return False
            self._taken(waiter)
            waiter.admitted = True
            self._begin()
            # In the turn that is measured next.
            get_running_loop().call_soon(self._go_on, waiter)
            return True
        return False

    def refuse_late(self, now: float, most: int) -> int:
        """Refuse requests that can no longer be answered in time; return how many."""
        refused = 0
        needed = self._needed
        while refused < most and self._queue:
            waiter = self._queue.oldest()
            if waiter.ends - needed >= now:
                break
            self._remove(waiter)
            get_running_loop().call_soon(waiter.refused)
            self._admission.refused[Refusal.LATE] += 1
            refused += 1
        return refused

    def may_go_on(self, now: float) -> bool:
        """Return whether the next turn can begin or refuse a request."""
        return self.in_flight < self.limit or self.next_late() < now

    def next_late(self) -> float:
        """Return when the oldest request that waits can no longer be answered in time."""
        return self._queue.oldest().ends - self._needed

    def forget(self) -> None:
        """Forget what waits, because its event loop is closed."""
        self._queue = AdaptiveLifo()

    @property
    def _needed(self) -> float:
        # If everything takes as long as the deadline, requests that are begun at once still may.
        return min(self.usual, self._deadline / 2)

    @staticmethod
    def _go_on(waiter: Waiter) -> None:
        if waiter.admitted:  # not abandoned in the meantime
            waiter.admitted = False
            waiter.begun()

    def _begin(self) -> None:
        admission = self._admission
        admission.left -= 1
        admission.in_flight += 1
        admission.admitted += 1
        self.in_flight += 1

    def _end(self) -> None:
        admission = self._admission
        admission.in_flight -= 1
        self.in_flight -= 1
        if self._queue:
            admission.measure(admission.clock())

    def _remove(self, waiter: Waiter) -> None:
        self._queue.discard(waiter)
        self._taken(waiter)

    def _taken(self, waiter: Waiter) -> None:
        waiter.queued = False
        self._admission.waiting -= 1
