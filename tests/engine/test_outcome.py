from __future__ import annotations

import pytest

from gateway.engine.outcome import Fault, Outcome, State
from gateway.errors import UpstreamTimeout


@pytest.mark.parametrize("element", [None, "k", 3])
def test_a_fallback_stands_in_for_a_failed_outcome_and_keeps_its_faults(
    element: str | int | None,
) -> None:
    error = UpstreamTimeout("late", upstream="a")
    failed = Outcome.failed(error, element)
    assert failed.faults == (Fault(error, element),)
    assert not failed.usable
    replaced = failed.replaced([1])
    assert (replaced.state, replaced.value, replaced.data) == (State.FALLBACK, [1], [1])
    assert replaced.faults is failed.faults
    assert replaced.usable
    assert failed.state is State.FAILED
