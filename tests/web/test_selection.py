from __future__ import annotations

import pytest

from gateway.engine.execution import BoundPlan
from gateway.web.parameters import InvalidRequestError
from gateway.web.selection import Selections
from tests.planning import Upstreams, after, plan


def test_a_dashboard_remembers_the_selections_that_were_asked_for_last() -> None:
    sections = "\n".join(f'n{number}: {{get: "a:/{number}"}}' for number in range(40))
    selections = Selections(BoundPlan(plan(sections), {"a": Upstreams(after(0))}))
    first = selections.of(["n0,n1"])
    assert selections.of(["n1", "n0"]) is first
    for number in range(2, 33):
        selections.of([f"n{number}"])
    assert selections.of(["n0,n1"]) is first
    for number in range(2, 34):
        selections.of([f"n{number}"])
    assert len(selections._latest) == 32
    assert selections.of(["n0,n1"]) is not first
    assert selections.asked(b"") is selections.whole
    assert selections.asked(b"other=1&%74=2") is selections.whole
    with pytest.raises(InvalidRequestError):
        selections.asked(b"sections=nope")
