from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.aio.batching import Batcher
from tests.layers.test_cache import on_virtual_time
from tests.virtual_time import loop_time

if TYPE_CHECKING:
    from collections.abc import Sequence


class Doubling:
    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.batches: list[list[int]] = []

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        await asyncio.sleep(self.seconds)
        return [item * 2 for item in items]


@on_virtual_time
async def test_one_turn_of_the_loop_is_one_batch() -> None:
    run = Doubling()
    batches: Batcher[int, int] = Batcher(run, -1)
    assert await asyncio.gather(*(batches.submit(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert run.batches == [[0, 1, 2, 3, 4]]
    assert await batches.submit(7) == 14
    assert loop_time() == pytest.approx(1000.02)


@on_virtual_time
async def test_while_all_lanes_are_busy_items_gather() -> None:
    run = Doubling()
    batches: Batcher[int, int] = Batcher(run, -1, lanes=2, size=3)
    futures = []
    for number in range(10):
        futures.append(batches.submit(number))
        await asyncio.sleep(0.001)
    assert await asyncio.gather(*futures) == [number * 2 for number in range(10)]
    assert run.batches == [[0], [1], [2, 3, 4], [5, 6, 7], [8, 9]]


@on_virtual_time
async def test_too_much_comes_to_nothing_at_once() -> None:
    batches: Batcher[int, int] = Batcher(Doubling(), -1, limit=3)
    futures = [batches.submit(number) for number in range(5)]
    assert [future.done() for future in futures] == [False, False, False, True, True]
    assert await asyncio.gather(*futures) == [0, 2, 4, -1, -1]


@on_virtual_time
async def test_a_failing_batch_comes_to_nothing_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run(items: list[int]) -> Sequence[int]:
        raise ZeroDivisionError

    async def short(items: list[int]) -> Sequence[int]:
        return items[:1]

    failing: Batcher[int, int] = Batcher(run, -1)
    assert await asyncio.gather(*map(failing.submit, (1, 2))) == [-1, -1]
    assert "ZeroDivisionError" in caplog.text
    few: Batcher[int, int] = Batcher(short, -1)
    assert await asyncio.gather(*map(few.submit, (1, 2))) == [1, -1]


@on_virtual_time
async def test_who_leaves_harms_no_others() -> None:
    batches: Batcher[int, int] = Batcher(Doubling(), -1)
    one, two = batches.submit(1), batches.submit(2)
    await asyncio.sleep(0)
    one.cancel()
    assert await two == 4


@on_virtual_time
async def test_draining_waits_for_all_and_closing_for_none() -> None:
    run = Doubling()
    batches: Batcher[int, int] = Batcher(run, -1, lanes=1, size=1)
    futures = [batches.submit(number) for number in range(3)]
    await batches.drain()
    assert all(future.done() for future in futures)
    await batches.drain()
    slow: Batcher[int, Any] = Batcher(Doubling(100), None, lanes=1, size=1)
    left = [slow.submit(number) for number in range(3)]
    await asyncio.sleep(1)
    await slow.aclose()
    assert await asyncio.gather(*left) == [None] * 3
    assert asyncio.all_tasks() == {asyncio.current_task()}
