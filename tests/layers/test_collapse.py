from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from gateway.call import Request, Response, stack
from gateway.errors import DeadlineExceeded, ErrorCode, UpstreamStatus
from gateway.events import Events, Rejection
from gateway.layers.collapse import CollapsePolicy, Flights, _Caller, collapse
from gateway.layers.deadline import deadline
from gateway.upstreams.http.operation import HttpOperation
from gateway.values.provenance import Provenance
from gateway.values.restrictions import UNRESTRICTED, Restriction
from tests.layers.fakes import NAME, FakeUpstream, context, request
from tests.operations import http
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from gateway.call import Call
    from gateway.events import Event


def collapsed(
    upstream: Call, flights: Flights | None = None, events: Events | None = None, **policy: Any
) -> Call:
    own = context(events)
    return stack(
        upstream,
        collapse(
            CollapsePolicy(**policy),
            own,
            Flights() if flights is None else flights,
        ),
        deadline(own),
    )


def start(call: Call, seconds: float = 10, **options: Any) -> asyncio.Future[Response]:
    return asyncio.ensure_future(call(request(seconds, **options)))


def test_a_thousand_callers_make_one_call() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        flights = Flights()
        call = collapsed(upstream, flights)
        answers = await asyncio.gather(*[start(call) for _ in range(1000)])
        assert upstream.calls == 1
        assert {id(answer.value) for answer in answers} == {id(answers[0].value)}
        assert [answer.provenance.cache for answer in answers] == [""] + ["collapsed"] * 999
        assert len(flights) == 0

    run(main())


def test_what_comes_later_is_another_flight() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        call = collapsed(upstream)
        await call(request())
        await call(request())
        assert upstream.calls == 2

    run(main())


def test_different_requests_do_not_share() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        call = collapsed(upstream)
        german = request()
        german.operation = HttpOperation("/", "GET", ((b"accept-language", b"de"),))
        await asyncio.gather(
            call(request()), call(german), start(call, target="/2"), start(call, method="HEAD")
        )
        assert upstream.calls == 4

    run(main())


def test_callers_of_other_traces_share_a_flight_which_carries_the_first_one_s() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        call = collapsed(upstream)
        first, second = request(), request()
        first.operation = HttpOperation("/", propagated=((b"traceparent", b"one"),))
        second.operation = HttpOperation("/", propagated=((b"traceparent", b"two"),))
        await asyncio.gather(call(first), call(second))
        assert [http(asked).propagated for asked in upstream.requests] == [
            ((b"traceparent", b"one"),)
        ]

    run(main())


def test_orders_are_not_shared() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        call = collapsed(upstream)
        await asyncio.gather(start(call, method="POST"), start(call, method="POST"))
        assert upstream.calls == 2

    run(main())


def test_the_flight_outlives_its_first_caller() -> None:
    async def main() -> None:
        upstream = FakeUpstream((1, None))
        call = collapsed(upstream)
        first, second = start(call), start(call)
        await asyncio.sleep(0.5)
        first.cancel()
        assert (await second).value == {"number": 0}
        assert first.cancelled()
        assert (upstream.calls, upstream.cancelled) == (1, 0)

    run(main())


def test_a_late_caller_joins_a_flight_without_callers() -> None:
    async def main() -> None:
        upstream = FakeUpstream((1, None))
        call = collapsed(upstream)
        first = start(call)
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(0.1)
        await call(request())
        assert upstream.calls == 1

    run(main())


def test_each_caller_keeps_to_its_own_deadline() -> None:
    async def main() -> None:
        heard: list[Event] = []
        upstream = FakeUpstream((5, None))
        call = collapsed(upstream, events=Events([heard.append]))
        patient, hasty = start(call, 10), start(call, 1)
        began = loop_time()
        with pytest.raises(DeadlineExceeded):
            await hasty
        assert loop_time() - began == pytest.approx(1, abs=0.02)
        assert heard == [Rejection(NAME, "section", ErrorCode.DEADLINE_EXCEEDED, "deadline")]
        await patient
        assert upstream.calls == 1

    run(main())


def test_the_flight_lasts_for_the_most_patient_caller() -> None:
    async def main() -> None:
        upstream = FakeUpstream((5, None))
        call = collapsed(upstream)
        hasty = start(call, 1)
        await asyncio.sleep(0.5)
        patient = start(call, 10)
        with pytest.raises(DeadlineExceeded):
            await hasty
        await patient
        assert upstream.calls == 1

    run(main())


