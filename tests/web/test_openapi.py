from __future__ import annotations

from typing import Any

import orjson
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from gateway.errors import DependencyFailed, ErrorCode, UpstreamTimeout
from gateway.json_schema import compile_schema
from gateway.merge import merge
from gateway.outcome import Fault, Outcome, State
from gateway.web.openapi import document, operation
from tests.planning import Upstreams, after, plan, walked
from tests.serving import application
from tests.virtual_time import run

PERSON = "{type: object, properties: {id: {type: integer}, name: {type: string}}}"


def section(text: str, *more: str) -> dict[str, Any]:
    """Return the schema of section x in the answer."""
    compiled = plan("\n".join((f"x: {text}", *more)))
    data = document({}, [compiled])["components"]["schemas"]["DAnswer"]["properties"]["data"]
    schema: dict[str, Any] = data["properties"]["x"]
    return schema


def null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


MEMBERS = {"id": {"type": "integer"}, "name": {"type": "string"}}
NAME = null({"type": "string"})


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('{get: "a:/"}', {}),
        ('{get: "a:/", required: true}', {}),
        (f'{{get: "a:/", required: true, answer: {PERSON}}}',
         {"type": "object", "properties": MEMBERS}),
        # A section that may fail may be null.
        (f'{{get: "a:/", answer: {PERSON}}}', null({"type": "object", "properties": MEMBERS})),
        (f'{{get: "a:/", required: true, answer: {PERSON}, select: name}}', NAME),
        (f'{{get: "a:/", required: true, answer: {PERSON}, select: name, description: Who}}',
         {**NAME, "description": "Who"}),
        # A fallback may be of any type.
        (f'{{get: "a:/", answer: {PERSON}, fallback: 5}}', {}),
        # Racers of one shape have it, others have none.
        (f'{{race: ["a:/", "b:/"], required: true, answer: {PERSON}}}',
         {"type": "object", "properties": MEMBERS}),
        (f'{{race: [{{get: "a:/", select: name}}, {{get: "b:/", select: name}}], '
         f"required: true, answer: {PERSON}}}", NAME),
        (f'{{race: [{{get: "a:/", select: name}}, "b:/"], required: true, answer: {PERSON}}}', {}),
        # Elements that may fail may be null, in a list or by key.
        (f'{{for_each: "{{l}}", get: "a:/{{item}}", required: true, answer: {PERSON}, select: name}}',
         {"type": "array", "items": NAME}),
        ('{for_each: "{l}", get: "a:/{item}", required: true}', {"type": "array"}),
        (f'{{for_each: {{in: "{{l}}", key: "@"}}, get: "a:/{{item}}", required: true, '
         f"answer: {PERSON}, select: name}}", {"type": "object", "additionalProperties": NAME}),
        ('{for_each: {in: "{l}", key: "@"}, get: "a:/{item}", required: true}',
         {"type": "object", "additionalProperties": True}),
        # Who takes the elements of another list one by one takes its keys too.
        ('{for_each: "{k}", get: "a:/{item}", required: true}',
         {"type": "object", "additionalProperties": True}),
    ],
)  # fmt: skip
def test_sections_are_typed(text: str, schema: dict[str, Any]) -> None:
    lists = ('l: {get: "a:/l"}', 'k: {for_each: {in: "{l}", key: "@"}, get: "a:/{item}"}')
    assert section(text, *lists) == schema


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        # What may be skipped may be null, required or not, and so may all that needs it.
        ("{get: 'a:/', required: true, answer: {type: string}}", {"type": "string"}),
        ("{get: 'a:/', required: true, answer: {type: string}, when: '`false`'}", NAME),
        ("{get: 'a:/{w}', required: true, answer: {type: string}}", NAME),
        ("{get: 'a:/{v}', required: true, answer: {type: string}}", NAME),
        ("{for_each: '{l}', get: 'a:/{item}', required: true}", null({"type": "array"})),
        # A fallback may make a list of an object, and the other way round, for all that follow.
        ("{for_each: '{f}', get: 'a:/{item}', required: true}", {}),
        ("{for_each: '{g}', get: 'a:/{item}', required: true}", {"type": "array"}),
    ],
)
def test_what_others_may_come_to_is_told(text: str, schema: dict[str, Any]) -> None:
    others = (
        "w: {get: 'a:/', when: '`false`', hidden: true}",
        "v: {get: 'a:/{w}', hidden: true}",
        "l: {for_each: '{v}', get: 'a:/{item}'}",
        "i: {get: 'a:/'}",
        "f: {for_each: {in: '{i}', key: '@'}, get: 'a:/{item}', fallback: []}",
        "g: {for_each: {in: '{i}'}, get: 'a:/{item}', fallback: 5}",
    )
    assert section(text, *others) == schema


