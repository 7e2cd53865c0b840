"""`?sections=` on a dashboard: what runs, what is answered, and what is remembered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.errors import ConfigError
from gateway.plan.load import loads
from tests.server.test_protocol import asked, get

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]

TEXT = """
upstreams:
  a: {base_url: http://a.test}
  cached: {base_url: http://a.test, cache: {ttl: 1h}}
dashboards:
  d:
    path: "/d/{id}"
    parameters: {id: {type: integer}, n: {type: integer, required: false}}
    sections:
      first: {get: "a:/x/1"}
      gone: {get: "a:/missing", required: true}
      second: {get: "a:/x/2?n={n}"}
      third: {get: "a:/x/3?of={second}"}
      quiet: {get: "a:/x/4", hidden: true}
  kept:
    path: /kept
    sections: {one: {get: "cached:/x/1"}, two: {get: "cached:/x/2"}}
"""


def paths(upstream: Any) -> list[str]:
    return [call.request.url.path for call in upstream.calls]


def document(client: Any, number: int = 0) -> Any:
    return json.loads(client.answers[number].body)


def test_only_what_is_asked_for_and_needed_runs(made: Make, upstream: Any) -> None:
    client = asked(made(TEXT), get("/d/1?sections=third,first"))
    assert document(client) == {
        "data": {"first": "/x/1", "third": "/x/3"},
        "errors": [],
        "meta": {
            "complete": True,
            "sections": {"first": {"state": "ok"}, "third": {"state": "ok"}},
        },
    }
    assert sorted(paths(upstream)) == ["/x/1", "/x/2", "/x/3"]  # and not the required one
    timing = client.answers[0].fields["server-timing"]
    assert [part.partition(";")[0] for part in timing.split(", ")] == ["first", "second", "third"]


@pytest.mark.parametrize(
    "query",
    [
        "sections=first,second",
        "sections=second,first",
        "sections=second&n=1&sections=first",
        "sections=first%2Csecond",
        "%73ections=first,second,first",
    ],
)
def test_however_it_is_written_the_answer_is_the_same(made: Make, query: str) -> None:
    client = asked(made(TEXT), get("/d/1?sections=first,second"), get(f"/d/1?{query}"))
    first, second = client.answers
    assert second.body == first.body
    assert second.fields["etag"] == first.fields["etag"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("sections=quiet", "names no section quiet; there is first, gone, second, third"),
        ("sections=firs", "names no section firs, did you mean first?"),
        ("sections=", "has an empty name; separate the names by single commas"),
        ("sections", "has an empty name; separate the names by single commas"),
        ("sections=first,", "has an empty name; separate the names by single commas"),
        ("sections=first&sections=", "has an empty name; separate the names by single commas"),
        ("sections=%FF", "is not UTF-8"),
        ("sections=first+", "names no section first , did you mean first?"),
    ],
)
def test_a_wrong_name_is_a_problem_and_nothing_is_called(
    made: Make, upstream: Any, query: str, named: str
) -> None:
    (answer,) = asked(made(TEXT), get(f"/d/1?{query}")).answers
    assert answer.status == 422
    problem = json.loads(answer.body)
    assert problem["invalid_parameters"] == [{"name": "sections", "detail": named}]
    assert problem["detail"] == f"sections {named}"
    assert not upstream.calls


def test_mistakes_in_sections_are_listed_with_those_in_parameters(made: Make) -> None:
    (answer,) = asked(made(TEXT), get("/d/x?n=y&sections=z")).answers
    wrong = [one["name"] for one in json.loads(answer.body)["invalid_parameters"]]
    assert wrong == ["id", "n", "sections"]


def test_the_refusal_of_a_huge_list_is_short(made: Make) -> None:
    names = ",".join(f"n{number}" for number in range(1200))
    (answer,) = asked(made(TEXT), get(f"/d/1?sections={names}")).answers
    assert answer.status == 422
    assert len(answer.body) < 1500
    assert json.loads(answer.body)["left_out"] == 1190


def test_each_selection_is_cached_as_an_answer_of_its_own(made: Make, upstream: Any) -> None:
    one, both = get("/kept?sections=one"), get("/kept")
    client = asked(made(TEXT), one, both, one, both)
    hits = [answer.fields["cache-status"].startswith("gateway; hit") for answer in client.answers]
    assert hits == [False, False, True, True]
    assert [list(document(client, n)["data"]) for n in range(4)] == [["one"], ["one", "two"]] * 2
    tags = [answer.fields["etag"] for answer in client.answers]
    assert tags[0] == tags[2] != tags[1] == tags[3]
    assert sorted(paths(upstream)) == ["/x/1", "/x/2"]  # sections share the cache of their upstream


def test_a_poll_of_a_selection_is_answered_304(made: Make) -> None:
    app = made(TEXT)
    tag = asked(app, get("/d/1?sections=first")).answers[0].fields["etag"]
    (answer,) = asked(app, get("/d/1?sections=first", f"If-None-Match: {tag}")).answers
    assert answer.status == 304
    (answer,) = asked(app, get("/d/1?sections=second", f"If-None-Match: {tag}")).answers
    assert answer.status == 200


def test_a_path_parameter_may_be_called_sections_and_a_query_parameter_may_not() -> None:
    text = "upstreams: {a: {base_url: http://a.test}}\ndashboards: {d: {path: %s, parameters: \
{sections: {type: string}}, sections: {x: {get: 'a:/{sections}'}}}}"
    loads(text % '"/d/{sections}"')
    with pytest.raises(ConfigError, match="selects sections on every dashboard"):
        loads(text % "/d")
