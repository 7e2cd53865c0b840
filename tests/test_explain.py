from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from gateway.config.loader import load, loads, shipped
from gateway.explain import Explanation, NoSuchPathError, explain

TEXT = """
upstreams:
  a: {base_url: http://a.test, timeout: 2s, retry: {attempts: 3, cap: 1s}, cache: {ttl: 1m}}
  b: {base_url: http://b.test, timeout: 1s}
dashboards:
  d:
    path: /d/{id}
    deadline: 5s
    parameters:
      id: {type: integer}
      n: {type: array, items: {type: integer}, required: false}
    sections:
      one: {get: "a:/one/{id}", required: true}
      two: {get: "b:/two?x={one.x}", when: "one.on", fallback: 1}
      each: {for_each: {in: "{n}", limit: 10}, get: "b:/each/{item}", hidden: true}
      many: {for_each: {in: "{one.list}", limit: 10, batch: 4}, get: "a:/many?i={item}"}
      next: {for_each: "{each}", get: "b:/next/{item}?o={one.x}"}
      race: {race: ["a:/r", "b:/r"]}
"""


def explained(url: str) -> Explanation:
    return explain(loads(TEXT), urlsplit(url))


def test_what_runs_when_and_how_often_at_worst() -> None:
    found = explained("/d/7?n=1&n=2&n=3")
    assert (found.dashboard, found.parameters) == ("d", {"id": 7, "n": [1, 2, 3]})
    assert found.waves == (("one", "each", "race"), ("two", "many", "next"))
    steps = {step.name: step for step in found.steps}
    assert list(steps) == ["one", "two", "each", "many", "next", "race"]
    assert steps["one"].calls == ("a /one/7",)
    assert steps["two"].calls == ("b /two?x={one.x}",)
    assert steps["next"].calls == ("b /next/{item}?o={one.x} for each element",)
    assert {name: step.most_calls for name, step in steps.items()} == {
        "one": 3, "two": 1, "each": 3, "many": 9, "next": 100, "race": 4,
    }  # fmt: skip
    assert found.most_calls == 120
    assert steps["one"].starts == "at once"
    assert steps["two"].starts == "after one"
    assert steps["next"].starts == "after one, each element as soon as each has it"
    assert steps["one"].slowest == 8
    assert steps["two"].slowest == 9
    assert len(found.warnings) == 5
    assert steps["one"].cache == "ttl 60 s"
    assert steps["two"].cache == "not kept"
    assert steps["two"].notes == ("has a fallback", "only when one.on")
    assert steps["each"].notes[0] == "hidden"
    assert steps["race"].notes == ("race: the first good answer wins",)


def test_a_declared_path_leaves_its_parameters_open() -> None:
    found = explained("/d/{id}")
    assert found.parameters == {"n": None}
    assert found.steps[0].calls == ("a /one/{id}",)


@pytest.mark.parametrize(
    ("url", "why"),
    [("/e", "no dashboard answers /e"), ("/d", "no dashboard"), ("/d/x", "id is no integer"),
     ("/d/1?n=x", "n is no integer")],
)  # fmt: skip
def test_what_nothing_answers(url: str, why: str) -> None:
    with pytest.raises(NoSuchPathError, match=why):
        explained(url)


def test_every_shipped_dashboard_can_be_explained() -> None:
    loaded = load(shipped())
    for plan in loaded.plans:
        assert explain(loaded, urlsplit(plan.path)).dashboard == plan.name
