from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.values.histogram import BOUNDS, Histogram


@given(st.lists(st.floats(0, 100)))
def test_each_duration_is_in_the_first_bucket_that_is_not_too_small(durations: list[float]) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
        if len(histogram.recent) > 3:
            histogram.sort()
    expected = [0] * (len(BOUNDS) + 1)
    for seconds in durations:
        for at, bound in enumerate((*BOUNDS, float("inf"))):
            if seconds <= bound:
                expected[at] += 1
                break
    assert histogram.counts == expected
    assert histogram.total == sum(durations)
