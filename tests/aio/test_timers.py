from __future__ import annotations

import asyncio

import pytest

from gateway.aio.timers import Alarm, Wheel
from tests.layers.task_timers import Timer
from tests.virtual_time import loop_time, run


class TooSlow(Exception):
    pass


async def bounded(wheel: Wheel, allowed: float, needed: float) -> str:
    timer = Timer(wheel, allowed)
    try:
        await asyncio.sleep(needed)
    except asyncio.CancelledError:
        if timer.stop():
            raise TooSlow from None
        raise
    finally:
        timer.stop()
    return "done"


def current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


def test_work_in_time_is_left_alone_and_its_timer_is_gone() -> None:
    async def main() -> None:
        wheel = Wheel()
        assert await bounded(wheel, 1, 0.999) == "done"
        await asyncio.sleep(2)
        assert current().cancelling() == 0

    run(main())


@pytest.mark.parametrize("allowed", [0.0, 0.001, 0.004, 1.0, 2.5, 3600.0])
def test_work_that_takes_too_long_is_cancelled_never_early_and_hardly_late(allowed: float) -> None:
    async def main() -> None:
        began = loop_time()
        with pytest.raises(TooSlow):
            await bounded(Wheel(0.004), allowed, allowed + 100)
        assert allowed <= loop_time() - began <= allowed + 0.004 + 1e-6
        assert current().cancelling() == 0

    run(main())


def test_cancellation_from_outside_is_not_translated() -> None:
    async def main() -> None:
        task = asyncio.create_task(bounded(Wheel(), 1, 2))
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_cancellation_from_outside_in_the_same_moment_wins() -> None:
    async def main() -> None:
        wheel = Wheel(0.004)
        task = asyncio.create_task(bounded(wheel, 1, 2))
        await asyncio.sleep(0)
        for slot in wheel._slots.values():
            for alarm in tuple(slot):
                alarm.ring()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_of_two_timers_in_the_same_moment_the_outer_one_wins() -> None:
    async def main() -> None:
        inner, outer = Wheel(), Wheel()
        timer = Timer(outer, 1)
        with pytest.raises(asyncio.CancelledError):
            await bounded(inner, 1, 2)
        assert timer.stop()
        assert current().cancelling() == 0

    run(main())


def test_an_inner_timer_is_told_from_an_outer_one() -> None:
    async def main() -> None:
        wheel = Wheel()
        timer = Timer(wheel, 2)
        with pytest.raises(TooSlow):
            await bounded(wheel, 1, 5)
        assert not timer.stop()

    run(main())


def test_work_that_swallows_the_cancellation_leaves_no_trace() -> None:
    async def main() -> None:
        timer = Timer(Wheel(), 1)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(2)
        assert timer.stop()
        assert not timer.stop()
        assert current().cancelling() == 0

    run(main())


def test_alarms_of_one_tick_share_a_timer_of_the_loop() -> None:
    async def main() -> None:
        rang: list[float] = []

        class Note(Alarm):
            def ring(self) -> None:
                rang.append(loop_time())

        wheel = Wheel(1.0)
        wheel.task()
        for _ in range(100):
            wheel.set(Note(), 5.5)
        assert len(wheel._slots) == 1
        await asyncio.sleep(10)
        assert len(rang) == 100
        assert not wheel._slots

    run(main())


def test_a_wheel_moves_on_to_a_new_loop() -> None:
    wheel = Wheel()

    async def leave_behind() -> None:
        Timer(wheel, 1)

    async def main() -> None:
        with pytest.raises(TooSlow):
            await bounded(wheel, 1, 5)

    run(leave_behind())
    run(main())  # virtual loops begin at the same time: the same slot, which the old loop held


def test_an_alarm_needs_a_task() -> None:
    async def main() -> None:
        failures: list[BaseException] = []

        def outside() -> None:
            try:
                Wheel().task()
            except RuntimeError as error:
                failures.append(error)

        asyncio.get_running_loop().call_soon(outside)
        await asyncio.sleep(0.1)
        assert len(failures) == 1

    run(main())


def test_an_alarm_without_a_meaning_is_a_mistake() -> None:
    with pytest.raises(NotImplementedError):
        Alarm().ring()


def test_an_alarm_that_fails_stops_no_other_of_its_tick() -> None:
    rung: list[str] = []
    reported: list[str] = []

    class Failing(Alarm):
        def ring(self) -> None:
            rung.append("one")
            raise ValueError("a bug")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, what: reported.append(str(what["exception"])))
        wheel = Wheel()
        wheel.attach()
        for _ in range(3):
            wheel.set(Failing(), 1)
        await asyncio.sleep(2)

    run(main())
    assert rung == ["one"] * 3
    assert reported == ["a bug"] * 3
