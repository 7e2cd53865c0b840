from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from gateway.answers.document import compose
from gateway.call import Request
from gateway.engine.outcome import Fault, Outcome, State
from gateway.errors import CallError, DependencyFailed, ErrorCode, UpstreamStatus, UpstreamTimeout
from gateway.expressions.json_schema import Validator, compile_schema
from gateway.plan.model import Plan
from gateway.values.provenance import Provenance
from gateway.web.openapi.document import OpenApi
from gateway.web.problems import status_of
from tests.large_configuration import large_configuration
from tests.operations import target_of
from tests.planning import Upstreams, after, plan, walked
from tests.serving import application
from tests.virtual_time import run

PERSON = "{type: object, properties: {id: {type: integer}, name: {type: string}}}"


def section(text: str, *more: str) -> dict[str, Any]:
    """Return the schema of section x in the answer."""
    return shown(components(plan("\n".join((f"x: {text}", *more)))))


def shown(schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of section x, with the schemas that are named for it in their places."""

    def inlined(part: Any) -> Any:
        if isinstance(part, list):
            return [inlined(one) for one in part]
        if not isinstance(part, dict):
            return part
        name = part.get("$ref", "").removeprefix("#/components/schemas/")
        if name in {"DX", "DXElement"}:
            part = {**schemas[name], **{key: part[key] for key in part if key != "$ref"}}
        part = {key: inlined(one) for key, one in part.items()}
        if "anyOf" in part:
            branches = [b for one in part["anyOf"] for b in one.get("anyOf", [one])]
            part["anyOf"] = sorted(branches, key=lambda branch: branch == {"type": "null"})
        return part

    schema: dict[str, Any] = inlined(schemas["DSections"]["properties"]["x"])
    return schema


def operation(compiled: Plan) -> dict[str, Any]:
    return OpenApi([compiled]).operation(compiled)


def components(*plans: Plan, answers: Any = None) -> dict[str, Any]:
    api = OpenApi(plans, answers)
    paths = {one.path: {"get": api.operation(one)} for one in plans}
    schemas: dict[str, Any] = api.document({"paths": paths})["components"]["schemas"]
    return schemas


def null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


MEMBERS = {"id": {"type": "integer"}, "name": {"type": "string"}}
NAME = null({"type": "string"})
LIST = {"type": "array", "items": {}}


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('{get: "a:/"}', {}),
        ('{get: "a:/", required: true}', {}),
        (f'{{get: "a:/", required: true, schema: {PERSON}}}',
         {"type": "object", "properties": MEMBERS}),
        # A section that may fail may be null.
        (f'{{get: "a:/", schema: {PERSON}}}', null({"type": "object", "properties": MEMBERS})),
        (f'{{get: "a:/", required: true, schema: {PERSON}, select: name}}', NAME),
        (f'{{get: "a:/", required: true, schema: {PERSON}, select: name, description: Who}}',
         {**NAME, "description": "Who"}),
        # A fallback stands in for failure; null is left only where it may be the value.
        (f'{{get: "a:/", schema: {PERSON}, fallback: null}}',
         null({"type": "object", "properties": MEMBERS})),
        (f'{{get: "a:/", schema: {PERSON}, fallback: 5}}',
         {"anyOf": [{"type": "object", "properties": MEMBERS}, {"type": "integer", "const": 5}]}),
        (f'{{get: "a:/", schema: {PERSON}, fallback: {{}}}}',
         {"type": "object", "properties": MEMBERS}),
        (f'{{get: "a:/", schema: {PERSON}, fallback: {{id: none}}}}', {"anyOf": [
            {"type": "object", "properties": MEMBERS},
            {"type": "object", "properties": {"id": {"type": "string", "const": "none"}},
             "required": ["id"], "additionalProperties": False}]}),
        ('{get: "a:/", schema: {type: array, items: {type: string}}, fallback: []}',
         {"type": "array", "items": {"type": "string"}}),
        (f'{{get: "a:/", schema: {PERSON}, select: name, fallback: nobody}}', NAME),
        ('{get: "a:/", fallback: 5}', {}),
        # What is required in the answer is there after a select.
        ('{get: "a:/", schema: {type: object, required: [id], properties: {id: {type: integer}}}, '
         'required: true, select: "{id: id}"}',
         {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"],
          "additionalProperties": False}),
        # A race comes to what one of its runners gives, and a runner that finds nothing has lost.
        (f'{{race: ["a:/", "b:/"], required: true, schema: {PERSON}}}',
         {"type": "object", "properties": MEMBERS}),
        (f'{{race: [{{get: "a:/", select: name}}, {{get: "b:/", select: name}}], '
         f"required: true, schema: {PERSON}}}", {"type": "string"}),
        (f'{{race: [{{get: "a:/", select: name}}, "b:/"], required: true, schema: {PERSON}}}',
         {"anyOf": [{"type": "string"}, {"type": "object", "properties": MEMBERS}]}),
        # Elements that may fail may be null, in a list or by key.
        (f'{{for_each: "{{l}}", get: "a:/{{item}}", required: true, schema: {PERSON}, select: name}}',
         {"type": "array", "items": NAME}),
        ('{for_each: "{l}", get: "a:/{item}", required: true}', LIST),
        (f'{{for_each: {{in: "{{l}}", key: "@"}}, get: "a:/{{item}}", required: true, '
         f"schema: {PERSON}, select: name}}", {"type": "object", "additionalProperties": NAME}),
        ('{for_each: {in: "{l}", key: "@"}, get: "a:/{item}", required: true}',
         {"type": "object", "additionalProperties": {}}),
        # Who takes the elements of another list one by one takes its keys too.
        ('{for_each: "{k}", get: "a:/{item}", required: true}',
         {"type": "object", "additionalProperties": {}}),
    ],
)  # fmt: skip
def test_sections_are_typed(text: str, schema: dict[str, Any]) -> None:
    lists = ('l: {get: "a:/l"}', 'k: {for_each: {in: "{l}", key: "@"}, get: "a:/{item}"}')
    assert section(text, *lists) == schema


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        # What may be skipped may be null, required or not, and so may all that needs it.
        ("{get: 'a:/', required: true, schema: {type: string}}", {"type": "string"}),
        ("{get: 'a:/', required: true, schema: {type: string}, when: '`false`'}", NAME),
        ("{get: 'a:/{w}', required: true, schema: {type: string}}", NAME),
        ("{get: 'a:/{v}', required: true, schema: {type: string}}", NAME),
        ("{for_each: '{l}', get: 'a:/{item}', required: true}", null(LIST)),
        # A fallback may make a list of an object, and the other way round, for all that follow.
        (
            "{for_each: '{f}', get: 'a:/{item}', required: true}",
            {"anyOf": [LIST, {"type": "object", "additionalProperties": {}}]},
        ),
        ("{for_each: '{g}', get: 'a:/{item}', required: true}", LIST),
        # A fallback is for failure; what is skipped is null all the same.
        (
            "{get: 'a:/', schema: {type: string}, when: '`false`', fallback: false}",
            {"anyOf": [{"type": "string"}, {"type": "boolean", "const": False}, {"type": "null"}]},
        ),
        ("{get: 'a:/', schema: {type: string}, fallback: 'no'}", {"type": "string"}),
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
HOME = "#/components/schemas/D_x"


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("", {"$ref": HOME}),
        ("select: '@'", {"$ref": HOME}),
        ("select: id", null({"$ref": f"{HOME}.id"})),
        ("select: child.child", null({"$ref": HOME})),
        ("description: Who", {"$ref": HOME, "description": "Who"}),
    ],
)
def test_references_lead_to_where_the_schema_stands(text: str, schema: dict[str, Any]) -> None:
    declaration = f"{{get: 'a:/', required: true, schema: {TREE}, {text}}}"
    assert section(declaration) == schema
    schemas = components(plan(f"x: {declaration}"))
    assert schemas["D_x.id"] == {"type": "integer"}
    if text != "select: id":
        assert schemas["D_x"] == {
            "type": "object",
            "properties": {"id": {"$ref": f"{HOME}.id"}, "child": {"$ref": HOME}},
        }


@pytest.mark.parametrize("text", ["select: 'length(@)'", "select: '{id: `1`}'", "hidden: true"])
def test_what_nothing_refers_to_has_no_place(text: str) -> None:
    told = components(plan(f"x: {{get: 'a:/', schema: {TREE}, {text}}}"))
    assert "D_x" not in told


def test_racers_refer_to_their_common_answer() -> None:
    runners = "[{get: 'a:/', select: child}, {get: 'b:/', select: child}]"
    text = f"{{race: {runners}, required: true, schema: {TREE}, select: id}}"
    assert section(text) == null({"$ref": f"{HOME}.id"})


def test_parameters_refer_to_where_their_schema_stands() -> None:
    compiled = plan(
        'x: {get: "a:/{n}"}',
        parameters="{n: {type: integer, allOf: [{$ref: '#/$defs/low'}], description: Which, "
        "$defs: {low: {maximum: 9}}}}",
    )
    home = "#/components/schemas/DParameter_n"
    api = OpenApi([compiled])
    told, _ = api.operation(compiled)["openapi_extra"]["parameters"]
    assert (told["schema"], told["description"]) == ({"$ref": home}, "Which")
    schemas = api.document({"paths": {"/d": {"get": {"parameters": [told]}}}})["components"][
        "schemas"
    ]
    assert schemas["DParameter_n"]["allOf"] == [{"$ref": f"{home}.low"}]
    assert schemas["DParameter_n.low"] == {"maximum": 9}


@pytest.mark.parametrize(
    ("text", "meta", "states"),
    [
        ("required: true", "RequiredSectionMeta", ["ok", "stale"]),
        ("description: x", "OptionalSectionMeta", ["ok", "stale", "failed"]),
        ("fallback: 1", "ReplaceableSectionMeta", ["ok", "stale", "fallback"]),
        ("required: true, fallback: 1", "ReplaceableSectionMeta", ["ok", "stale", "fallback"]),
        ("required: true, when: '`true`'", "SkippableRequiredSectionMeta",
         ["ok", "stale", "skipped"]),
        ("when: '`true`'", "SkippableOptionalSectionMeta", ["ok", "stale", "skipped", "failed"]),
        ("fallback: 1, when: '`true`'", "SkippableReplaceableSectionMeta",
         ["ok", "stale", "fallback", "skipped"]),
    ],
)  # fmt: skip
def test_the_states_that_a_section_can_have_are_told(
    text: str, meta: str, states: list[str]
) -> None:
    schemas = components(plan(f"x: {{get: 'a:/', {text}}}"))
    sections = schemas["DMeta"]["properties"]["sections"]
    assert sections["properties"]["x"] == {"$ref": f"#/components/schemas/{meta}"}
    assert schemas[meta]["allOf"][1]["properties"]["state"]["enum"] == states


def test_hidden_sections_are_not_told() -> None:
    compiled = plan('x: {get: "a:/"}\nh: {get: "a:/", hidden: true}')
    schemas = components(compiled)
    assert list(schemas["DSections"]["properties"]) == ["x"]
    assert list(schemas["DMeta"]["properties"]["sections"]["properties"]) == ["x"]
    assert not any(name.startswith("DH") for name in schemas)


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
        selecting("x"),
    ]  # fmt: skip
    assert "description" in compiled.parameters[0].schema  # the declaration itself is untouched


def selecting(*names: str) -> dict[str, Any]:
    return {
        "name": "sections", "in": "query", "required": False,
        "description": "Fetch and return only these sections; `data` and `meta.sections` then "
        "have no others",
        "schema": {"type": "array", "items": {"type": "string", "enum": [*names]}, "minItems": 1},
        "style": "form", "explode": False,
    }  # fmt: skip


def test_the_visible_sections_can_be_selected() -> None:
    compiled = plan('x: {get: "a:/"}\nh: {get: "a:/", hidden: true}\ny: {get: "a:/"}')
    assert operation(compiled)["openapi_extra"]["parameters"] == [selecting("x", "y")]
    hidden = plan('x: {get: "a:/", hidden: true}')
    assert operation(hidden)["openapi_extra"]["parameters"] == []


def test_an_operation_is_described_even_where_nobody_did() -> None:
    told = operation(plan('x: {get: "a:/"}'))
    assert (told["summary"], told["tags"], told["operation_id"]) == ("D", ["dashboards"], "d")
    assert told["description"] == "Returns the section `x`."
    several = "x: {get: 'a:/', required: true}\ny: {get: 'a:/'}\nh: {get: 'a:/', hidden: true}\nz: {get: 'a:/'}"
    assert operation(plan(several))["description"] == (
        "Returns the sections `x` (required), `y` and `z`."
    )
    assert operation(plan("x: {get: 'a:/', hidden: true}"))["description"] == "Returns no section."


@pytest.mark.parametrize(
    ("sections", "parameters", "statuses"),
    [
        ("x: {get: 'a:/'}", "{}", {200, 304, 422, 500, 503}),
        ("x: {get: 'a:/'}", "{n: {type: string, default: x}}", {200, 304, 422, 500, 503}),
        ("x: {get: 'a:/', required: true}", "{}", {200, 304, 404, 422, 500, 502, 503, 504}),
        ("x: {get: 'a:/', required: true, hidden: true}", "{}",
         {200, 304, 404, 422, 500, 502, 503, 504}),
        # A required section with a fallback never fails.
        ("x: {get: 'a:/', required: true, fallback: null}", "{}", {200, 304, 422, 500, 503}),
        ("x: {get: 'a:/', required: true, fallback: 1}\ny: {for_each: '{n}', get: 'a:/', required: true}",
         "{n: {type: array}}", {200, 304, 404, 422, 500, 502, 503, 504}),
    ],
)  # fmt: skip
def test_only_statuses_that_can_happen_are_listed(
    sections: str, parameters: str, statuses: set[int]
) -> None:
    assert set(operation(plan(sections, parameters=parameters))["responses"]) == statuses


def test_every_status_that_a_failed_section_makes_is_listed() -> None:
    listed = operation(plan("x: {get: 'a:/', required: true}"))["responses"]

    def kinds(kind: type[CallError]) -> set[type[CallError]]:
        return {kind}.union(*map(kinds, kind.__subclasses__()))

    made = {status_of(kind("failed")) for kind in kinds(CallError)}
    assert made | {status_of(UpstreamStatus("no", status=404))} <= set(listed)


@pytest.mark.parametrize("order", [1, -1])
def test_dashboards_of_like_names_have_schemas_of_their_own(order: int) -> None:
    declared = {
        "a_b": "string", "a__b": "integer", "ab": "boolean", "a_b2": "number", "_": "null",
        "__": "array",
    }  # fmt: skip
    text = "upstreams: {a: {base_url: http://a.test}}\ndashboards:\n" + "".join(
        f"  {name}: {{path: /{name}, parameters: {{n: {{type: string, allOf: [{{$ref: '#/$defs/m'}}], "
        f"$defs: {{m: {{maxLength: {number + 1}}}}}}}}}, "
        f"sections: {{x: {{get: 'a:/', required: true, schema: {{type: {kind!r}}}}}}}}}\n"
        for number, (name, kind) in list(enumerate(declared.items()))[::order]
    )
    told = application(text).openapi()
    schemas = told["components"]["schemas"]
    titles = {}
    for name, kind in declared.items():
        get = told["paths"][f"/{name}"]["get"]
        reference = get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
        titles[name] = reference.removeprefix("#/components/schemas/")
        assert schemas[titles[name]]["title"] == titles[name]
        assert schemas[f"{titles[name]}X"]["type"] == kind
        limit = schemas[get["parameters"][0]["schema"]["$ref"].split("/")[-1] + ".m"]
        assert limit == {"maxLength": list(declared).index(name) + 1}
    # Whatever the order of declaration is.
    assert titles == {"a_b": "AB3", "a__b": "AB4", "ab": "Ab",
                      "a_b2": "AB2", "_": "Dashboard", "__": "Dashboard2"}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("{get: 'a:/', required: true}", {"type": "array", "items": {"type": "string"}}),
        ("{get: 'a:/', required: true, schema: {type: integer}}", {"type": "integer"}),
        ("{get: 'a:/', required: true, select: '[0]'}", NAME),
        ("{get: 'b:/', required: true}", {"$ref": "#/components/schemas/Upstream_b"}),
        ("{get: 'b:/', required: true, select: child}",
         null({"$ref": "#/components/schemas/Upstream_b"})),
        ("{race: ['a:/', 'b:/'], required: true}",
         {"anyOf": [{"type": "array", "items": {"type": "string"}},
                    {"$ref": "#/components/schemas/Upstream_b"}]}),
        ("{for_each: {in: '{n}', batch: 5}, get: 'a:/?n={item}', required: true}",
         {"type": "array", "items": NAME}),
        ("{for_each: {in: '{n}', batch: 5, many: true}, get: 'a:/?n={item}', required: true}",
         {"type": "array", "items": null({"type": "array", "items": {"type": "string"}})}),
    ],
)  # fmt: skip
def test_an_upstreams_answer_types_the_sections_without_one(text: str, schema: Any) -> None:
    answers = {
        "a": {"type": "array", "items": {"type": "string"}},
        "b": {"type": "object", "properties": {"child": {"$ref": "#"}}},
    }
    compiled = plan(f"x: {text}", parameters="{n: {type: array}}")
    schemas = components(compiled, answers=answers)
    assert shown(schemas) == schema


def test_the_application_knows_its_upstreams_answers() -> None:
    told = application(
        "upstreams: {a: {base_url: http://a.test, schema: {type: string}}}\n"
        'dashboards: {d: {path: /d, sections: {x: {get: "a:/", required: true}}}}'
    ).openapi()
    assert shown(told["components"]["schemas"]) == {"type": "string"}


def answers_of(compiled: Plan) -> Validator:
    """Return what the answers of dashboard D have to meet."""
    return compile_schema(
        {"$ref": "#/components/schemas/D", "components": {"schemas": components(compiled)}}
    )


def test_every_code_and_state_is_told() -> None:
    schemas = components(plan('x: {get: "a:/"}'))
    assert schemas["ErrorCode"]["enum"] == [code.value for code in ErrorCode]
    assert schemas["SectionState"]["enum"] == [state.value for state in State]


def test_what_the_framework_told_is_kept() -> None:
    other = {"Other": {"type": "integer"}}
    base: dict[str, Any] = {"paths": {"/x": {}}, "components": {"schemas": {**other}}}
    told = OpenApi([plan('x: {get: "a:/"}')]).document(base)
    assert told["paths"] == {"/x": {}}
    assert told["components"]["schemas"] == other


@pytest.mark.parametrize(
    "outcomes",
    [
        [Outcome(State.OK, 1, {"id": 1, "name": "n"}), Outcome(State.OK, 1, [None, "a"])],
        [Outcome(State.STALE, 1, {"id": 1},
                 provenance=Provenance(as_of=0.0, reason=UpstreamTimeout("late"))),
         Outcome(State.SKIPPED)],
        [Outcome(State.OK, 1, {}), Outcome(State.FALLBACK, 5, 5, faults=(
            Fault(DependencyFailed("no")),))],
        [Outcome(State.OK, 1, {}), Outcome(State.OK, 1, [], faults=(
            Fault(UpstreamTimeout("late", upstream="a"), "key"), Fault(UpstreamTimeout("l"), 3)))],
    ],
)  # fmt: skip
def test_what_is_merged_meets_what_is_told(outcomes: list[Outcome]) -> None:
    compiled = plan(
        f'x: {{get: "a:/", required: true, schema: {PERSON}}}\n'
        'y: {for_each: "{x.l}", get: "a:/{item}", fallback: 5, when: "`true`"}'
    )
    whole = answers_of(compiled)
    assert list(whole.iter_errors(orjson.loads(compose(compiled, outcomes).body))) == []


def test_the_document_is_made_once_and_every_reference_in_it_leads_somewhere() -> None:
    app = application(
        "upstreams: {a: {base_url: http://a.test}}\n"
        'dashboards: {my_page: {path: "/p/{id}", parameters: {id: {type: integer}}, '
        'sections: {x: {get: "a:/{id}"}}}}'
    )
    told = app.openapi()
    assert app.openapi() is told
    assert "MyPage" in told["components"]["schemas"]
    assert list(told["paths"]["/p/{id}"]) == ["get"]

    assert {f"#/components/schemas/{name}" for name in told["components"]["schemas"]} >= references(
        told
    )


ODD = f"""
dates: {{get: "a:/tree", when: "`false`", required: true, schema: {{type: object}}}}
after: {{get: "a:/{{dates.id}}", required: true, schema: {{type: object}}}}
mean: {{get: "a:/none", select: "{{mean: avg(@)}}", required: true}}
first: {{get: "a:/pair", select: "[0]", required: true,
        schema: {{prefixItems: [{{type: string}}], items: {{type: integer}}}}}}
tree: {{get: "a:/tree", required: true, schema: {TREE}}}
deep: {{get: "a:/tree", select: "child.{{of: id}}", required: true, schema: {TREE}}}
trees: {{for_each: "{{n}}", get: "a:/tree", required: true, schema: {TREE}}}
kinds: {{get: "a:/none", select: "[].{{id: id}}", required: true,
        schema: {{type: array, items: {{type: [object, "null"]}}}}}}
any: {{get: "a:/tree", select: child.id, required: true,
      schema: {{properties: {{child: true}}, anyOf: [true]}}}}
old: {{get: "a:/pair", required: true,
      schema: {{$schema: "http://json-schema.org/draft-07/schema#", items: [{{type: string}}]}}}}
"""
ANSWERS = {
    "/tree": {"id": 1, "child": {"id": 2, "child": {}}},
    "/pair": ["a", 1],
    "/none": [],
}


def test_real_answers_meet_what_is_told_and_no_others() -> None:
    compiled = plan(ODD, parameters="{n: {type: array, items: {type: string}}}")
    upstreams = Upstreams(after(0, lambda request: ANSWERS[target_of(request)]))
    body = orjson.loads(run(walked(compiled, upstreams, n=["a"])).merged.body)
    whole = answers_of(compiled)
    assert list(whole.iter_errors(body)) == []
    assert body["data"]["after"] is None
    body["data"]["tree"]["child"]["id"] = body["data"]["deep"]["of"] = "1"
    assert [tuple(error.instance_path)[:2] for error in whole.iter_errors(body)] == [
        ("data", "tree"), ("data", "deep")
    ]  # fmt: skip


FALLIBLE = """
first: {get: "a:/person", answer: %(person)s}
needed: {get: "a:/person", answer: %(person)s, select: "{id: id}", required: true, fallback: {id: 0}}
after: {get: "a:/{first.id}", answer: %(person)s, select: name, fallback: nobody}
maybe: {get: "a:/person", answer: %(person)s, when: "first.name == 'n'", select: name || 'none'}
then: {get: "a:/{maybe.id}", answer: %(person)s, fallback: [1]}
raced: {race: [{get: "a:/person", select: id}, {get: "b:/pair", select: "[1]"}], fallback: null}
keyed: {for_each: {in: "{n}", key: "@"}, get: "a:/{item}", answer: %(person)s, select: name, fallback: {a: b}}
listed: {for_each: "{n}", get: "b:/{item}", answer: %(person)s, select: "[id, name]"}
follows: {for_each: "{keyed}", get: "b:/x{item.id}", answer: %(person)s, select: "id > `0`"}
batched: {for_each: {in: "{n}", batch: 2, match: name, key: "@"}, get: "a:/many?name={item}", select: id,
          answer: %(person)s}
"""
NAMED = ("{type: object, required: [id, name], properties: {id: {type: integer}, "
         "name: {type: [string, 'null']}}}")  # fmt: skip
SAID = st.sampled_from([
    {"id": 1, "name": "n"}, {"id": 2, "name": None}, {"id": "wrong"}, UpstreamTimeout("late"),
    UpstreamStatus("no", status=404), [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}], [0, 7], [],
])  # fmt: skip


@pytest.mark.no_cover
@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b"]), max_size=3), st.lists(SAID, min_size=1, max_size=12))
def test_whatever_fails_the_answer_meets_its_schema(n: list[str], said: list[Any]) -> None:
    left = itertools.cycle(said)

    def answer(_: Request) -> Any:
        value = next(left)
        if isinstance(value, Exception):
            raise value
        return value

    body = run(walked(FALLIBLE_PLAN, Upstreams(after(0, answer)), n=n)).merged.body
    assert list(FALLIBLE_ANSWERS.iter_errors(orjson.loads(body))) == []


FALLIBLE_PLAN = plan(FALLIBLE % {"person": NAMED}, parameters="{n: {type: array}}")
FALLIBLE_ANSWERS = answers_of(FALLIBLE_PLAN)


def test_the_document_is_openapi() -> None:
    sections = "\n".join("      " + line for line in ODD.strip().splitlines())
    app = application(
        "upstreams: {a: {base_url: http://a.test}}\ndashboards:\n  d:\n    path: /d\n"
        "    parameters: {n: {type: array, items: {$ref: '#/$defs/s', type: string}, "
        f"$defs: {{s: {{maxLength: 3}}}}}}}}\n    sections:\n{sections}\n"
    )
    assert list(OPENAPI_31_VALIDATOR.iter_errors(orjson.loads(orjson.dumps(app.openapi())))) == []


def test_the_document_of_a_large_configuration_is_openapi_without_loose_ends() -> None:
    told = orjson.loads(orjson.dumps(application(large_configuration(8)).openapi()))
    assert list(OPENAPI_31_VALIDATOR.iter_errors(told)) == []
    schemas = told["components"]["schemas"]
    # Every reference leads to a schema, and something refers to each of them.
    used = {text.removeprefix("#/components/schemas/") for text in references(told)}
    assert used == schemas.keys()
    assert told["servers"] == [{"url": "/"}]
    assert told["security"] == []
    assert told["info"]["description"]
    tags = {tag["name"] for tag in told["tags"]}
    for path in told["paths"].values():
        for one in path.values():
            assert one["description"]
            assert {*one["tags"]} <= tags
    for part in parts(told):
        assert part.get("type") != "array" or "items" in part


def parts(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [part for child in node for part in parts(child)]
    if not isinstance(node, dict):
        return []
    return [node, *(part for child in node.values() for part in parts(child))]


def references(node: Any) -> set[str]:
    return {part["$ref"] for part in parts(node) if isinstance(part.get("$ref"), str)}
