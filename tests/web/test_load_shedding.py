from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.web.load_shedding import InFlight


def test_beyond_the_bound_nobody_enters_until_somebody_leaves() -> None:
    in_flight = InFlight(2)
    assert [in_flight.enter() for _ in range(3)] == [True, True, False]
    assert in_flight.count == 2  # who was refused is not counted, and must not leave
    in_flight.leave()
    assert in_flight.enter()
    assert not in_flight.enter()


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60))
def test_the_bound_holds_whoever_comes_and_goes(limit: int, comes: list[bool]) -> None:
    in_flight = InFlight(limit)
    inside = 0
    for one_comes in comes:
        if one_comes:
            assert in_flight.enter() is (inside < limit)
            inside = min(inside + 1, limit)
        elif inside:
            in_flight.leave()
            inside -= 1
        assert in_flight.count == inside <= limit
