"""The layers as coroutines around coroutines: what the gates are compared with.

Each is the shortest layer that does what its gate does, with a task for each call and a future for
each wait. Policies and state machines are the gateway's own.
"""

from __future__ import annotations

from asyncio import CancelledError, Future
from typing import TYPE_CHECKING, Any

from gateway.aio.adaptive_lifo import AdaptiveLifo
from gateway.aio.deadlines import ATTEMPT_MARGIN, QUEUE_MARGIN, TICK
from gateway.aio.timers import Alarm, Wheel
from gateway.errors import (
    BreakerOpen,
    CallError,
    DeadlineExceeded,
    ErrorCode,
    Failed,
    LimiterFull,
    Rejected,
    UpstreamTimeout,
)
from gateway.events import Attempt, BreakerChange, CoolDown, LimitChange, Rejection, cause_of
from gateway.layers.breaker import CLOSED, OPEN
from gateway.layers.concurrency import _LEARNING
from gateway.layers.gradient import Window
from gateway.layers.retry import _Schedule
from gateway.values.units import format_duration
from tests.layers.task_timers import DeadlineTimer, Timer

if TYPE_CHECKING:
    from gateway.call import Call, Layer, Request, Response
    from gateway.layers.breaker import Breaker
    from gateway.layers.budget import Budget
    from gateway.layers.concurrency import ConcurrencyPolicy
    from gateway.layers.context import LayerContext
    from gateway.layers.cooldown import CoolDownPolicy
    from gateway.layers.gradient import Gradient
    from gateway.layers.retry import RetryPolicy
    from gateway.layers.timeout import TimeoutPolicy


def deadline(context: LayerContext) -> Layer:
    wheel, clock = Wheel(), context.clock

    def exceeded(detail: str, request: Request) -> DeadlineExceeded:
        reject(context, request, ErrorCode.DEADLINE_EXCEEDED, "deadline")
        return DeadlineExceeded(detail, upstream=context.upstream)

    def layer(call: Call) -> Call:
        async def bounded(request: Request) -> Response:
            remaining = request.deadline.at - clock()
            if remaining <= 0:
                raise exceeded("too little time was left to start", request)
            timer = DeadlineTimer(wheel, remaining, request.deadline, clock)
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    raise exceeded("the request's deadline has passed", request) from None
                raise
            finally:
                timer.stop()

        return bounded

    return layer


def retry(policy: RetryPolicy, context: LayerContext, budget: Budget) -> Layer:
    schedule = _Schedule(policy, context, budget)

    def layer(call: Call) -> Call:
        async def retried(request: Request) -> Response:
            budget.deposit()
            try:
                return await call(request)
            except Failed as error:
                if not request.safe or not schedule.worthwhile(error):
                    raise
                if budget.is_spent():
                    schedule.refuse(request, error)
                    raise
                failure = error
            attempts = schedule.begin()
            while schedule.goes_on(attempts, request, failure):
                await context.sleep(attempts.upcoming_sleep)
                attempts.prepare_for_next_attempt()
                try:
                    return await call(request.again(attempts.attempt_number))
                except Rejected:
                    break
                except Failed as error:
                    failure = error
            raise failure

        return retried

    return layer


def breaker(machine: Breaker, context: LayerContext) -> Layer:  # noqa: C901 - its parts are inside
    upstream, events, clock = context.upstream, context.events, context.clock

    def emit(before: str, section: str, error: Failed | None = None) -> None:
        after = machine.state
        if before == after:
            return
        more: Any = {}
        if error is not None and after == OPEN:
            more = {"open_for": machine.open_for, **cause_of(error)}
        events.emit(BreakerChange(upstream, section, before, after, **more))

    def admit(request: Request) -> None:
        before, now = machine.state, clock()
        admitted = machine.admit(now)
        emit(before, request.section)
        if not admitted:
            reject(context, request, ErrorCode.BREAKER_OPEN, "breaker_open")
            raise BreakerOpen(
                "the upstream failed too often recently",
                upstream=upstream,
                retry_after=machine.retry_after(now),
            )

    def layer(call: Call) -> Call:
        async def guarded(request: Request) -> Response:
            if machine.state != CLOSED:
                admit(request)
            epoch = machine.epoch
            try:
                response = await call(request)
            except Failed as error:
                before = machine.state
                (machine.fail if error.fault else machine.succeed)(epoch, clock())
                emit(before, request.section, error)
                raise
            except BaseException:
                machine.forget(epoch)
                raise
            before = machine.state
            machine.succeed(epoch, clock())
            emit(before, request.section)
            return response

        return guarded

    return layer


