"""The order of the stack, told by what an upstream does; nothing is patched but the wire."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from gateway.cache.refreshes import Refreshes
from gateway.cache.store import open_store
from gateway.call import Deadline, Request
from gateway.errors import (
    BreakerOpen,
    CallError,
    DeadlineExceeded,
    ErrorCode,
    LimiterFull,
    UpstreamStatus,
    UpstreamTimeout,
)
from gateway.events import Attempt, Event, Events, Rejection
from gateway.layers.cache import CachePolicy
from gateway.testing.respx import follow_respx
from gateway.upstreams.http.config import HttpUpstreamConfig
from gateway.upstreams.http.operation import HttpOperation
from gateway.upstreams.stack import Declared, Shared, open_upstream
from tests.virtual_time import loop_time, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from gateway.call import Response
    from gateway.upstreams.stack import Upstream

    Answer = Callable[[int], Awaitable[httpx.Response]]

BASE = "http://a.test"


class Wire:
    """What is asked of the upstream, and what it says to the n-th question, n from 1."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.began = loop_time()
        self.asked: list[httpx.Request] = []
        self.at: list[float] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.at.append(round(loop_time() - self.began, 3))
        return await self._answer(len(self.asked))


def says(*statuses: int, after: float = 0.0, retry_after: str = "") -> Answer:
    """Return an answer with these statuses in turn, the last one for good."""

    async def answer(number: int) -> httpx.Response:
        await asyncio.sleep(after)
        status = statuses[min(number, len(statuses)) - 1]
        headers = {"retry-after": retry_after} if retry_after and status != 200 else {}
        return httpx.Response(status, json={"n": number}, headers=headers)

    return answer


class Under:
    """An upstream under test."""

    def __init__(self, upstream: Upstream, wire: Wire, told: list[Event], shared: Shared) -> None:
        self.upstream = upstream
        self.wire = wire
        self.told = told
        self.shared = shared

    async def ask(self, target: str = "/x", within: float = 60.0, **more: Any) -> Response:
        return await self.upstream.call(request(target, within, **more))

    async def fails(self, kind: type[CallError], within: float = 60.0) -> float:
        """Return after how many seconds it failed."""
        began = loop_time()
        with pytest.raises(kind):
            await self.ask(within=within)
        return round(loop_time() - began, 1)  # timers have a grain of some milliseconds

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.told]


def request(
    target: str = "/x",
    within: float = 60.0,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    propagated: Sequence[tuple[bytes, bytes]] = (),
    **more: Any,
) -> Request:
    operation = HttpOperation(target, "GET", headers, propagated)
    return Request(operation, Deadline(loop_time() + within), "s", **more)


@asynccontextmanager
async def opened(answer: Answer, *, cached: bool = False, **config: Any) -> AsyncIterator[Under]:
    told: list[Event] = []
    events = Events([told.append])
    # POSIX and monotonic seconds run alike, and chance never decides.
    shared = Shared(
        open_store(None, events=events, clock=loop_time, now=loop_time),
        Refreshes(events=events, clock=loop_time),
        events, clock=loop_time, now=loop_time, random=lambda: 0.5,
    )  # fmt: skip
    follow_respx()
    with respx.mock(assert_all_called=False) as router:
        wire = Wire(answer)
        router.route().mock(side_effect=wire)
        declared = HttpUpstreamConfig.model_validate({"base_url": BASE, **config})
        upstream = open_upstream(Declared("a", declared, cached), shared)
        try:
            yield Under(upstream, wire, told, shared)
        finally:
            await upstream.aclose()


