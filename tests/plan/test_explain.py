from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from gateway.plan.explain import Explanation, NoSuchPathError, explain
from gateway.plan.load import load, loads, shipped
from gateway.web.path_index import PathIndex

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
        "one": 3, "two": 1, "each": 3, "many": 9, "next": 3, "race": 4,
    }  # fmt: skip
    assert found.most_calls == 23
    assert steps["one"].starts == "at once"
    assert steps["two"].starts == "after one ({one.x})"
    assert steps["many"].starts == "after one ({one.list})"
    assert steps["next"].starts == "after one ({one.x}), each element as soon as each has it"
    assert steps["one"].slowest == 8
    assert steps["two"].slowest == 9
    assert found.warnings == ()
    assert steps["one"].key == ("a GET /one/7",)
    assert steps["race"].key == ("a GET /r", "b GET /r")
    assert steps["one"].cache == "ttl 60 s"
    assert steps["two"].cache == "not cached"
    assert steps["two"].notes == ("has a fallback", "only when one.on")
    assert steps["each"].notes[0] == "hidden"
    assert steps["race"].notes == ("race: the first fresh answer wins",)


def test_a_declared_path_leaves_its_parameters_open() -> None:
    found = explained("/d/{id}")
    assert found.parameters == {"n": None}
    assert found.steps[0].calls == ("a /one/{id}",)


@pytest.mark.parametrize(
    ("url", "why"),
    [("/e", "no dashboard has the path /e"), ("/d", "no dashboard"), ("/d/x", "id is not an integer"),
     ("/d/1?n=x", "n is not an integer")],
)  # fmt: skip
def test_what_nothing_answers(url: str, why: str) -> None:
    with pytest.raises(NoSuchPathError, match=why):
        explained(url)


def test_every_shipped_dashboard_can_be_explained() -> None:
    loaded = load(shipped())
    for plan in loaded.plans:
        assert explain(loaded, urlsplit(plan.path)).dashboard == plan.name


def small(sections: str, upstream: str = "", deadline: str = "5s") -> Explanation:
    return explain(
        loads(
            f"upstreams: {{a: {{base_url: http://a.test, timeout: 2s{upstream}}}}}\n"
            f"dashboards: {{d: {{path: /d, deadline: {deadline}, sections: {{{sections}}}}}}}"
        ),
        urlsplit("/d"),
    )


def test_timeouts_that_cannot_fit_the_deadline_are_told() -> None:
    chain = 'x: {get: "a:/"}, y: {get: "a:/{x.i}"}, z: {get: "a:/{y.i}"}'
    assert small(chain).warnings == (
        "z: the timeouts on its way add up to 6 s, but the deadline is 5 s",
    )
    assert small(chain, deadline="6s").warnings == ()
    # Retries end with the deadline; they are told as the worst case and are no mistake.
    retried = small('x: {get: "a:/"}', upstream=", retry: {attempts: 3}")
    assert (retried.warnings, retried.steps[0].slowest) == ((), 8)


def test_lists_take_their_rounds() -> None:
    step = small('x: {get: "a:/"}, y: {for_each: {in: "{x.l}", limit: 25, concurrency: 10}, '
                 'get: "a:/{item}"}').steps[1]  # fmt: skip
    assert (step.most_calls, step.slowest) == (25, 2 + 3 * 2)


def test_a_hedge_can_double_every_attempt() -> None:
    found = small('x: {get: "a:/"}', upstream=", hedge: {}, retry: {attempts: 3}")
    assert found.most_calls == 6


def test_waiting_for_a_condition_has_its_reason() -> None:
    assert (
        small('x: {get: "a:/"}, y: {get: "a:/", when: "x.on"}').steps[1].starts == "after x (when)"
    )


def test_forwarded_header_fields_keep_answers_apart() -> None:
    found = small('x: {get: "a:/"}', upstream=", forward_headers: [accept-language]")
    assert found.steps[0].key == ("a GET / by accept-language",)


ROUTES = """
upstreams: {a: {base_url: http://a.test}}
dashboards:
  any: {path: "/w/{x}", parameters: {x: {type: string}}, sections: {s: {get: "a:/{x}"}}}
  second: {path: "/{p}/fast", parameters: {p: {type: string}}, sections: {s: {get: "a:/{p}"}}}
  fast: {path: /w/fast, sections: {s: {get: "a:/"}}}
  q: {path: /q, parameters: {city: {type: string}}, sections: {s: {get: "a:/?c={city}"}}}
"""


@pytest.mark.parametrize("path", ["/w/fast", "/w/f%61st", "/w/slow", "/v/fast", "/w/%66", "/q"])
def test_it_finds_the_dashboard_that_the_server_would(path: str) -> None:
    loaded = loads(ROUTES)
    found = PathIndex([(p.path, p.name) for p in loaded.plans]).find(path.encode())
    assert found is not None
    assert explain(loaded, urlsplit(path)).dashboard == found[0]


def test_a_required_parameter_that_is_missing_is_told() -> None:
    told = "city is required; a request without it is refused"
    assert explain(loads(ROUTES), urlsplit("/q")).warnings == (told,)
    assert explain(loads(ROUTES), urlsplit("/q?city=x")).warnings == ()


def test_a_request_for_some_sections_is_explained_without_the_others() -> None:
    found = explained("/d/7?sections=two")
    assert [step.name for step in found.steps] == ["one", "two"]
    assert found.waves == (("one",), ("two",))
    assert "hidden" in found.steps[0].notes  # it is only needed
    assert found.most_calls == 4
    assert [step.name for step in explained("/d/{id}?sections=race,one").steps] == ["one", "race"]
    with pytest.raises(NoSuchPathError, match="sections names no section each"):
        explained("/d/7?sections=each")


def test_a_slash_at_the_end_makes_no_difference() -> None:
    assert explained("/d/7/").parameters["id"] == 7
    with pytest.raises(NoSuchPathError):
        explained("/d/7//")
