"""Admission, on virtual time; in the simulations the work of the event loop takes virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.aio.adaptive_lifo import AdaptiveLifo
from gateway.web import load_shedding
from gateway.web.load_shedding import TARGET, Admission, Door, Refusal, Waiter
from tests.virtual_time import VirtualLoop, loop_time, run

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 0.5


def admission(maximum: int = 10_000) -> Admission:
    return Admission(maximum, loop_time, loop_time)


def work(seconds: float) -> None:
    """Keep the event loop busy."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._jumping.now += seconds


class Coming(Waiter):
    """A request that is awaited."""

    def __init__(self, door: Door) -> None:
        super().__init__()
        self.door = door
        self.admission: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def begun(self) -> None:
        if self.admission.cancelled():  # and its task has not run yet
            self.door.leave(loop_time())
        else:
            self.admission.set_result(True)

    def refused(self) -> None:
        if not self.admission.done():
            self.admission.set_result(False)


async def waited(door: Door, arrived: float) -> bool:
    """Wait until a request is begun; return whether it was."""
    waiter = Coming(door)
    if not door.park(waiter, arrived):
        return False
    try:
        return await waiter.admission
    except asyncio.CancelledError:
        if waiter.admission.done() and not waiter.admission.cancelled():
            if waiter.admission.result():
                door.leave(arrived)
        else:
            door.abandon(waiter)
        raise


async def admitted(door: Door) -> bool:
    """Come to the door as an endpoint does; return whether the request was begun."""
    arrived = loop_time()
    return door.enter(arrived) or await waited(door, arrived)


def coming(door: Door) -> asyncio.Task[bool]:
    return asyncio.ensure_future(admitted(door))