def test_what_is_not_configured_is_not_stacked() -> None:
    async def main() -> None:
        async with opened(says(200, 503)) as under:
            assert (await under.ask()).provenance.cache == ""
            assert await under.fails(UpstreamStatus) == 0
            assert len(under.wire.asked) == 2  # nothing kept, nothing repeated
            for _ in range(50):
                await under.fails(UpstreamStatus)
            assert len(under.wire.asked) == 52  # no breaker
            assert set(under.kinds()) == {"Attempt"}
            await asyncio.gather(under.ask("/y"), under.ask("/y"), return_exceptions=True)
            assert len(under.wire.asked) == 54  # none shared

    run(main())


def test_a_hit_costs_nothing_further_down() -> None:
    async def main() -> None:
        async with opened(says(200, 503), cache={"ttl": "60s"}, concurrency=1) as under:
            first, second = await under.ask(), await under.ask()
            assert (first.provenance.cache, second.provenance.cache) == ("miss", "hit")
            # Neither a deadline that has passed nor a full limiter stands in the way of a hit.
            assert (await under.ask(within=-1)).provenance.cache == "hit"
            assert len([e for e in under.told if isinstance(e, Attempt)]) == 1

    run(main())


def test_the_cache_sees_the_final_failure_of_all_below() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "cache": {"ttl": "1s", "stale_if_error": "1h"},
            "retry": {"attempts": 3},
        }
        async with opened(says(200, 503), **config) as under:
            await under.ask()
            await asyncio.sleep(5)
            stale = await under.ask()
            assert (stale.provenance.stale, stale.value) == (True, {"n": 1})
            assert len(under.wire.asked) == 1 + 3

    run(main())


def test_many_callers_share_one_flight_and_its_retries() -> None:
    async def main() -> None:
        answer = says(503, 503, 200, after=0.1)
        async with opened(answer, cache={"ttl": "60s"}, retry={"attempts": 3}) as under:
            answers = await asyncio.gather(*(under.ask() for _ in range(20)))
            assert {one.value["n"] for one in answers} == {3}
            assert len(under.wire.asked) == 3

    run(main())


def test_a_flight_outlives_its_first_caller() -> None:
    async def main() -> None:
        async with opened(says(200, after=1), cache={"ttl": "60s"}) as under:
            first = asyncio.create_task(under.ask())
            await asyncio.sleep(0.2)
            second = asyncio.create_task(under.ask())
            await asyncio.sleep(0.2)
            first.cancel()
            assert (await second).value == {"n": 1}
            assert len(under.wire.asked) == 1

    run(main())


def test_a_purge_lands_between_two_flights() -> None:
    async def main() -> None:
        async with opened(says(200, after=1), cache={"ttl": "60s"}) as under:
            before = asyncio.create_task(under.ask())
            await asyncio.sleep(0.5)
            await under.shared.store.purge("*")
            after = asyncio.create_task(under.ask())
            assert ((await before).value, (await after).value) == ({"n": 1}, {"n": 2})

    run(main())


def test_the_deadline_holds_over_all_attempts() -> None:
    async def main() -> None:
        async with opened(says(200, after=9), timeout="1s", retry={"attempts": 10}) as under:
            assert await under.fails(DeadlineExceeded, within=2.5) == 2.5
            assert len(under.wire.asked) == 3

    run(main())


def test_every_attempt_counts_for_the_breaker() -> None:
    async def main() -> None:
        config: dict[str, Any] = {"retry": {"attempts": 5}, "breaker": {"minimum": 2}}
        async with opened(says(503), **config) as under:
            with pytest.raises(CallError):
                await under.ask()
            assert len(under.wire.asked) == 2  # the third was refused, and refusals end the call
            await under.fails(BreakerOpen)
            assert len(under.wire.asked) == 2

    run(main())


def test_no_permit_is_held_while_a_retry_waits() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "retry": {"attempts": 2, "base": "10s", "cap": "10s"},
            "concurrency": 1,
        }
        async with opened(says(503, 200, 200), **config) as under:
            repeated = asyncio.create_task(under.ask())
            await asyncio.sleep(0.01)
            assert (await under.ask()).value == {"n": 2}
            assert (await repeated).value == {"n": 3}

    run(main())


