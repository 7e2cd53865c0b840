from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.aio.adaptive_lifo import AdaptiveLifo


def queue(*arrivals: tuple[str, float]) -> AdaptiveLifo[str]:
    found: AdaptiveLifo[str] = AdaptiveLifo()
    for name, now in arrivals:
        found.append(name, now, now + 10)
    return found


def test_the_oldest_is_served_first_while_it_has_half_of_its_time() -> None:
    waiting = queue(("a", 0), ("b", 1), ("c", 2))
    assert not waiting.overloaded(5)
    assert [waiting.take(4.9), waiting.take(4.9), waiting.take(4.9)] == ["a", "b", "c"]


def test_the_newest_is_served_first_while_the_oldest_has_spent_half_of_its_time() -> None:
    waiting = queue(("a", 0), ("b", 1), ("c", 2))
    assert waiting.overloaded(5.1)
    assert waiting.take(5.1) == "c"
    assert waiting.oldest() == "a"
    waiting.discard("a")
    assert not waiting.overloaded(5.1)
    assert waiting.take(5.1) == "b"
    assert len(waiting) == 0
    assert not waiting.overloaded(99)


@given(st.lists(st.tuples(st.sampled_from("atd"), st.integers(0, 9)), max_size=40))
def test_each_waiter_is_served_once_or_discarded(steps: list[tuple[str, int]]) -> None:
    waiting: AdaptiveLifo[int] = AdaptiveLifo()
    inside: set[int] = set()
    for number, (step, which) in enumerate(steps):
        now = float(number)
        if step == "a":
            waiting.append(number, now, now + which)
            inside.add(number)
        elif step == "d":
            gone = sorted(inside)[which % len(inside)] if inside else -1
            waiting.discard(gone)
            inside.discard(gone)
        elif inside:
            taken = waiting.take(now)
            assert taken in {min(inside), max(inside)}
            inside.remove(taken)
        assert len(waiting) == len(inside)
