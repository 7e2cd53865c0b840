from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.layers.budget import Budget, BudgetPolicy


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_fifth_of_the_calls() -> None:
    budget = Budget(BudgetPolicy(ratio=0.2, reserve=0), Clock())
    granted = 0
    for _ in range(1000):
        budget.deposit()
        granted += budget.withdraw()
    assert 199 <= granted <= 200


def test_a_few_whatever_the_rate() -> None:
    clock = Clock()
    budget = Budget(BudgetPolicy(ratio=0.2, reserve=3), clock)
    for _ in range(10):
        assert [budget.withdraw() for _ in range(5)] == [True, True, True, False, False]
        clock.now += 1


def test_the_reserve_comes_not_on_top() -> None:
    clock = Clock()
    budget = Budget(BudgetPolicy(ratio=0.2, reserve=3), clock)
    granted = 0
    for _ in range(10_000):  # 1,000 calls a second
        budget.deposit()
        granted += budget.withdraw()
        clock.now += 0.001
    assert granted <= 2000 + 3


def test_a_quiet_time_is_not_hoarded() -> None:
    budget = Budget(BudgetPolicy(ratio=0.2, reserve=0), Clock())
    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) == 10


def test_what_was_not_used_can_be_given_back() -> None:
    budget = Budget(BudgetPolicy(ratio=0.2, reserve=0), Clock())
    for _ in range(6):
        budget.deposit()
    assert budget.withdraw()
    assert not budget.withdraw()
    budget.refund()
    assert budget.withdraw()


@given(
    ratio=st.floats(0, 1),
    reserve=st.integers(0, 5),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(0, 5), st.integers(0, 5)), max_size=60),
)
def test_never_more_than_the_share_or_the_reserve(
    ratio: float, reserve: int, steps: list[tuple[float, int, int]]
) -> None:
    clock = Clock()
    budget = Budget(BudgetPolicy(ratio=ratio, reserve=reserve), clock)
    calls = granted = 0
    for seconds, deposits, withdrawals in steps:
        clock.now += seconds
        for _ in range(deposits):
            budget.deposit()
        calls += deposits
        granted += sum(budget.withdraw() for _ in range(withdrawals))
    seconds = clock.now - 1000
    assert granted <= ratio * calls + reserve * (seconds + 1) + 1e-6