def test_waiting_for_a_permit_is_charged_to_the_deadline_and_not_to_the_timeout() -> None:
    async def main() -> None:
        config: dict[str, Any] = {"timeout": "2s", "concurrency": 1, "queue_timeout": "30s"}
        async with opened(says(200, after=1.5), **config) as under:
            answers = await asyncio.gather(*(under.ask() for _ in range(3)))
            assert [one.value["n"] for one in answers] == [1, 2, 3]
            assert under.wire.at == [0, 1.5, 3]
            held = asyncio.create_task(under.ask())
            await asyncio.sleep(0)
            # It ends as soon as too little time is left for a call.
            assert 0.5 <= await under.fails(DeadlineExceeded, within=1) < 1
            await held

    run(main())


def test_more_than_may_wait_are_refused_and_that_moves_no_breaker() -> None:
    async def main() -> None:
        config: dict[str, Any] = {"concurrency": 1, "queue": 1, "breaker": {"minimum": 1}}
        async with opened(says(200, after=0.5), **config) as under:
            answers = await asyncio.gather(*(under.ask() for _ in range(5)), return_exceptions=True)
            assert sum(isinstance(one, LimiterFull) for one in answers) == 3
            await under.ask()  # closed still

    run(main())


def test_a_hedge_runs_beside_within_one_attempt_of_the_deadline() -> None:
    async def main() -> None:
        async def answer(number: int) -> httpx.Response:
            await asyncio.sleep(5 if number == 1 else 0.1)
            return httpx.Response(200, json={"n": number})

        config: dict[str, Any] = {"hedge": {"after": "1s", "ratio": 1}, "breaker": {"minimum": 1}}
        async with opened(answer, **config) as under:
            assert (await under.ask()).value == {"n": 2}
            assert under.wire.at == [0, 1]
            await under.ask()  # the one that was left is no failure

    run(main())


def test_no_hedge_runs_beside_a_backoff() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "hedge": {"after": "1s", "ratio": 1},
            "retry": {"attempts": 2, "base": "20s", "cap": "20s"},
        }
        async with opened(says(503, 200), **config) as under:
            assert (await under.ask()).value == {"n": 2}
            assert under.kinds() == ["Attempt", "Retry", "Attempt"]
            assert under.wire.at[1] > 5

    run(main())


def test_a_hedge_counts_for_the_breaker_too() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "hedge": {"after": "1s", "ratio": 1},
            "breaker": {"minimum": 2},
        }
        async with opened(says(503, after=2), **config) as under:
            await under.fails(UpstreamStatus)
            assert under.wire.at == [0, 1]
            await under.fails(BreakerOpen)

    run(main())


def test_an_open_breaker_is_told_before_a_cool_down() -> None:
    async def main() -> None:
        config: dict[str, Any] = {"cool_down": {}, "breaker": {"minimum": 1}}
        async with opened(says(503, retry_after="7"), **config) as under:
            await under.fails(UpstreamStatus)
            await under.fails(BreakerOpen)
            assert [e.why for e in under.told if isinstance(e, Rejection)] == ["breaker_open"]

    run(main())


def test_what_is_refused_by_a_cool_down_waits_for_no_permit() -> None:
    async def main() -> None:
        async def answer(number: int) -> httpx.Response:
            await asyncio.sleep(0.1 if number == 1 else 5)
            return httpx.Response(
                429 if number == 1 else 200, json={}, headers={"retry-after": "9"}
            )

        config: dict[str, Any] = {"cool_down": {}, "concurrency": 2, "queue_timeout": "9s"}
        async with opened(answer, **config) as under:
            waiting = [asyncio.create_task(under.ask()) for _ in range(3)]
            await asyncio.sleep(1)
            assert len(under.wire.asked) == 3  # both permits are taken again
            assert await under.fails(BreakerOpen) == 0
            await asyncio.gather(*waiting, return_exceptions=True)

    run(main())