TREE = (
    "{type: object, properties: {id: {$ref: '#/$defs/id'}, child: {$ref: '#'}}, "
    "$defs: {id: {type: integer}}}"
)
HOME = "#/components/schemas/DAnswer_x"


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("", {"$ref": HOME}),
        ("select: '@'", {"$ref": HOME}),
        ("select: id", null({"$ref": f"{HOME}/$defs/id"})),
        ("select: child.child", null({"$ref": HOME})),
        ("description: Who", {"$ref": HOME, "description": "Who"}),
    ],
)
def test_references_lead_to_where_the_schema_stands(text: str, schema: dict[str, Any]) -> None:
    declaration = f"{{get: 'a:/', required: true, answer: {TREE}, {text}}}"
    assert section(declaration) == schema
    assert components(plan(f"x: {declaration}"))["DAnswer_x"] == {
        "type": "object",
        "properties": {"id": {"$ref": f"{HOME}/$defs/id"}, "child": {"$ref": HOME}},
        "$defs": {"id": {"type": "integer"}},
    }


@pytest.mark.parametrize("text", ["select: 'length(@)'", "fallback: 5", "hidden: true"])
def test_what_nothing_refers_to_has_no_place(text: str) -> None:
    told = components(plan(f"x: {{get: 'a:/', answer: {TREE}, {text}}}"))
    assert "DAnswer_x" not in told


def test_racers_refer_to_their_common_answer() -> None:
    runners = "[{get: 'a:/', select: child}, {get: 'b:/', select: child}]"
    text = f"{{race: {runners}, required: true, answer: {TREE}, select: id}}"
    assert section(text) == null({"$ref": f"{HOME}/$defs/id"})


def test_parameters_refer_to_where_their_schema_stands() -> None:
    compiled = plan(
        'x: {get: "a:/{n}"}',
        parameters="{n: {type: integer, allOf: [{$ref: '#/$defs/low'}], description: Which, "
        "$defs: {low: {maximum: 9}}}}",
    )
    home = "#/components/schemas/DParameter_n"
    (told,) = operation(compiled)["openapi_extra"]["parameters"]
    assert (told["schema"], told["description"]) == ({"$ref": home}, "Which")
    schema = components(compiled)["DParameter_n"]
    assert schema["allOf"] == [{"$ref": f"{home}/$defs/low"}]
    assert schema["$defs"] == {"low": {"maximum": 9}}


def test_hidden_sections_are_not_told() -> None:
    compiled = plan('x: {get: "a:/"}\nh: {get: "a:/", hidden: true}')
    answer = document({}, [compiled])["components"]["schemas"]["DAnswer"]
    members = answer["properties"]
    assert list(members["data"]["properties"]) == ["x"]
    assert list(members["meta"]["properties"]["sections"]["properties"]) == ["x"]


def test_parameters_are_told_as_they_are_declared() -> None:
    compiled = plan(
        'x: {get: "a:/{id}?n={n}"}',
        path="/d/{id}",
        parameters="{id: {type: integer, minimum: 1, description: Which}, "
        "n: {type: array, items: {type: string}, default: []}}",
    )
    assert operation(compiled)["openapi_extra"]["parameters"] == [
        {"name": "id", "in": "path", "required": True, "description": "Which",
         "schema": {"type": "integer", "minimum": 1}},
        {"name": "n", "in": "query", "required": False, "style": "form", "explode": True,
         "schema": {"type": "array", "items": {"type": "string"}, "default": []}},
    ]  # fmt: skip
    assert "description" in compiled.parameters[0].schema  # the declaration itself is untouched


def test_an_operation_is_described_even_where_nobody_did() -> None:
    told = operation(plan('x: {get: "a:/"}'))
    assert (told["summary"], told["tags"], told["operation_id"]) == ("D", ["dashboards"], "d")
    assert set(told["responses"]) == {200, 304, 404, 422, 500, 502, 503, 504}


def components(*plans: Any) -> dict[str, Any]:
    schemas: dict[str, Any] = document({}, plans)["components"]["schemas"]
    return schemas


def test_every_code_and_state_is_told() -> None:
    schemas = components()
    assert schemas["ErrorCode"]["enum"] == [code.value for code in ErrorCode]
    assert schemas["SectionState"]["enum"] == [state.value for state in State]


def test_what_the_framework_told_is_kept() -> None:
    base = {"paths": {"/x": {}}, "components": {"schemas": {"Other": {"type": "integer"}}}}
    told = document(base, [plan('x: {get: "a:/"}')])
    assert told["paths"] == {"/x": {}}
    assert list(told["components"]["schemas"]) == sorted(
        ["DAnswer", "ErrorCode", "Other", "Problem", "SectionError", "SectionMeta", "SectionState"]
    )


