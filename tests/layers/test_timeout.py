from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamTimeout
from gateway.layers.timeout import TimeoutPolicy, timeout
from tests.layers.fakes import NAME, FakeUpstream, context, request
from tests.virtual_time import loop_time, run


def test_an_answer_in_time_passes() -> None:
    async def main() -> None:
        call = timeout(TimeoutPolicy(timeout=3), context())(FakeUpstream((2.9, None)))
        assert (await call(request())).value == {"number": 0}

    run(main())


def test_a_late_answer_is_the_upstreams_failure() -> None:
    async def main() -> None:
        upstream = FakeUpstream((60, None))
        call = timeout(TimeoutPolicy(timeout=3), context())(upstream)
        began = loop_time()
        with pytest.raises(UpstreamTimeout, match="no answer within 3 s") as caught:
            await call(request(100))
        assert loop_time() - began == pytest.approx(3, abs=0.01)
        assert caught.value.upstream == NAME
        assert caught.value.retryable
        assert upstream.cancelled == 1

    run(main())


def test_time_waited_before_the_layer_is_not_charged() -> None:
    async def main() -> None:
        call = timeout(TimeoutPolicy(timeout=1), context())(FakeUpstream((0.9, None)))
        asked = request()
        await asyncio.sleep(5)
        await call(asked)

    run(main())


@pytest.mark.parametrize("left", [1.5, 2.0, 3.0, 3.005])
def test_an_ample_attempt_fails_just_inside_the_deadline(left: float) -> None:
    async def main() -> None:
        call = timeout(TimeoutPolicy(timeout=3), context())(FakeUpstream((60, None)))
        began = loop_time()
        with pytest.raises(UpstreamTimeout, match="in the time that was left"):
            await call(request(left))
        assert left - 0.011 < loop_time() - began < left

    run(main())


@pytest.mark.parametrize(
    ("takes", "put_off", "said", "at"),
    [
        (2.9, 100, None, 2.9),
        (60, 100, "no answer within 3 s", 3.0),
        (60, 0.5, "in the time that was left", 2.49),
    ],
)
def test_a_deadline_that_is_put_off_gives_the_attempt_more_of_its_time(
    takes: float, put_off: float, said: str | None, at: float
) -> None:
    async def main() -> None:
        call = timeout(TimeoutPolicy(timeout=3), context())(FakeUpstream((takes, None)))
        began, asked = loop_time(), request(2)
        waiting = asyncio.ensure_future(call(asked))
        await asyncio.sleep(1)
        asked.deadline.at += put_off  # another caller has joined the flight
        if said is None:
            await waiting
        else:
            with pytest.raises(UpstreamTimeout, match=said):
                await waiting
        assert loop_time() - began == pytest.approx(at, abs=0.02)

    run(main())


def test_a_short_attempt_is_left_to_the_deadline() -> None:
    async def main() -> None:
        call = timeout(TimeoutPolicy(timeout=3), context())(FakeUpstream((60, None)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.4):
                await call(request(1.4))

    run(main())


def test_cancellation_by_others_is_not_translated() -> None:
    async def main() -> None:
        call = timeout(TimeoutPolicy(timeout=3), context())(FakeUpstream((60, None)))
        task = asyncio.ensure_future(call(request()))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