def test_waiting_for_a_permit_is_no_part_of_an_attempt() -> None:
    async def main() -> None:
        config: dict[str, Any] = {"concurrency": 1, "queue_timeout": "9s"}
        async with opened(says(200, after=2), **config) as under:
            await asyncio.gather(under.ask(), under.ask())
            attempts = [e for e in under.told if isinstance(e, Attempt)]
            assert [round(e.duration, 1) for e in attempts] == [2, 2]

    run(main())


def test_an_attempt_that_timed_out_is_told_as_that() -> None:
    async def main() -> None:
        async with opened(says(200, after=9), timeout="1s") as under:
            await under.fails(UpstreamTimeout)
            (attempt,) = [e for e in under.told if isinstance(e, Attempt)]
            assert (attempt.code, attempt.cancelled) == (ErrorCode.UPSTREAM_TIMEOUT, False)

    run(main())


def test_what_the_upstream_asked_for_holds_for_every_call() -> None:
    async def main() -> None:
        async with opened(says(429, 200, retry_after="7"), cool_down={}) as under:
            await under.fails(UpstreamStatus)
            await under.fails(BreakerOpen)
            assert len(under.wire.asked) == 1
            await asyncio.sleep(7.1)
            assert (await under.ask()).value == {"n": 2}

    run(main())


def test_what_is_left_is_told_as_late_as_can_be() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "concurrency": 1,
            "deadline_header": "X-Left",
            "queue_timeout": "9s",
        }
        async with opened(says(200, after=2), **config) as under:
            await asyncio.gather(under.ask(within=10), under.ask(within=10))
            assert [one.headers["x-left"] for one in under.wire.asked] == ["10000", "8000"]

    run(main())


def test_the_direct_call_has_a_timeout_and_nothing_else() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "cache": {"ttl": "60s"},
            "retry": {"attempts": 3},
            "breaker": {"minimum": 1},
        }
        async with opened(says(503, 200, after=0.5), timeout="2s", **config) as under:
            with pytest.raises(UpstreamStatus):
                await under.upstream.direct(request())
            assert (await under.upstream.direct(request())).value == {"n": 2}
            assert (await under.upstream.direct(request())).value == {"n": 3}
            assert under.told == []
        async with opened(says(200, after=9), timeout="2s") as under:
            with pytest.raises(UpstreamTimeout):
                await under.upstream.direct(request())
            assert loop_time() - under.wire.began == pytest.approx(2, abs=0.05)

    run(main())


def test_an_upstream_that_keeps_nothing_can_be_kept_by_a_section() -> None:
    async def main() -> None:
        policy = CachePolicy(ttl=60)
        async with opened(says(200), cached=True) as under:
            assert [(await under.ask(cache=policy)).provenance.cache for _ in range(2)] == [
                "miss",
                "hit",
            ]
            assert [(await under.ask()).value["n"] for _ in range(2)] == [2, 3]

    run(main())


def test_sections_of_other_policies_share_no_flight() -> None:
    async def main() -> None:
        one, other = CachePolicy(ttl=60), CachePolicy(ttl=1)
        async with opened(says(200, after=1), cached=True) as under:
            await asyncio.gather(under.ask(cache=one), under.ask(cache=other), under.ask(cache=one))
            assert len(under.wire.asked) == 2

    run(main())


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"timeout": "3s", "retry": {}, "breaker": {}}, True),
        ({"headers": {"x-key": "other"}}, False),
        ({"answer": {"type": "object"}}, False),
        ({"max_depth": 5}, False),
        ({"base_url": f"{BASE}/v2"}, False),
    ],
)
def test_answers_of_another_declaration_are_not_ours(change: dict[str, Any], *, kept: bool) -> None:
    async def main() -> None:
        config: dict[str, Any] = {"base_url": BASE, "cache": {"ttl": "60s"}}
        async with opened(says(200), **config) as under:
            await under.ask()
            declared = HttpUpstreamConfig.model_validate({**config, **change})
            again = open_upstream(Declared("a", declared), under.shared)
            assert (await again.call(request())).provenance.cache == ("hit" if kept else "miss")
            await again.aclose()

    run(main())


