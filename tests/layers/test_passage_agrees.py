"""Gates driven by passages do exactly what coroutine layers do.

The same scenario, drawn at random, runs on virtual time once through the gates and once through the
coroutines of `reference`: every outcome, every event, every request that is sent, each with its
time, and the counters at the end must be the same.

Accepted differences:

- The `Rejection` of a deadline that passes comes before the `Attempt` that it cancels, and with
  coroutines after it: the gate names the error before it ends what is in flight. Both happen at the
  same moment, unless the upstream takes time to end: then these rejections are not compared. With
  coroutines they come once it has ended, and not at all if the caller has cancelled by then.
- At one moment, events of different calls may come in another order: a permit that is released
  reaches the next call one turn of the event loop later, and the one before may by then have passed
  another number of layers. The order of one call's events is compared exactly.
- The text of a timeout says whether the attempt had its whole time; with coroutines that includes
  the time that it takes to end. `test_timeout` covers the texts.
- A task that is ending is not cancelled again when an outer gate interrupts it, too; coroutines
  cancel it for each timer. The upstream of the scripts ends in its own time in both cases.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from gateway.aio.timers import Wheel
from gateway.call import Deadline, Request, Response, stack
from gateway.errors import (
    CallError,
    DeadlineExceeded,
    ErrorCode,
    UpstreamPayload,
    UpstreamStatus,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.events import Events, Rejection
from gateway.layers import gradient as gradient_module
from gateway.layers.breaker import Breaker, BreakerPolicy, breaker
from gateway.layers.budget import Budget, BudgetPolicy
from gateway.layers.concurrency import ConcurrencyPolicy, _AdaptiveGate, _FixedGate
from gateway.layers.cooldown import CoolDownPolicy, cooldown
from gateway.layers.deadline import deadline
from gateway.layers.gradient import Gradient
from gateway.layers.observe import observe
from gateway.layers.passage import startable
from gateway.layers.retry import RetryPolicy, retry
from gateway.layers.timeout import TimeoutPolicy, timeout
from gateway.upstreams.http.operation import HttpOperation
from tests.layers import reference
from tests.layers.fakes import context
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.call import Call, Layer
    from gateway.events import Event
    from gateway.layers.context import LayerContext
    from gateway.layers.passage import Passage

LIMIT = 3  # the first limit of an adaptive number of permits

FAILURES: dict[str, Callable[[], BaseException]] = {
    "404": lambda: UpstreamStatus("not found", status=404),
    "500": lambda: UpstreamStatus("broken", status=500, excerpt="oops"),
    "503": lambda: UpstreamStatus("busy", status=503),
    "503 later": lambda: UpstreamStatus("busy", status=503, retry_after=0.3),
    "429 much later": lambda: UpstreamStatus("slow down", status=429, retry_after=5.0),
    "payload": lambda: UpstreamPayload("not JSON", excerpt="<html>"),
    "unreachable": lambda: UpstreamUnreachable("no connection", cause="refused"),
    "timeout": lambda: UpstreamTimeout("no answer"),
    "refused": lambda: DeadlineExceeded("too little time was left to connect"),
    "bug": lambda: ValueError("a bug"),
}

HANG = 3600.0
LONGEST = 30 * HANG  # of a script: with one permit and no deadline its hanging calls take turns


@dataclass(frozen=True)
class Turn:
    """What the upstream does with one request: answer or fail after some seconds, or at once."""

    seconds: float
    failure: str | None


@dataclass(frozen=True)
class Caller:
    """One call: when it comes, what it has, and what happens to it."""

    at: float
    patience: float
    cancel_after: float | None
    extend_after: float | None
    safe: bool
    shares: bool  # its deadline with the call before it


@dataclass(frozen=True)
class Script:
    """A stack, what the upstream does, who calls, and the seed of all randomness."""

    bounded: bool
    retry: RetryPolicy | None
    breaker: BreakerPolicy | None
    cooldown: CoolDownPolicy | None
    concurrency: ConcurrencyPolicy | None
    observed: bool
    timeout: TimeoutPolicy | None
    turns: tuple[Turn, ...]
    callers: tuple[Caller, ...]
    lingers: bool  # a request that is cancelled takes a while to end
    seed: int


# Where two timers fire at the same moment, both orders are right. So every duration is odd: none is
# a multiple of a wheel's tick of 4 ms, and the moments at which calls arrive or are cancelled, and
# requests are answered, have a random part that no other moment has.
def odd(longest: float) -> st.SearchStrategy[float]:
    return st.integers(1, int(longest * 50)).map(lambda n: n * 0.02 + 0.0013)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(strategy, st.none())


POLICIES: dict[str, st.SearchStrategy[Any]] = {
    "bounded": st.sampled_from([True, True, False]),
    "retry": optional(
        st.builds(
            RetryPolicy,
            attempts=st.integers(2, 4),
            base=odd(0.2),
            cap=st.just(0.5),
            budget=st.builds(
                BudgetPolicy, ratio=st.sampled_from([0.0, 0.19, 1.0]), reserve=st.integers(0, 3)
            ),
        )
    ),
    "breaker": optional(
        st.builds(
            BreakerPolicy,
            failure_rate=st.sampled_from([0.2, 0.5, 1.0]),
            minimum=st.integers(1, 5),
            window=odd(3),
            open_for=odd(0.6),
            probes=st.integers(1, 3),
        )
    ),
    "cooldown": optional(st.builds(CoolDownPolicy, max=odd(0.6))),
    "concurrency": optional(
        st.builds(
            ConcurrencyPolicy,
            concurrency=st.one_of(st.integers(1, 3), st.just("adaptive")),
            queue=st.integers(0, 4),
            queue_timeout=odd(0.8),
        )
    ),
    "observed": st.booleans(),
    "timeout": optional(st.builds(TimeoutPolicy, timeout=odd(0.6))),
}

TURNS = st.builds(
    Turn,
    seconds=st.one_of(odd(0.3), st.sampled_from([0.0, HANG])),
    failure=st.one_of(st.none(), st.sampled_from(sorted(FAILURES))),
)

CALLERS = st.builds(
    Caller,
    at=st.one_of(odd(0.2), odd(1.5)),
    patience=odd(1.2),
    cancel_after=st.one_of(st.none(), st.none(), odd(0.6)),
    extend_after=st.one_of(st.none(), st.none(), odd(0.6)),
    safe=st.sampled_from([True, True, True, False]),
    shares=st.sampled_from([False, False, True]),
)

SCRIPTS = st.builds(
    Script,
    **POLICIES,
    turns=st.lists(TURNS, min_size=1, max_size=8).map(tuple),
    callers=st.lists(CALLERS, min_size=2, max_size=24).map(tuple),
    lingers=st.booleans(),
    seed=st.integers(0, 1000),
)


@dataclass
class Record:
    """What happened, as (seconds since the start, what)."""

    outcomes: dict[str, Any] = field(default_factory=dict)
    events: dict[str, list[Any]] = field(default_factory=dict)
    sent: list[Any] = field(default_factory=list)
    counters: dict[str, Any] = field(default_factory=dict)
    rings: Counter[float] = field(default_factory=Counter)

    def now(self) -> float:
        return round(loop_time() - 1000, 6)

    def heard(self, heard: Event) -> None:
        values = {name: getattr(heard, name) for name in heard.__dataclass_fields__}
        entry = (type(heard).__name__, {name: rounded(value) for name, value in values.items()})
        self.events.setdefault(heard.section, []).append((self.now(), entry))

    def landed(self, name: str, result: Any) -> None:
        assert name not in self.outcomes
        if isinstance(result, Response):
            outcome: Any = result.value
        elif isinstance(result, CallError):
            outcome = (
                type(result), result.code, rounded(result.detail), result.upstream, result.status,
                rounded(result.retry_after), result.shed, result.excerpt, result.cause,
            )  # fmt: skip
        else:
            outcome = repr(result)
        self.outcomes[name] = (self.now(), outcome)


def rounded(value: Any) -> Any:
    """Return what is compared: times rounded, for two loops sum them up in another order."""
    if isinstance(value, str) and value.startswith(("no answer within", "no answer in the time")):
        return "no answer"
    return round(value, 6) if isinstance(value, float) else value


class Upstream:
    """Takes its turns in a circle, as a coroutine."""

    def __init__(self, script: Script, record: Record) -> None:
        self._turns = script.turns
        self._retried = script.retry is not None
        self._lingers = script.lingers
        self._record = record
        self._random = random.Random(script.seed + 1)
        self.in_flight = 0

    def began(self, request: Request) -> tuple[int, float, BaseException | None]:
        """Record a request; return its number and what becomes of it."""
        number = len(self._record.sent)
        self._record.sent.append((self._record.now(), request.section, request.attempt))
        self.in_flight += 1
        turn = self._turns[number % len(self._turns)]
        seconds = turn.seconds
        # A failed attempt that gives its permit to a call that fails at once, too: both would ask
        # the budget at the same moment, the repeated one a turn of the event loop later than with
        # coroutines, because it lands in a task. Both orders are right.
        if seconds or (turn.failure and self._retried):
            seconds += self._random.random() / 1000
        return number, seconds, FAILURES[turn.failure]() if turn.failure else None

    def ended(self, number: int, how: str) -> None:
        self.in_flight -= 1
        self._record.sent[number] += (self._record.now(), how)

    async def __call__(self, request: Request) -> Response:
        number, seconds, error = self.began(request)
        try:
            if seconds:
                await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if self._lingers:
                await _linger(loop_time() + 0.0213)
            self.ended(number, "cancelled")
            raise
        self.ended(number, "answered")
        if error is not None:
            raise error
        return Response({"number": number})


async def _linger(until: float) -> None:
    while (left := until - loop_time()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


class CallingBack(Upstream):
    """The same, without a task: it calls the passage."""

    def start(self, passage: Passage) -> None:
        number, seconds, error = self.began(passage.request)

        def land() -> None:
            self.ended(number, "answered")
            if error is None:
                passage.succeed(Response({"number": number}))
            else:
                passage.fail(error)

        if seconds:
            passage.running = _Sent(self, number, asyncio.get_running_loop(), seconds, land)
        else:
            land()


class _Sent:
    def __init__(
        self,
        upstream: Upstream,
        number: int,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        land: Callable[[], None],
    ) -> None:
        self._timer = loop.call_later(seconds, land)
        self._upstream = upstream
        self._number = number

    def cancel(self) -> None:
        self._timer.cancel()
        self._upstream.ended(self._number, "cancelled")


def gates(script: Script, own: LayerContext, record: Record) -> list[Layer | None]:
    budget = Budget(script.retry.budget if script.retry else BudgetPolicy(), own.clock)
    guard = script.breaker and breaker(script.breaker, own)
    limit: Any = None
    if script.concurrency and script.concurrency.concurrency == "adaptive":
        limit = _AdaptiveGate(script.concurrency, Gradient(LIMIT), own)
    elif script.concurrency:
        limit = _FixedGate(script.concurrency, int(script.concurrency.concurrency), own)
    record.counters = {
        "budget": budget,
        "breaker": guard and guard._machine,  # type: ignore[attr-defined]
        "permits": limit and limit._permits,
        "usual": lambda: limit._usual if limit else 0.0,
    }
    return [
        deadline(own) if script.bounded else None,
        retry(script.retry, own, budget) if script.retry else None,
        guard,
        cooldown(script.cooldown, own) if script.cooldown else None,
        limit,
        observe(own) if script.observed else None,
        timeout(script.timeout, own) if script.timeout else None,
    ]


def coroutines(script: Script, own: LayerContext, record: Record) -> list[Layer | None]:
    budget = Budget(script.retry.budget if script.retry else BudgetPolicy(), own.clock)
    machine = script.breaker and Breaker(script.breaker, own.random)
    policy, permits, gradient = script.concurrency, None, None
    if policy and policy.concurrency == "adaptive":
        gradient = Gradient(LIMIT)
        permits = reference.Permits(LIMIT, own)
    elif policy:
        permits = reference.Permits(int(policy.concurrency), own)
    record.counters = {
        "budget": budget,
        "breaker": machine,
        "permits": permits,
        "usual": lambda: permits.usual if permits else 0.0,
    }
    return [
        reference.deadline(own) if script.bounded else None,
        reference.retry(script.retry, own, budget) if script.retry else None,
        reference.breaker(machine, own) if machine else None,
        reference.cooldown(script.cooldown, own) if script.cooldown else None,
        reference.concurrency(policy, permits, gradient, own) if policy and permits else None,
        reference.observe(own) if script.observed else None,
        reference.timeout(script.timeout, own) if script.timeout else None,
    ]


def counted(counters: dict[str, Any], upstream: Upstream) -> dict[str, Any]:
    """Return the counters at the end."""
    machine, permits, budget = counters["breaker"], counters["permits"], counters["budget"]
    found: dict[str, Any] = {
        "in flight": upstream.in_flight,
        "budget": (rounded(budget._balance), budget._granted),
    }
    if machine is not None:
        names = ("state", "epoch", "open_for", "_good", "_bad", "_probing", "_proven",
                 "_failed_probes", "_reopens_at")  # fmt: skip
        found["breaker"] = [rounded(getattr(machine, name)) for name in names]
    if permits is not None:
        found["permits"] = (permits.limit, permits.in_flight, permits.waiting)
        found["usual"] = rounded(counters["usual"]())
    return found


def requests(script: Script) -> Iterator[tuple[str, float, Caller, Request]]:
    """Yield each call's name, the seconds until it comes, itself and its request."""
    rng = random.Random(script.seed + 2)
    shared: Deadline | None = None
    callers = sorted(script.callers, key=lambda caller: caller.at)
    for number, caller in enumerate(callers):
        at = caller.at + rng.random() / 1000
        if shared is None or not caller.shares:
            shared = Deadline(1000 + at + caller.patience)
        method = "GET" if caller.safe else "POST"
        name = f"call{number}"
        yield name, at, caller, Request(HttpOperation("/", method), shared, name)