def test_the_flights_deadline_is_not_its_first_callers() -> None:
    async def main() -> None:
        upstream = FakeUpstream((0.1, None))
        call = collapsed(upstream)
        asked = request(1)
        at = asked.deadline.at
        await asyncio.gather(call(asked), start(call, 10))
        assert asked.deadline.at == at
        assert upstream.requests[0].deadline.at == pytest.approx(at + 9)

    run(main())


def test_no_flight_lasts_for_ever() -> None:
    async def main() -> None:
        upstream = FakeUpstream((3600, None))
        flights = Flights()
        call = collapsed(upstream, flights, flight=30)
        began = loop_time()
        with pytest.raises(DeadlineExceeded):
            await call(request(1000))
        assert loop_time() - began == pytest.approx(30, abs=0.02)
        assert upstream.in_flight == len(flights) == 0

    run(main())


def test_a_passed_deadline_is_reported_once() -> None:
    async def main() -> None:
        heard: list[Event] = []
        call = collapsed(FakeUpstream((60, None)), events=Events([heard.append]))
        with pytest.raises(DeadlineExceeded):
            await call(request(1))
        await asyncio.sleep(1)
        assert len(heard) == 1

    run(main())


def test_an_answer_in_the_very_moment_of_the_deadline_counts() -> None:
    async def main() -> None:
        answer: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        caller = _Caller(answer, context(), request())
        answer.set_result(Response(1))
        caller.ring()
        answered = await answer
        assert answered is not None
        assert answered.value == 1

    run(main())


def test_nothing_starts_without_time() -> None:
    async def main() -> None:
        upstream = FakeUpstream()
        with pytest.raises(DeadlineExceeded):
            await collapsed(upstream)(request(0))
        assert upstream.calls == 0

    run(main())


def test_a_failure_is_everybodys_and_each_gets_its_own() -> None:
    async def main() -> None:
        failure = UpstreamStatus("no", upstream=NAME, status=503, retryable=True, retry_after=3)
        upstream = FakeUpstream((0.1, failure))
        call = collapsed(upstream)
        errors = await asyncio.gather(*[start(call) for _ in range(50)], return_exceptions=True)
        assert upstream.calls == 1
        assert len({id(error) for error in errors}) == 50
        for error in errors:
            assert isinstance(error, UpstreamStatus)
            assert str(error) == "no"
            assert vars(error) == vars(failure)
            assert len(traceback.extract_tb(error.__traceback__)) < 5

    run(main())


def test_a_bug_is_everybodys() -> None:
    async def main() -> None:
        call = collapsed(FakeUpstream((0.1, ZeroDivisionError())))
        errors = await asyncio.gather(start(call), start(call), return_exceptions=True)
        assert [type(error) for error in errors] == [ZeroDivisionError] * 2

    run(main())


@pytest.mark.parametrize(("error", "told"), [(ZeroDivisionError(), 1), (UpstreamStatus("no"), 0)])
def test_a_bug_in_a_flight_without_callers_is_reported(error: Exception, told: int) -> None:
    async def main() -> None:
        reported: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        first = start(collapsed(FakeUpstream((1, error))))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(1)
        assert [type(context["exception"]) for context in reported] == [type(error)] * told

    run(main())


def test_closing_ends_what_is_under_way() -> None:
    async def main() -> None:
        upstream = FakeUpstream((60, None))
        flights = Flights()
        call = collapsed(upstream, flights)
        flying = start(call, 100)
        await asyncio.sleep(1)
        starting = start(call, 100, target="/2")
        await asyncio.sleep(0)
        await flights.aclose()
        for caller in (flying, starting):
            with pytest.raises(DeadlineExceeded, match="the gateway shut down"):
                await caller
        assert len(flights) == 0
        await flights.aclose()

    run(main())


def test_closing_waits_for_what_lands_in_time() -> None:
    async def main() -> None:
        upstream = FakeUpstream((1, None), (60, None))
        flights = Flights()
        call = collapsed(upstream, flights)
        quick, slow = start(call, 100), start(call, 100, target="/2")
        await asyncio.sleep(0.5)
        began = loop_time()
        await flights.aclose(grace=5)
        assert loop_time() - began == pytest.approx(5)
        assert (await quick).status == 200
        with pytest.raises(DeadlineExceeded):
            await slow

    run(main())