def test_what_is_sent_is_the_declaration_s() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "base_url": f"{BASE}/v1", "headers": {"X-Key": "k", "Accept": "application/geo+json"},
            "forward_headers": ["Accept-Language", "User-Agent"],
        }  # fmt: skip
        async with opened(says(200), **config) as under:
            assert under.upstream.forward == (b"accept-language", b"user-agent")
            assert under.upstream.propagate == (b"traceparent", b"tracestate", b"x-request-id")
            await under.ask("/x?y=1", headers=[(b"accept-language", b"de")])
            await under.ask("/x?y=1", headers=[(b"user-agent", b"browser")])
            sent, other = under.wire.asked
            assert other.headers.get_list("user-agent") == ["browser"]
            assert str(sent.url) == f"{BASE}/v1/x?y=1"
            assert sent.headers["x-key"] == "k"
            assert sent.headers.get_list("accept") == ["application/geo+json"]
            assert sent.headers["user-agent"] == "aggregation-gateway"
            assert sent.headers["accept-language"] == "de"

    run(main())


def test_what_is_propagated_is_sent_and_keeps_no_answers_apart() -> None:
    async def main() -> None:
        config: dict[str, Any] = {
            "cache": {"ttl": "60s"},
            "propagate_headers": ["X-Trace", "Accept"],
        }
        async with opened(says(200, after=1), **config) as under:
            one, two = [(b"x-trace", b"1")], [(b"x-trace", b"2"), (b"accept", b"text/json")]
            first, second = await asyncio.gather(
                under.ask("/x", propagated=one), under.ask("/x", propagated=two)
            )
            third = await under.ask("/x", propagated=two)
            assert [first.provenance.cache, second.provenance.cache, third.provenance.cache] == [
                "miss",
                "collapsed",
                "hit",
            ]
            await under.ask("/y", propagated=two)
            sent, other = under.wire.asked
            assert (sent.headers["x-trace"], sent.headers["accept"]) == ("1", "application/json")
            assert other.headers.get_list("accept") == ["text/json"]

    run(main())


def test_what_is_propagated_goes_along_with_a_retry_and_a_refresh() -> None:
    async def main() -> None:
        cache = {"ttl": "1s", "stale_while_revalidate": "60s", "jitter": 0}
        config: dict[str, Any] = {"cache": cache, "retry": {"attempts": 2}}
        async with opened(says(503, 200), **config) as under:
            await under.ask(propagated=[(b"traceparent", b"1")])
            await asyncio.sleep(5)
            assert (
                await under.ask(propagated=[(b"traceparent", b"2")])
            ).provenance.cache == "stale"
            await asyncio.sleep(1)
            assert [sent.headers["traceparent"] for sent in under.wire.asked] == ["1", "1", "2"]

    run(main())


@pytest.mark.parametrize("transport", ["native", "httpx"])
@pytest.mark.parametrize("concurrency", [5, "adaptive"])
def test_either_transport_and_any_bound_can_be_stacked(transport: str, concurrency: Any) -> None:
    async def main() -> None:
        async with opened(says(200), transport=transport, concurrency=concurrency) as under:
            assert (await under.ask()).value == {"n": 1}

    run(main())


def test_closing_ends_what_is_under_way() -> None:
    async def main() -> None:
        async with opened(says(200, after=50), cache={"ttl": "60s"}) as under:
            waiting = asyncio.create_task(under.ask())
            await asyncio.sleep(1)
            waiting.cancel()
            await under.upstream.aclose()
            await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) == 1
            assert loop_time() - under.wire.began < 2

    run(main())