def scheduled(script: Script, start: Callable[[str, Request], Callable[[], object]]) -> None:
    """Let each call start, and be cancelled or extended, at its times."""
    loop = asyncio.get_running_loop()
    rng = random.Random(script.seed + 3)

    def begin(name: str, caller: Caller, request: Request) -> None:
        cancel = start(name, request)
        if caller.cancel_after:
            loop.call_later(caller.cancel_after + rng.random() / 1000, cancel)

    def extend(request: Request) -> None:
        request.deadline.at += 0.2017

    for name, at, caller, request in requests(script):
        loop.call_at(1000 + at, begin, name, caller, request)
        if caller.extend_after:
            loop.call_at(1000 + at + caller.extend_after, extend, request)


def play(script: Script, layers: Any, wire: type[Upstream], *, started: bool) -> Record:
    """Run the script; `started`: with a receiver in place of a task."""
    record = Record()

    async def main() -> None:
        events = Events([record.heard])
        own = context(events, random.Random(script.seed).random)
        upstream = wire(script, record)
        call = stack(upstream, *layers(script, own, record))
        scheduled(script, _starting(call, record) if started else _awaiting(call, record))
        await asyncio.sleep(LONGEST)
        assert len(asyncio.all_tasks()) == 1
        record.counters = counted(record.counters, upstream)

    original = Wheel._ring

    def ring(wheel: Wheel, due: int) -> None:
        alarms = len(wheel._slots.get(due, ()))
        if alarms:
            record.rings[round(loop_time(), 6)] += alarms
        original(wheel, due)

    with mock.patch.object(Wheel, "_ring", ring):
        run(main())
    return record


