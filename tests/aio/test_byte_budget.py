from __future__ import annotations

import asyncio

import pytest

from gateway.aio.byte_budget import ByteBudget, Hold


class Line:
    """Holds in the order in which they were granted."""

    def __init__(self, capacity: int) -> None:
        self.budget = ByteBudget(capacity)
        self.granted: list[str] = []
        self.holds: dict[str, Hold] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, size: int, *, first: bool = False) -> None:
        """Ask for `size` bytes; the first letter of the name is the user."""

        async def waiting() -> None:
            self.holds[name] = await self.budget.hold(name[0], first=first).fill(size)
            self.granted.append(name)

        self.tasks[name] = asyncio.create_task(waiting())
        await settled()

    async def release(self, name: str) -> None:
        self.holds[name].release()
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_fits_waits_for_nothing() -> None:
    budget = ByteBudget(10)
    filling = budget.hold("a").fill(10)
    with pytest.raises(StopIteration):
        filling.send(None)  # to its end without a wait
    assert (budget.used, budget.waiting) == (10, 0)


async def test_what_does_not_fit_waits_until_there_is_room() -> None:
    line = Line(10)
    await line.ask("a1", 6)
    await line.ask("a2", 6)
    assert (line.granted, line.budget.waiting) == (["a1"], 1)
    await line.release("a1")
    assert (line.granted, line.budget.used, line.budget.waiting) == (["a1", "a2"], 6, 0)


async def test_a_large_one_is_not_overtaken_for_ever_by_small_ones() -> None:
    line = Line(10)
    await line.ask("a1", 6)
    await line.ask("b1", 10)
    await line.ask("c1", 1)
    assert line.granted == ["a1"]
    await line.release("a1")
    assert line.granted == ["a1", "b1"]
    await line.release("b1")
    assert line.granted == ["a1", "b1", "c1"]


async def test_users_take_turns() -> None:
    line = Line(1)
    for name in ("a0", "a1", "a2", "a3", "b1", "b2", "c1"):
        await line.ask(name, 1)
    for name in ("a0", "a1", "b1", "c1", "a2", "b2"):
        await line.release(name)
    assert line.granted == ["a0", "a1", "b1", "c1", "a2", "b2", "a3"]


async def test_who_has_memory_while_it_waits_goes_first() -> None:
    line = Line(1)
    await line.ask("a0", 1)
    await line.ask("a1", 1)
    await line.ask("b1", 1, first=True)
    await line.ask("a2", 1, first=True)
    line.tasks["b1"].cancel()
    await settled()
    for name in ("a0", "a2"):
        await line.release(name)
    assert line.granted == ["a0", "a2", "a1"]


async def test_what_needs_more_than_there_is_gets_all_of_it() -> None:
    line = Line(10)
    await line.ask("a1", 1000)
    assert line.budget.used == 10
    await line.ask("a2", 1)
    await line.release("a1")
    assert line.granted == ["a1", "a2"]


async def test_who_is_cancelled_in_the_line_leaves_it_to_those_behind() -> None:
    line = Line(10)
    await line.ask("a1", 6)
    await line.ask("b1", 10)
    await line.ask("c1", 2)
    line.tasks["b1"].cancel()
    await settled()
    assert (line.granted, line.budget.used, line.budget.waiting) == (["a1", "c1"], 8, 0)


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_who_is_cancelled_in_the_moment_of_its_turn_takes_nothing(
    cancelled_first: bool,
) -> None:
    line = Line(10)
    await line.ask("a1", 10)
    await line.ask("b1", 10)
    await line.ask("c1", 10)
    if cancelled_first:
        line.tasks["b1"].cancel()
        line.holds["a1"].release()
    else:
        line.holds["a1"].release()
        line.tasks["b1"].cancel()
    await settled()
    assert (line.granted, line.budget.used, line.budget.waiting) == (["a1", "c1"], 10, 0)


async def test_bytes_that_turn_out_not_to_be_needed_are_given_back() -> None:
    line = Line(10)
    await line.ask("a1", 10)
    await line.ask("b1", 4)
    line.holds["a1"].shrink(6)
    await settled()
    assert (line.granted, line.budget.used) == (["a1", "b1"], 10)
    line.holds["a1"].shrink(9)  # it never grows so
    for _ in range(2):
        await line.release("a1")
    assert line.budget.used == 4


async def test_who_has_bytes_already_waits_for_no_more() -> None:
    budget = ByteBudget(10)
    with await budget.hold("a").fill(10) as hold:
        await asyncio.wait_for(hold.fill(10), 5)
        assert budget.used == 10
    assert budget.used == 0