async def turns(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_request_is_begun_at_once_while_there_is_time() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        assert door.enter(loop_time())
        assert (gate.in_flight, gate.waiting, gate.admitted) == (1, 0, 1)
        assert gate.limit == gate.maximum
        door.leave(loop_time())
        assert (gate.in_flight, door.in_flight) == (0, 0)

    run(main())


def test_one_turn_begins_only_so_many_requests_and_the_next_ones_the_rest() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        pace = int(gate.pace)
        requests = [coming(door) for _ in range(3 * pace)]
        await turns()
        assert (gate.in_flight, gate.waiting) == (pace, 2 * pace)
        assert gate.limit < gate.maximum
        assert all(await asyncio.gather(*requests))
        assert (gate.in_flight, gate.waiting) == (3 * pace, 0)

    run(main())


def test_the_pace_follows_the_length_of_the_turns() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(60)
        before = gate.pace

        async def one(seconds: float) -> None:
            await admitted(door)
            work(seconds)
            door.leave(loop_time())

        await asyncio.gather(*[one(2 * TARGET) for _ in range(200)])
        assert gate.pace == 1
        await asyncio.gather(*[one(TARGET / 1000) for _ in range(2000)])
        assert gate.pace > before

    run(main())


def test_a_turn_that_waited_for_its_core_is_not_long() -> None:
    async def main() -> None:
        asked = 0

        def cpu() -> float:
            nonlocal asked
            asked += 1
            return loop_time() / 100

        gate = Admission(10_000, loop_time, cpu)
        door = gate.door(60)
        before = gate.pace

        async def one(seconds: float) -> None:
            assert door.enter(loop_time())
            work(seconds)
            await turns(2)
            door.leave(loop_time())

        for _ in range(5):
            await one(0)
        assert asked == 0, "the CPU time of short turns is not asked for"
        for _ in range(11):
            await one(10 * TARGET)
        assert gate.pace == before
        assert asked > 5
        for _ in range(100):
            await one(0.9 * TARGET)
        before = asked
        for _ in range(10):
            await one(0.9 * TARGET)
        assert asked == before, "nor that of short turns some time after a long one"

    run(main())


def test_long_turns_are_noticed_while_no_request_waits() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(60)
        for _ in range(11):  # the first long turn may have waited for its core
            assert door.enter(loop_time())
            work(10 * TARGET)
            await turns(2)
            door.leave(loop_time())
        assert gate.pace == 1
        assert gate.lag == pytest.approx(10 * TARGET)

    run(main())


def test_slow_upstreams_do_not_limit_requests_in_flight() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(30)
        requests = [coming(door) for _ in range(5000)]
        await asyncio.sleep(0.1)
        assert all(request.done() for request in requests)
        assert gate.in_flight == 5000

    run(main())


def test_beyond_the_maximum_requests_are_refused_at_once() -> None:
    async def main() -> None:
        gate = admission(2)
        door = gate.door(DEADLINE)
        assert await admitted(door)
        assert await admitted(door)
        assert not await admitted(door)
        assert gate.refused[Refusal.IN_FLIGHT] == 1
        door.leave(loop_time())
        assert await admitted(door)

    run(main())


def test_the_maximum_counts_requests_that_wait() -> None:
    async def main() -> None:
        gate = admission(40)
        door = gate.door(DEADLINE)
        requests = [coming(door) for _ in range(41)]
        await turns()
        assert gate.waiting == 8
        assert requests[-1].done()
        assert not requests[-1].result()
        assert all(await asyncio.gather(*requests[:-1]))

    run(main())


def full(door: Door) -> None:
    """Lower the limit of a door to one request, which is in flight."""
    assert door.enter(loop_time())
    door.leave(loop_time(), shed=True)
    assert door.limit == 1
    assert door.enter(loop_time())


def test_a_request_that_waited_too_long_is_never_begun() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        full(door)
        arrived = loop_time()
        assert not await admitted(door)
        assert loop_time() - arrived == pytest.approx(DEADLINE, abs=3 * TARGET)
        assert gate.refused[Refusal.LATE] == 1
        assert (gate.in_flight, gate.waiting) == (1, 0)

    run(main())


def test_a_request_with_less_time_than_it_usually_takes_is_never_begun() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        for _ in range(50):
            began = loop_time()
            assert await admitted(door)
            await asyncio.sleep(0.2)
            door.leave(began)
        full(door)
        arrived = loop_time()
        assert not await admitted(door)
        assert loop_time() - arrived == pytest.approx(DEADLINE - 0.2, abs=3 * TARGET)

    run(main())


def test_requests_that_take_as_long_as_their_deadline_are_begun_all_the_same() -> None:
    async def main() -> None:
        door = admission().door(DEADLINE)
        for _ in range(100):
            began = loop_time()
            assert await admitted(door)
            await asyncio.sleep(DEADLINE)
            door.leave(began)

    run(main())


def test_the_request_of_a_client_that_left_is_never_begun() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        full(door)
        gone, patient = coming(door), coming(door)
        await turns()
        gone.cancel()
        await asyncio.wait([gone])
        assert gate.waiting == 1
        door.leave(loop_time())
        assert await patient
        assert (gate.in_flight, gate.waiting, sum(gate.refused.values())) == (1, 0, 1)

    run(main())


def test_a_request_cancelled_when_it_is_begun_gives_its_place_back() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        full(door)
        gone = coming(door)
        await turns()
        door.leave(loop_time())
        asyncio.get_running_loop().call_soon(gone.cancel)  # after it was begun, in the same turn
        await asyncio.wait([gone])
        assert (gate.in_flight, gate.waiting) == (0, 0)

    run(main())


def test_a_request_abandoned_before_its_turn_gives_its_place_back_and_is_not_begun() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        full(door)
        waiter = Coming(door)
        assert door.park(waiter, loop_time())
        door.leave(loop_time())
        while not waiter.admitted:  # to be begun in the next turn
            await turns()
        door.abandon(waiter)
        await turns(2)
        assert not waiter.admission.done()
        assert (gate.in_flight, gate.waiting) == (0, 0)

    run(main())


def test_a_place_that_is_free_too_late_begins_no_request() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(DEADLINE)
        full(door)
        late = coming(door)
        await turns()
        work(2 * DEADLINE)
        door.leave(loop_time())
        assert gate.in_flight == 0
        assert not await late
        assert gate.refused[Refusal.LATE] == 1

    run(main())


def test_dashboards_take_turns() -> None:
    async def main() -> None:
        gate = admission()
        flooded, quiet = gate.door(60), gate.door(60)
        flood = [coming(flooded) for _ in range(1000)]
        await turns()
        visitor = coming(quiet)
        await turns(4)
        assert visitor.done()
        assert sum(request.done() for request in flood) < 500
        await asyncio.gather(*flood)

    run(main())


def test_a_limit_of_one_dashboard_leaves_the_others_alone() -> None:
    async def main() -> None:
        gate = admission()
        limited, free = gate.door(60), gate.door(60)
        full(limited)
        waiting = coming(limited)
        await turns(5)
        assert await asyncio.wait_for(admitted(free), 1)
        assert not waiting.done()
        waiting.cancel()

    run(main())


def test_no_turn_of_the_loop_is_spent_while_only_a_limit_holds_requests() -> None:
    async def main() -> None:
        gate = admission()
        door = gate.door(60)
        full(door)
        waiting = coming(door)
        await turns(5)
        assert not gate._pending
        door.leave(loop_time())
        assert await asyncio.wait_for(waiting, 1)

    run(main())


def test_the_limit_falls_once_for_requests_in_flight_together_and_rises_again() -> None:
    async def main() -> None:
        gate = admission(100)
        door = gate.door(60)
        began = loop_time()
        for _ in range(20):
            assert await admitted(door)
        work(1)
        for _ in range(10):
            door.leave(began, shed=True)
        assert door.limit == 20 * 0.9
        for _ in range(10):
            door.leave(began)
        assert 20 * 0.9 < door.limit < 25
        for _ in range(10_000):
            door.enter(loop_time())
            door.leave(loop_time())
            await turns()
        assert door.limit >= 100

    run(main())


def test_it_goes_on_in_another_event_loop() -> None:
    gate = Admission(10_000)
    door = gate.door(DEADLINE)

    async def one() -> bool:
        return door.enter(gate.clock()) or await waited(door, gate.clock())

    def abandoned() -> None:
        while door.enter(gate.clock()):
            pass
        loop.stop()  # before the turn that it measures is over

    loop = asyncio.new_event_loop()
    loop.call_soon(abandoned)
    loop.run_forever()
    loop.close()
    assert gate._pending
    assert asyncio.run(one())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["come", "leave", "vain", "cancel", "turn", "wait"]), max_size=80))
