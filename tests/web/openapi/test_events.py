"""The types of streams against the events that are really sent."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.answers.document import compose
from gateway.answers.encodings import JsonLines
from gateway.answers.events import EventTemplate, completion
from gateway.call import Deadline, Request
from gateway.engine.context import Inputs
from gateway.engine.execution import BoundPlan
from gateway.expressions.json_schema import Validator, compile_schema
from gateway.plan.model import Plan
from gateway.web.openapi.document import OpenApi
from tests.planning import Upstreams, after, plan
from tests.virtual_time import loop_time, run
from tests.web.openapi.test_document import FALLIBLE_PLAN, SAID, components

KINDS = """
needed: {get: "a:/", required: true, schema: {type: string}}
wanted: {get: "a:/", schema: {type: integer}}
spare: {get: "a:/", schema: {type: integer}, fallback: none}
maybe: {get: "a:/", schema: {type: integer}, required: true, when: "`true`"}
listed: {for_each: "{n}", get: "a:/{item}", schema: {type: integer}}
keyed: {for_each: {in: "{n}", key: "@"}, get: "a:/{item}", schema: {type: integer}}
either: {for_each: {in: "{n}", key: "@"}, get: "a:/{item}", schema: {type: integer}, fallback: []}
follows: {for_each: "{either}", get: "a:/{item}", schema: {type: integer}}
hidden: {get: "a:/", hidden: true}
"""
PLAN = plan(KINDS, parameters="{n: {type: array}}")


def validator(schemas: dict[str, Any], name: str) -> Validator:
    whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
    return compile_schema(whole)


def test_a_dashboard_lists_its_three_forms() -> None:
    contents = OpenApi([PLAN]).operation(PLAN)["responses"][200]["content"]
    assert {media: one["schema"]["$ref"].split("/")[-1] for media, one in contents.items()} == {
        "application/json": "D",
        "text/event-stream": "DEvent",
        "application/jsonl": "DLine",
    }


def test_each_visible_section_has_its_events() -> None:
    names = {name for name in components(PLAN) if name.endswith("Event")}
    sections = {"Needed", "Wanted", "Spare", "Maybe", "Listed", "Keyed", "Either", "Follows"}
    lists = {"Listed", "Keyed", "Either", "Follows"}
    assert names == {
        "DEvent", "DCompleteEvent",
        *(f"D{name}Event" for name in sections),
        *(f"D{name}ElementEvent" for name in lists),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("event", "meant"),
    [
        ({"section": "needed", "data": "a", "meta": {"state": "ok"}, "errors": []}, True),
        # A required section that fails makes a problem, never an event of its own.
        ({"section": "needed", "data": None, "meta": {"state": "failed"}, "errors": []}, False),
        ({"section": "needed", "data": None, "meta": {"state": "ok"}, "errors": []}, False),
        ({"section": "wanted", "data": None, "meta": {"state": "failed"}, "errors": []}, True),
        ({"section": "wanted", "data": "a", "meta": {"state": "ok"}, "errors": []}, False),
        ({"section": "spare", "data": "none", "meta": {"state": "fallback"}, "errors": []}, True),
        ({"section": "spare", "data": None, "meta": {"state": "failed"}, "errors": []}, False),
        ({"section": "maybe", "data": None, "meta": {"state": "skipped"}, "errors": []}, True),
        ({"section": "hidden", "data": 1, "meta": {"state": "ok"}, "errors": []}, False),
        ({"section": "listed", "index": 0, "data": 1, "meta": {"state": "ok"}, "errors": []}, True),
        ({"section": "listed", "key": "a", "data": 1, "meta": {"state": "ok"}, "errors": []}, False),
        ({"section": "keyed", "key": "a", "data": 1, "meta": {"state": "ok"}, "errors": []}, True),
        ({"section": "keyed", "index": 0, "data": 1, "meta": {"state": "ok"}, "errors": []}, False),
        ({"section": "follows", "key": "a", "data": 1, "meta": {"state": "ok"}, "errors": []}, True),
        ({"section": "follows", "index": 0, "data": 1, "meta": {"state": "ok"}, "errors": []}, True),
        ({"section": "keyed", "key": "a", "data": None, "meta": {"state": "failed"}, "errors": []},
         True),
        ({"type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": "x"}, True),
    ],
)  # fmt: skip
def test_events_have_the_states_and_places_that_they_can_have(
    event: dict[str, Any], meant: bool
) -> None:
    assert validator(components(PLAN), "DEvent").is_valid(event) is meant


def test_a_line_says_which_event_it_is() -> None:
    lines = validator(components(PLAN), "DLine")
    event = {"section": "needed", "data": "a", "meta": {"state": "ok"}, "errors": []}
    assert lines.is_valid({"event": "section", **event})
    assert not lines.is_valid({"event": "element", **event})
    assert not lines.is_valid(event)


async def streamed(compiled: Plan, upstreams: Upstreams, **parameters: Any) -> list[bytes]:
    """Return the events of one run as JSON Lines, `complete` included if it came to that."""
    template, encoding = EventTemplate(compiled), JsonLines()
    sent: list[bytes] = []

    def send(name: bytes, payload: bytes) -> None:
        if payload:
            sent.append(encoding.event(name, payload))

    bound = BoundPlan(compiled, {"a": upstreams, "b": upstreams}, clock=loop_time)
    outcomes = await bound.execute(
        Inputs(parameters),
        Deadline(loop_time() + compiled.deadline),
        publish=lambda section, outcome: send(b"section", template.section(section, outcome)),
        publish_element=lambda section, key, outcome: send(
            b"element", template.element(section, key, outcome)
        ),
    )
    document = compose(compiled, outcomes)
    if document.required is None:
        send(b"complete", completion(document))
    return sent


LINES = validator(components(FALLIBLE_PLAN), "DLine")


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b"]), max_size=3), st.lists(SAID, min_size=1, max_size=12))
def test_whatever_fails_the_events_meet_their_schema(n: list[str], said: list[Any]) -> None:
    left = itertools.cycle(said)

    def answer(_: Request) -> Any:
        value = next(left)
        if isinstance(value, Exception):
            raise value
        return value

    sent = run(streamed(FALLIBLE_PLAN, Upstreams(after(0, answer)), n=n))
    assert sent
    for line in sent:
        assert list(LINES.iter_errors(orjson.loads(line))) == [], line