def restricted(restrictions: Restriction, **more: Any) -> tuple[Call, list[Request]]:
    """Return a call whose answers have these restrictions, and the requests that it got."""
    asked: list[Request] = []

    async def call(request: Request) -> Response:
        asked.append(request)
        number = len(asked)
        await asyncio.sleep(1)
        return Response(number, provenance=Provenance(restrictions=restrictions, **more))

    return call, asked


@pytest.mark.parametrize(
    "restriction",
    [Restriction.NO_STORE, Restriction.PRIVATE, Restriction.NO_CACHE, Restriction.VARIES],
)
def test_an_answer_for_one_request_only_is_not_shared(restriction: Restriction) -> None:
    async def main() -> None:
        call, asked = restricted(restriction)
        flights = Flights()
        alone = collapsed(call, flights)
        answers = await asyncio.gather(*[start(alone) for _ in range(5)])
        assert sorted(answer.value for answer in answers) == [1, 2, 3, 4, 5]
        assert [answer.provenance.cache for answer in answers] == [""] * 5
        assert len(asked) == 5
        assert len(flights) == 0

    run(main())


@pytest.mark.parametrize("restriction", [Restriction.MUST_REVALIDATE, Restriction.SHARED_LIFETIME])
def test_an_answer_that_others_may_use_is_shared(restriction: Restriction) -> None:
    async def main() -> None:
        call, asked = restricted(restriction)
        together = collapsed(call)
        await asyncio.gather(*[start(together) for _ in range(5)])
        assert len(asked) == 1

    run(main())


def test_an_answer_that_a_policy_caches_is_shared() -> None:
    async def main() -> None:
        call, asked = restricted(Restriction.NO_CACHE, as_of=1.0, fresh_until=2.0)
        together = collapsed(call)
        await asyncio.gather(*[start(together) for _ in range(5)])
        assert len(asked) == 1

    run(main())


def test_requests_whose_answers_are_not_shared_do_not_wait_for_each_other() -> None:
    async def main() -> None:
        call, _ = restricted(Restriction.PRIVATE)
        alone = collapsed(call)
        began = loop_time()
        await asyncio.gather(*[start(alone) for _ in range(5)])
        assert loop_time() - began == 2  # it is known from the first answer on
        began = loop_time()
        await asyncio.gather(*[start(alone) for _ in range(5)])
        assert loop_time() - began == 1

    run(main())


def test_a_caller_whose_flight_was_for_another_keeps_to_its_deadline() -> None:
    async def main() -> None:
        call, asked = restricted(Restriction.NO_STORE)
        alone = collapsed(call)
        began = loop_time()
        first, second = start(alone), start(alone, 1.5)
        assert (await first).value == 1
        with pytest.raises(DeadlineExceeded):
            await second
        assert loop_time() - began == pytest.approx(1.5, abs=0.01)
        assert len(asked) == 2

    run(main())


def test_answers_are_shared_again_once_that_is_allowed() -> None:
    async def main() -> None:
        restrictions = Restriction.PRIVATE
        calls = 0

        async def call(_: Request) -> Response:
            nonlocal calls
            calls += 1
            await asyncio.sleep(1)
            return Response(calls, provenance=Provenance(restrictions=restrictions))

        together = collapsed(call)
        await together(request())
        restrictions = UNRESTRICTED
        await together(request())
        await asyncio.gather(*[start(together) for _ in range(5)])
        assert calls == 3

    run(main())


def test_what_is_remembered_of_answers_that_are_not_shared_is_bounded() -> None:
    async def main() -> None:
        call, _ = restricted(Restriction.PRIVATE)
        flights = Flights()
        alone = collapsed(call, flights)
        await asyncio.gather(*[start(alone, target=f"/{number}") for number in range(1100)])
        assert len(flights.exclusive) == 1024

    run(main())


def test_a_purge_does_not_forget_which_answers_are_not_shared() -> None:
    """A flight's key changes with every purge; what an upstream forbids does not."""

    async def main() -> None:
        async def call(_: Request) -> Response:
            await asyncio.sleep(1)
            return Response(1, provenance=Provenance(restrictions=Restriction.PRIVATE))

        purges = 0
        together = collapse(
            CollapsePolicy(), context(), Flights(),
            key=lambda request: (purges, request.identity),
        )(call)  # fmt: skip
        await together(request())
        purges += 1
        began = loop_time()
        await asyncio.gather(start(together), start(together))
        assert loop_time() - began == pytest.approx(1)  # neither waited for the other's flight

    run(main())