def test_every_request_is_counted_until_it_has_ended(  # noqa: C901 - one step of each kind
    steps: list[str],
) -> None:
    async def main() -> None:
        gate = admission(50)
        gate.pace = 3.0
        doors = [gate.door(DEADLINE), gate.door(2 * DEADLINE)]
        tasks: list[tuple[Door, asyncio.Task[bool]]] = []
        inside: list[Door] = []

        def collect() -> None:
            for door, task in [one for one in tasks if one[1].done()]:
                tasks.remove((door, task))
                if not task.cancelled() and task.result():
                    inside.append(door)

        for number, step in enumerate(steps):
            door = doors[number % 2]
            if step == "come":
                tasks.append((door, coming(door)))
            elif step == "cancel" and tasks:
                tasks[number % len(tasks)][1].cancel()
            elif step in {"leave", "vain"} and inside:
                inside.pop(number % len(inside)).leave(loop_time(), shed=step == "vain")
            await asyncio.sleep(0.3 if step == "wait" else 0)
            collect()
        while tasks or inside:
            for door in inside:
                door.leave(loop_time())
            inside.clear()
            await asyncio.sleep(0.01)
            collect()
        assert (gate.in_flight, gate.waiting) == (0, 0)
        assert all(door.in_flight == door.waiting == 0 for door in doors)

    run(main())