def cooldown(policy: CoolDownPolicy, context: LayerContext) -> Layer:
    until = float("-inf")

    def heed(error: Failed, section: str) -> None:
        nonlocal until
        if error.overloaded and error.retry_after:
            seconds = min(error.retry_after, policy.max)
            until = max(until, context.clock() + seconds)
            context.events.emit(CoolDown(context.upstream, section, seconds))

    def layer(call: Call) -> Call:
        async def cooled(request: Request) -> Response:
            seconds = until - context.clock()
            if seconds > 0:
                reject(context, request, ErrorCode.BREAKER_OPEN, "cooldown")
                detail = "the upstream is overloaded and asked callers to wait"
                raise BreakerOpen(detail, upstream=context.upstream, retry_after=seconds)
            try:
                return await call(request)
            except Failed as error:
                heed(error, request.section)
                raise

        return cooled

    return layer


class Permits:
    """A semaphore; each waiter awaits a future."""

    def __init__(self, limit: int, context: LayerContext) -> None:
        self.limit = limit
        self.in_flight = 0
        self.usual = 0.0
        self._clock = context.clock
        self._queue: AdaptiveLifo[_Waiter] = AdaptiveLifo()
        self._wheel = Wheel()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def learn(self, began: float) -> None:
        self.usual += (self._clock() - began - self.usual) * _LEARNING

    def resize(self, limit: int) -> None:
        self.limit = limit
        self._hand_out()

    def release(self) -> None:
        self.in_flight -= 1
        self._hand_out()

    def drop_oldest(self) -> bool:
        if not self._queue.overloaded(self._clock()):
            return False
        self._queue.oldest().ring()
        return True

    async def wait(self, seconds: float) -> bool:
        loop = self._wheel.task().get_loop()
        now = self._clock()
        waiter = _Waiter(loop.create_future(), self._queue, now + seconds)
        self._queue.append(waiter, now, waiter.until)
        self._wheel.set(waiter, seconds)
        granted = waiter.granted
        try:
            return await granted
        except CancelledError:
            if not granted.cancelled() and granted.result():
                self.release()
            raise
        finally:
            waiter.slot.discard(waiter)
            self._queue.discard(waiter)

    def _hand_out(self) -> None:
        while self._queue and self.in_flight < self.limit:
            now = self._clock()
            waiter = self._queue.take(now)
            if waiter.granted.done():
                continue
            if waiter.until < now:
                waiter.granted.set_result(False)
                continue
            waiter.granted.set_result(True)
            self.in_flight += 1


class _Waiter(Alarm):
    __slots__ = ("_queue", "granted", "until")

    def __init__(self, granted: Future[bool], queue: AdaptiveLifo[_Waiter], until: float) -> None:
        self.granted = granted
        self.until = until
        self._queue = queue

    def ring(self) -> None:
        self._queue.discard(self)
        if not self.granted.done():
            self.granted.set_result(False)


