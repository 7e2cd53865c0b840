from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.aio.bounded import bounded
from gateway.aio.tasks import cancel_until_gone
from tests.layers.test_cache import on_virtual_time
from tests.virtual_time import loop_time


@on_virtual_time
async def test_what_ends_in_time_is_passed_on() -> None:
    assert await bounded(asyncio.sleep(0.04, "done"), 0.05) == "done"
    with pytest.raises(ZeroDivisionError):
        await bounded(raising(), 0.05)


async def raising() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


@on_virtual_time
async def test_what_does_not_is_cancelled() -> None:
    with pytest.raises(TimeoutError):
        await bounded(asyncio.sleep(1), 0.05)
    assert loop_time() == pytest.approx(1000.05)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_virtual_time
async def test_somebody_elses_cancellation_stays_one() -> None:
    task = asyncio.ensure_future(bounded(asyncio.sleep(1), 0.5))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def stubborn(times: int) -> str:
    for _ in range(times):
        with contextlib.suppress(asyncio.CancelledError):  # lost, as in asyncio.wait_for
            await asyncio.sleep(10)
    return "late"


@on_virtual_time
async def test_a_lost_cancellation_is_repeated() -> None:
    async def two() -> None:
        await stubborn(2)
        await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        await bounded(two(), 0.05)
    assert loop_time() == pytest.approx(1000.07)
    assert await bounded(stubborn(1), 0.05) == "late"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_virtual_time
async def test_tasks_are_ended_whatever_they_think_of_it() -> None:
    tasks = [asyncio.ensure_future(stubborn(times)) for times in (1, 3)]
    done = asyncio.ensure_future(asyncio.sleep(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await cancel_until_gone([*tasks, done])
    assert all(task.done() for task in tasks)
    await cancel_until_gone([])


@on_virtual_time
async def test_a_busy_event_loop_is_not_held_against_the_server() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def stall() -> None:
        # While the loop is kept busy for twice the time the answer arrives, and waits its turn.
        loop._jumping.now += 0.1  # type: ignore[attr-defined]
        loop.call_soon(loop.call_soon, answer.set_result, "answer")

    loop.call_later(0.001, stall)
    assert await bounded(answer, 0.05) == "answer"
    assert loop_time() == pytest.approx(1000.101)