class Simulated:
    """A gateway on one core in front of an upstream, and clients of a closed loop.

    A request costs CPU time when it comes, when it is begun and when its answer is sent, and a
    refusal does too. In between it waits for its upstream.
    """

    ARRIVAL, BEGIN, END, REFUSAL = 20e-6, 60e-6, 60e-6, 20e-6

    def __init__(self, door: Door | None, upstream: float = 0.002) -> None:
        self._door = door
        self._upstream = upstream
        self.in_time = self.late = self.refused = self.longest = 0.0

    async def answer(self, sent: float) -> None:
        work(self.ARRIVAL)
        arrived = loop_time()
        if self._door is not None and not (
            self._door.enter(arrived) or await waited(self._door, arrived)
        ):
            work(self.REFUSAL)
            self.refused += 1
            return
        began = loop_time()
        work(self.BEGIN)
        await asyncio.sleep(self._upstream)
        work(self.END)
        if self._door is not None:
            self._door.leave(began)
        if loop_time() - sent <= DEADLINE:
            self.in_time += 1
        else:
            self.late += 1

    async def probe(self, until: float) -> None:
        while loop_time() < until:
            due = loop_time() + 0.01
            await asyncio.sleep(0.01)
            self.longest = max(self.longest, loop_time() - due)

    async def closed_loop(self, clients: int, seconds: float) -> float:
        """Return the complete answers per second after the first second."""

        async def client() -> None:
            while (sent := loop_time() + 1e-4) < until:
                await asyncio.sleep(1e-4)  # longer, if the loop is busy then
                await self.answer(sent)

        until = loop_time() + seconds
        tasks = [asyncio.ensure_future(client()) for _ in range(clients)]
        await asyncio.sleep(1)
        self.in_time = self.late = self.refused = 0
        probing = asyncio.ensure_future(self.probe(until))
        began = loop_time()
        await asyncio.sleep(seconds - 1)
        rate = self.in_time / (loop_time() - began)
        probing.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, probing, return_exceptions=True)
        return rate


CAPACITY = 1 / (Simulated.ARRIVAL + Simulated.BEGIN + Simulated.END)


def simulated(clients: int, make: Callable[[], Door | None]) -> tuple[float, Simulated]:
    async def main() -> tuple[float, Simulated]:
        server = Simulated(make())
        return await server.closed_loop(clients, 3), server

    return run(main())


def fresh_door() -> Door:
    return admission().door(DEADLINE)


@pytest.mark.no_cover
@pytest.mark.parametrize("clients", [64, 512, 6000])
def test_goodput_stays_near_capacity_whatever_is_asked(clients: int) -> None:
    rate, server = simulated(clients, fresh_door)
    assert rate >= 0.9 * CAPACITY
    assert server.late <= 0.01 * server.in_time
    assert server.longest <= 0.02


@pytest.mark.no_cover
def test_without_admission_goodput_collapses() -> None:
    rate, server = simulated(6000, lambda: None)
    assert rate <= 0.1 * CAPACITY
    assert server.late > 0


@pytest.mark.no_cover
def test_first_in_first_out_alone_serves_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AdaptiveLifo, "overloaded", lambda *_: False)
    monkeypatch.setattr(Door, "_needed", 0.0)
    rate, _ = simulated(6000, fresh_door)
    assert rate <= 0.5 * CAPACITY


@pytest.mark.no_cover
def test_refusals_without_a_pace_of_their_own_take_the_time_of_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Simulated, "REFUSAL", 100e-6)
    paced, _ = simulated(6000, fresh_door)
    monkeypatch.setattr(load_shedding, "_STARTS_PER_REFUSAL", 1e-9)
    unpaced, _ = simulated(6000, fresh_door)
    assert paced >= 0.8 * CAPACITY
    assert unpaced <= 0.5 * CAPACITY