@pytest.mark.parametrize(
    "outcomes",
    [
        [Outcome(State.OK, 1, {"id": 1, "name": "n"}), Outcome(State.OK, 1, [None, "a"])],
        [Outcome(State.STALE, 1, {"id": 1}, as_of=0.0, reason=UpstreamTimeout("late")),
         Outcome(State.SKIPPED)],
        [Outcome(State.OK, 1, {}), Outcome(State.FALLBACK, 1, "anything", faults=(
            Fault(DependencyFailed("no")),))],
        [Outcome(State.OK, 1, {}), Outcome(State.OK, 1, [], faults=(
            Fault(UpstreamTimeout("late", upstream="a"), "key"), Fault(UpstreamTimeout("l"), 3)))],
    ],
)  # fmt: skip
def test_what_is_merged_meets_what_is_told(outcomes: list[Outcome]) -> None:
    compiled = plan(
        f'x: {{get: "a:/", required: true, answer: {PERSON}}}\n'
        'y: {for_each: "{x.l}", get: "a:/{item}", fallback: 5}'
    )
    schemas = components(compiled)
    whole = compile_schema({"$ref": "#/components/schemas/DAnswer",
                            "components": {"schemas": schemas}})  # fmt: skip
    assert list(whole.iter_errors(orjson.loads(merge(compiled, outcomes).body))) == []


def test_the_document_is_made_once_and_every_reference_in_it_leads_somewhere() -> None:
    app = application(
        "upstreams: {a: {base_url: http://a.test}}\n"
        'dashboards: {my_page: {path: "/p/{id}", parameters: {id: {type: integer}}, '
        'sections: {x: {get: "a:/{id}"}}}}'
    )
    told = app.openapi()
    assert app.openapi() is told
    assert "MyPageAnswer" in told["components"]["schemas"]
    assert list(told["paths"]["/p/{id}"]) == ["get"]

    def references(node: Any) -> set[str]:
        if isinstance(node, list):
            return set().union(*map(references, node))
        if not isinstance(node, dict):
            return set()
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(references, node.values()))

    assert {f"#/components/schemas/{name}" for name in told["components"]["schemas"]} >= references(
        told
    )


ODD = f"""
dates: {{get: "a:/tree", when: "`false`", required: true, answer: {{type: object}}}}
after: {{get: "a:/{{dates.id}}", required: true, answer: {{type: object}}}}
mean: {{get: "a:/none", select: "{{mean: avg(@)}}", required: true}}
first: {{get: "a:/pair", select: "[0]", required: true,
        answer: {{prefixItems: [{{type: string}}], items: {{type: integer}}}}}}
tree: {{get: "a:/tree", required: true, answer: {TREE}}}
deep: {{get: "a:/tree", select: "child.{{of: id}}", required: true, answer: {TREE}}}
trees: {{for_each: "{{n}}", get: "a:/tree", required: true, answer: {TREE}}}
kinds: {{get: "a:/none", select: "[].{{id: id}}", required: true,
        answer: {{type: array, items: {{type: [object, "null"]}}}}}}
any: {{get: "a:/tree", select: child.id, required: true,
      answer: {{properties: {{child: true}}, anyOf: [true]}}}}
old: {{get: "a:/pair", required: true,
      answer: {{$schema: "http://json-schema.org/draft-07/schema#", items: [{{type: string}}]}}}}
"""
ANSWERS = {
    "/tree": {"id": 1, "child": {"id": 2, "child": {}}},
    "/pair": ["a", 1],
    "/none": [],
}


def test_real_answers_meet_what_is_told_and_no_others() -> None:
    compiled = plan(ODD, parameters="{n: {type: array, items: {type: string}}}")
    upstreams = Upstreams(after(0, lambda request: ANSWERS[request.target]))
    body = orjson.loads(run(walked(compiled, upstreams, n=["a"])).merged.body)
    whole = compile_schema({"$ref": "#/components/schemas/DAnswer",
                            "components": {"schemas": components(compiled)}})  # fmt: skip
    assert list(whole.iter_errors(body)) == []
    assert body["data"]["after"] is None
    body["data"]["tree"]["child"]["id"] = body["data"]["deep"]["of"] = "1"
    assert [tuple(error.instance_path)[:2] for error in whole.iter_errors(body)] == [
        ("data", "tree"), ("data", "deep")
    ]  # fmt: skip


def test_the_document_is_openapi() -> None:
    sections = "\n".join("      " + line for line in ODD.strip().splitlines())
    app = application(
        "upstreams: {a: {base_url: http://a.test}}\ndashboards:\n  d:\n    path: /d\n"
        "    parameters: {n: {type: array, items: {$ref: '#/$defs/s', type: string}, "
        f"$defs: {{s: {{maxLength: 3}}}}}}}}\n    sections:\n{sections}\n"
    )
    assert list(OPENAPI_31_VALIDATOR.iter_errors(orjson.loads(orjson.dumps(app.openapi())))) == []