def _awaiting(call: Call, record: Record) -> Callable[[str, Request], Callable[[], object]]:
    async def ask(name: str, request: Request) -> None:
        try:
            result: Any = await call(request)
        except (Exception, asyncio.CancelledError) as error:
            result = error
        record.landed(name, result)

    return lambda name, request: asyncio.ensure_future(ask(name, request)).cancel


def _starting(call: Call, record: Record) -> Callable[[str, Request], Callable[[], object]]:
    started = startable(call, loop_time)

    def start(name: str, request: Request) -> Callable[[], object]:
        passage = started.start(request, record, name)

        def cancel() -> None:
            if passage.done:
                return
            ending = passage.cancel()
            if ending is None:
                record.landed(name, asyncio.CancelledError())
            else:
                ending.add_done_callback(lambda _: record.landed(name, asyncio.CancelledError()))

        return cancel

    return start


def in_order(record: Record, *, lingers: bool) -> dict[str, list[Any]]:
    """Return the events of each call, the rejection by a deadline last at its moment, if at all."""

    def rejected(entry: Any) -> bool:
        _, (kind, values) = entry
        return bool(kind == Rejection.__name__ and values["code"] == ErrorCode.DEADLINE_EXCEEDED)

    found = {}
    for name, entries in record.events.items():
        compared = [entry for entry in entries if not (lingers and rejected(entry))]
        if compared:
            found[name] = sorted(compared, key=lambda entry: (entry[0], rejected(entry)))
    return found