def concurrency(  # noqa: C901 - two layers, of which one is returned
    policy: ConcurrencyPolicy, permits: Permits, gradient: Gradient | None, context: LayerContext
) -> Layer:
    """Limit the calls in flight; the limit follows `gradient`, if there is one."""
    clock = context.clock

    def fixed(call: Call) -> Call:
        async def limited(request: Request) -> Response:
            began = 0.0
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
            else:
                began = await _pass_through(policy, permits, context, request)
            try:
                return await call(request)
            finally:
                if began:
                    permits.learn(began)
                permits.release()

        return limited

    def adaptive(call: Call) -> Call:
        window = Window(clock())

        async def limited(request: Request) -> Response:
            if permits.in_flight < permits.limit:
                permits.in_flight += 1
            else:
                await _pass_through(policy, permits, context, request)
            window.peak = max(window.peak, permits.in_flight)
            began = clock()
            try:
                response = await call(request)
                window.answered(clock() - began)
            except Failed as error:
                if isinstance(error, UpstreamTimeout) or error.overloaded:
                    window.dropped += 1
                raise
            else:
                return response
            finally:
                permits.learn(began)
                permits.release()
                if window.is_over(clock()):
                    judge(request)

        def judge(request: Request) -> None:
            assert gradient is not None
            before = permits.limit
            permits.resize(window.judge(gradient, clock()))
            if before != permits.limit:
                change = LimitChange(context.upstream, request.section, before, permits.limit)
                context.events.emit(change)

        return limited

    return fixed if gradient is None else adaptive


async def _pass_through(
    policy: ConcurrencyPolicy, permits: Permits, context: LayerContext, request: Request
) -> float:
    """Wait for a permit and take it; return when that was."""

    def full(why: str) -> LimiterFull:
        reject(context, request, ErrorCode.LIMITER_FULL, why)
        return LimiterFull(
            "too many calls to the upstream are in flight",
            upstream=context.upstream,
            retry_after=max(policy.queue_timeout, 1.0),
            shed=True,
        )

    if permits.waiting >= policy.queue and not permits.drop_oldest():
        raise full("limiter_full")
    now = context.clock()
    patient_until = now + policy.queue_timeout
    while True:
        ends = request.deadline.at
        useful_until = ends - min(max(QUEUE_MARGIN, permits.usual), max(ends - now, 0.0) / 2)
        until = min(patient_until, useful_until)
        if until > now and await permits.wait(until - now):
            return context.clock()
        now = context.clock()
        if now >= patient_until:
            raise full("queue_timeout")
        if now < useful_until:
            raise full("limiter_full")
        if request.deadline.at <= ends:
            break
    reject(context, request, ErrorCode.DEADLINE_EXCEEDED, "deadline")
    detail = "the request's deadline passed while it waited in a queue"
    raise DeadlineExceeded(detail, upstream=context.upstream, shed=True)


def observe(context: LayerContext) -> Layer:
    def layer(call: Call) -> Call:
        async def observed(request: Request) -> Response:
            began = context.clock()

            def emit(**ended: Any) -> None:
                seconds = context.clock() - began
                operation = str(request.operation)
                context.events.emit(
                    Attempt(
                        context.upstream, request.section, request.attempt, seconds,
                        dashboard=request.dashboard, operation=operation, **ended,
                    )
                )  # fmt: skip

            try:
                response = await call(request)
            except Rejected:
                raise
            except CallError as error:
                emit(**cause_of(error))
                raise
            except CancelledError:
                emit(code=None, status=None, cancelled=True)
                raise
            emit(code=None, status=response.status)
            return response

        return observed

    return layer


def timeout(policy: TimeoutPolicy, context: LayerContext) -> Layer:
    clock, after = context.clock, policy.timeout
    margin = min(ATTEMPT_MARGIN, after / 10)
    wheel = Wheel(min(TICK, after / 20))

    def layer(call: Call) -> Call:
        async def timed(request: Request) -> Response:
            now = clock()
            remaining = request.deadline.at - now
            timer: Timer
            if after / 2 <= remaining < after + margin:
                timer = cut = DeadlineTimer(
                    wheel, remaining - margin, request.deadline, clock,
                    margin=margin, ends=now + after,
                )  # fmt: skip
            else:
                timer, cut = Timer(wheel, after), None
            try:
                return await call(request)
            except CancelledError:
                if timer.stop():
                    text = f"no answer within {format_duration(after)}"
                    if cut is not None and clock() < cut.ends:
                        text = "no answer in the time that was left"
                    raise UpstreamTimeout(text, upstream=context.upstream) from None
                raise
            finally:
                timer.stop()

        return timed

    return layer


def reject(context: LayerContext, request: Request, code: ErrorCode, why: str) -> None:
    context.events.emit(Rejection(context.upstream, request.section, code, why))
