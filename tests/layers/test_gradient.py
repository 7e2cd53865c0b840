from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from gateway.layers.gradient import Gradient, Window

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOWS = 6000


class Simulation:
    """An upstream that serves `capacity` calls at once and lets the others wait.

    Little's law: with more in flight than it serves at once, the round trip is in flight over
    throughput, and the throughput is capacity over service time.
    """

    def __init__(
        self,
        capacity: Callable[[int], int],
        service: Callable[[int], float],
        demand: int,
        noise: float = 0.0,
    ) -> None:
        rng = random.Random(7)
        self.gradient = Gradient()
        limit = int(self.gradient.limit)
        self.limits: list[int] = []
        self.slowdowns: list[float] = []
        self.throughputs: list[float] = []
        for window in range(WINDOWS):
            in_flight = min(limit, demand)
            slowdown = max(1.0, in_flight / capacity(window))
            rtt = service(window) * slowdown * (1 + noise * (rng.random() - 0.5))
            limit = self.gradient.update(rtt, in_flight, dropped=False)
            self.limits.append(limit)
            self.slowdowns.append(slowdown)
            self.throughputs.append(min(1.0, in_flight / capacity(window)))

    def late(self, values: list[float]) -> float:
        return sum(values[-1000:]) / 1000


@pytest.mark.parametrize("capacity", [2, 5, 10, 50, 100])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_it_finds_what_the_upstream_serves(capacity: int, noise: float) -> None:
    run = Simulation(lambda _: capacity, lambda _: 0.05, demand=10_000, noise=noise)
    assert run.late(run.throughputs) > 0.98
    assert run.late(run.slowdowns) < (2.7 if capacity == 2 else 2)
    assert capacity * 0.9 <= run.late([float(limit) for limit in run.limits]) <= capacity * 2.7


def test_without_a_limit_the_same_upstream_is_overrun() -> None:
    in_flight = 10_000
    assert max(1.0, in_flight / 50) == 200  # what the simulation makes of demand alone


def test_an_upstream_that_became_slower_is_not_throttled_for_ever() -> None:
    run = Simulation(lambda _: 50, lambda window: 0.05 if window < 1000 else 0.2, demand=10_000)
    assert run.late(run.throughputs) > 0.98
    assert run.gradient.usual == pytest.approx(0.2, rel=0.05)


def test_an_upstream_that_lost_capacity_gets_fewer_calls() -> None:
    run = Simulation(lambda window: 50 if window < 1000 else 10, lambda _: 0.05, demand=10_000)
    assert run.limits[990] > 60
    assert run.limits[1090] < 30
    assert run.late(run.slowdowns) < 2


def test_no_growth_while_little_is_asked_for() -> None:
    run = Simulation(lambda _: 50, lambda _: 0.05, demand=8)
    assert run.gradient.limit == 20


def test_dropped_calls_shrink_it_down_to_its_lowest() -> None:
    gradient = Gradient(20, 2, 200)
    gradient.update(0, 20, dropped=True)
    assert gradient.limit == pytest.approx(18)
    for _ in range(98):
        gradient.update(0, 20, dropped=True)
    assert gradient.update(0, 20, dropped=True) == 2


def test_it_never_exceeds_its_highest() -> None:
    gradient = Gradient(20, 1, 30)
    for _ in range(500):
        assert gradient.update(0.05, int(gradient.limit), dropped=False) <= 30
    assert Gradient(500, 1, 30).limit == 30


def test_a_window_needs_time_and_answers() -> None:
    window = Window(0.0)
    for _ in range(9):
        window.answered(0.01)
    assert not window.is_over(1.0)
    window.dropped += 1
    assert not window.is_over(0.05)
    assert window.is_over(0.1)


def test_a_window_lasts_two_round_trips() -> None:
    window, gradient = Window(0.0), Gradient()
    for _ in range(10):
        window.answered(3.0)
    window.judge(gradient, 3.0)
    for _ in range(10):
        window.answered(3.0)
    assert not window.is_over(8.9)
    assert window.is_over(9.0)