@pytest.mark.no_cover
@settings(max_examples=400)
@given(SCRIPTS)
def test_gates_do_what_coroutines_do(script: Script) -> None:
    with mock.patch.object(gradient_module, "_SAMPLES", 2):  # so that the limit changes soon
        expected = play(script, coroutines, Upstream, started=False)
        # Alarms of wheels that fire at the same moment do so in any order.
        assume(max(expected.rings.values(), default=0) < 2)
        found = {
            "awaited, over a coroutine": play(script, gates, Upstream, started=False),
            "started, over a coroutine": play(script, gates, Upstream, started=True),
        }
        if not script.lingers:  # what calls back is ended at once
            found["awaited, called back"] = play(script, gates, CallingBack, started=False)
            found["started, called back"] = play(script, gates, CallingBack, started=True)
    for _, outcome in expected.outcomes.values():
        event(str(outcome[1]) if isinstance(outcome, tuple) else str(outcome)[:9])
    for how, record in found.items():
        assert record.outcomes == expected.outcomes, how
        assert sorted(record.sent) == sorted(expected.sent), how
        lingers = script.lingers
        assert in_order(record, lingers=lingers) == in_order(expected, lingers=lingers), how
        assert record.counters == expected.counters, how
        if "permits" in record.counters:
            assert record.counters["permits"][1:] == (0, 0), how
