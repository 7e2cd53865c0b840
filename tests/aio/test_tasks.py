from __future__ import annotations

import asyncio

import pytest

from gateway.aio.tasks import cancel_and_wait, run_all
from tests.virtual_time import loop_time, run


async def value(seconds: float, result: int) -> int:
    await asyncio.sleep(seconds)
    return result


async def bug(seconds: float) -> int:
    await asyncio.sleep(seconds)
    raise ZeroDivisionError


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_results_keep_the_order_whatever_ends_first(count: int) -> None:
    async def main() -> tuple[list[int], float]:
        began = loop_time()
        loop = asyncio.get_running_loop()
        results = await run_all(loop, [value(5 - n, n) for n in range(count)])
        return results, loop_time() - began

    assert run(main()) == (list(range(count)), 5 if count else 0)


def test_a_bug_in_one_ends_the_others() -> None:
    async def main() -> tuple[float, int]:
        began = loop_time()
        with pytest.raises(ZeroDivisionError):
            await run_all(asyncio.get_running_loop(), [value(60, 1), bug(1), value(2, 2)])
        return loop_time() - began, len(asyncio.all_tasks())

    assert run(main()) == (1, 1)


def test_a_bug_comes_before_the_cancellations_that_it_leads_to() -> None:
    async def main() -> None:
        shared: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def owner() -> int:
            try:
                return await bug(1)
            finally:
                shared.cancel()

        async def waiter() -> int:
            return await asyncio.shield(shared)

        waiters = [waiter() for _ in range(50)]
        with pytest.raises(ZeroDivisionError):
            await run_all(asyncio.get_running_loop(), [*waiters[:25], owner(), *waiters[25:]])

    run(main())


def test_ending_waits_for_all_and_tells_a_cancellation_afterwards() -> None:
    async def slow_to_close() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(5)

    async def main() -> tuple[float, bool]:
        task = asyncio.create_task(slow_to_close())
        await asyncio.sleep(0)
        ending = asyncio.create_task(cancel_and_wait([task]))
        began = loop_time()
        await asyncio.sleep(1)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        return loop_time() - began, task.cancelled()

    assert run(main()) == (5, True)


def test_ending_what_has_ended_is_nothing() -> None:
    async def main() -> float:
        task = asyncio.create_task(value(1, 1))
        await task
        await cancel_and_wait([task])
        await cancel_and_wait([])
        return loop_time()

    assert run(main()) == 1001
