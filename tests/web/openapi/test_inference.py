from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.errors import ExpressionFailed
from gateway.expressions.jmes import ExpressionError, compile_expression, search
from gateway.expressions.json_schema import compile_schema
from gateway.web.openapi.inference import selected
from gateway.web.openapi.references import moved
from gateway.web.openapi.schema import NEVER

NULL = {"type": "null"}
BOOLEAN = {"type": "boolean"}
INTEGER = {"type": "integer"}
NUMBER = {"type": "number"}
STRING = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}


def null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, NULL]}


def some(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": schema, **more}


def closed(**members: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def pair(*elements: Any) -> dict[str, Any]:
    count = len(elements)
    return {"type": "array", "prefixItems": list(elements), "minItems": count, "maxItems": count}


POST = {
    "type": "object",
    "required": ["id", "tags"],
    "properties": {"id": INTEGER, "score": NUMBER, "tags": some(STRING), "by": {"$ref": "#"}},
}
USER = {
    "type": "object",
    "required": ["id", "name", "posts", "role"],
    "properties": {
        "id": INTEGER,
        "name": STRING,
        "nick": {"type": ["string", "null"]},
        "on": BOOLEAN,
        "role": {"enum": ["admin", "guest", None]},
        "posts": some(POST),
        "recent": some(POST, minItems=1, maxItems=3),
        "where": {"type": "array", "prefixItems": [NUMBER, STRING], "items": False, "minItems": 1},
    },
}


@pytest.mark.parametrize(
    ("expression", "schema"),
    [
        # Paths: what is required is there.
        ("@", USER),
        ("id", INTEGER),
        ("on", null(BOOLEAN)),
        ("nick", {"type": ["string", "null"]}),
        ("nope", {}),
        ("name.nope", NULL),
        ("role", {"enum": ["admin", "guest", None]}),
        ("posts[0].id", null(INTEGER)),
        ("where[0]", null(NUMBER)),
        ("where[1]", null(STRING)),
        ("where[2]", NULL),
        ("where[-1]", {"anyOf": [NUMBER, STRING, NULL]}),
        ("posts[0].by", null({"$ref": "#"})),
        ("posts[0].by.name", null(STRING)),
        # Lists, their lengths, and nulls that a projection drops.
        ("posts[*].id", some(INTEGER)),
        ("posts[].score", some(NUMBER)),
        ("posts[*].by", some({"$ref": "#"})),
        ("posts[].tags[]", some(STRING)),
        ("posts[*].tags", some(some(STRING))),
        ("posts[?score > `1`].id", some(INTEGER)),
        ("posts[:5].id", some(INTEGER, maxItems=5)),
        ("posts[-2:]", some(POST)),
        ("recent[*].id", null(some(INTEGER, minItems=1, maxItems=3))),
        ("recent[1:].id", null(some(INTEGER, maxItems=2))),
        ("recent[*].score", null(some(NUMBER, maxItems=3))),
        ("recent[0].id", null(INTEGER)),
        ("(recent || posts)[*].id", some(INTEGER)),
        ("where[*]", null(some({"anyOf": [NUMBER, STRING]}, minItems=1, maxItems=2))),
        ("name[*]", NULL),
        ("*", {"type": "array"}),
        ("{a: id, b: nick}.*", {"type": "array", "items": {"anyOf": [INTEGER, STRING]}}),
        # Made anew.
        ("{n: name, m: nick}", closed(n=STRING, m={"type": ["string", "null"]})),
        ("posts[0].{id: id}", null(closed(id=INTEGER))),
        ("posts[*].{id: id, s: score}", some(closed(id=INTEGER, s=null(NUMBER)))),
        ("nope.{id: id}", null(closed(id={}))),
        ("name.nope.{id: id}", NULL),
        ("[id, nick]", pair(INTEGER, {"type": ["string", "null"]})),
        ("[id, name] | [1]", STRING),
        ("[id, name] | [-1]", STRING),
        ("'text'", {"type": "string", "const": "text"}),
        ('`{"a": [1.5, true, null]}`', closed(a=pair(
            {"type": "number", "const": 1.5}, {"type": "boolean", "const": True}, NULL))),
        ("`[]`", {"type": "array", "maxItems": 0}),
        # Conditions.
        ("id == `1`", BOOLEAN),
        ("id > `1`", BOOLEAN),
        ("nick > 'a'", null(BOOLEAN)),
        ("!id", BOOLEAN),
        ("nick || 'none'", STRING),
        ("nick || id", {"anyOf": [STRING, INTEGER]}),
        ("id || name", INTEGER),
        ("role || 'none'", {"anyOf": [{"type": "string", "enum": ["admin", "guest"]},
                                      {"type": "string", "const": "none"}]}),
        ("on || name", {"anyOf": [{"type": "boolean", "const": True}, STRING]}),
        ("on && name", {"anyOf": [{"type": "boolean", "const": False}, STRING, NULL]}),
        ("name && id", {"anyOf": [{"type": "string", "const": ""}, INTEGER]}),
        ("id && name", STRING),
        ("`null` && name", NULL),
        ("nope || name", {}),
        # Functions.
        ("abs(id)", INTEGER),
        ("abs(posts[0].score)", NUMBER),
        ("avg(posts[].id)", null(NUMBER)),
        ("avg((recent || posts)[].id)", null(NUMBER)),
        ("avg(where[:1])", NUMBER),
        ("ceil(id)", INTEGER),
        ("contains(name, 'a')", BOOLEAN),
        ("floor(id)", INTEGER),
        ("join(', ', posts[].tags[])", STRING),
        ("keys(@)", some(STRING)),
        ("length(posts)", COUNT),
        ("map(&length(@), posts[].tags)", some(COUNT)),
        ("map(&by, posts)", some(null({"$ref": "#"}))),
        ("max(posts[].id)", null(INTEGER)),
        ("max([id, id])", INTEGER),
        ("max(posts[].[id, nope][])", {"anyOf": [NUMBER, STRING, NULL]}),
        ("max_by(posts, &id)", null(POST)),
        ("min_by(recent, &id).id", INTEGER),
        ("merge({a: id}, {b: name})", closed(a=INTEGER, b=STRING)),
        ("merge({a: id, b: id}, {b: name})", closed(a=INTEGER, b=STRING)),
        ("merge(posts[0], {id: name})", {
            "type": "object", "properties": {**POST["properties"], "id": STRING},  # type: ignore[dict-item]
            "required": ["id", "tags"], "additionalProperties": True}),
        ("merge({id: name}, posts[0])", {
            "type": "object", "properties": POST["properties"],
            "required": ["id", "tags"], "additionalProperties": True}),
        ("not_null(nick, name)", STRING),
        ("not_null(nick, role)", {"anyOf": [STRING, NULL]}),
        ("reverse(name)", STRING),
        ("reverse(posts)", some(POST)),
        ("sort(posts[].id)", some(INTEGER)),
        ("sort_by(recent, &id)", some(POST, minItems=1, maxItems=3)),
        ("sort_by(posts, &id)[0].id", null(INTEGER)),
        ("sum(posts[].id)", INTEGER),
        ("sum(posts[].score)", NUMBER),
        ("starts_with(name, 'a')", BOOLEAN),
        ("to_array(id)", some(INTEGER, minItems=1, maxItems=1)),
        ("to_array(posts)", some(POST)),
        ("to_number(id)", INTEGER),
        ("to_number(name)", null(NUMBER)),
        ("to_number(on)", NULL),
        ("to_string(@)", STRING),
        ("type(nick)", {"type": "string", "enum": ["null", "string"]}),
        ("values({a: id, b: id})", some(INTEGER)),
        ("type(&id)", {}),
        ("&id", {}),
    ],
)  # fmt: skip
def test_types_are_as_exact_as_the_schema(expression: str, schema: Any) -> None:
    assert selected(expression, USER) == schema


LISTS = some(INTEGER)


@pytest.mark.parametrize(
    ("expression", "schema", "inferred"),
    [
        # true and false are schemas, wherever one stands.
        ("a", True, {}),
        ("a", False, NEVER),
        ("a", {"properties": {"a": True}}, {}),
        ("a", {"properties": {"a": False}}, NULL),
        ("a", {"anyOf": [True]}, {}),
        ("a.b", {"properties": {"a": {"anyOf": [True, NULL]}}}, {}),
        ("[0]", {"items": True}, {}),
        ("[*]", {"type": "array", "items": False}, {"type": "array", "maxItems": 0}),
        # Nothing is known of a value without a type, but that it is no object or has the member.
        ("a", {"properties": {"a": INTEGER}, "required": ["a"]}, null(INTEGER)),
        ("[*].a", {"items": {"properties": {"a": True}}}, null({"type": "array"})),
        # Members that are not declared.
        ("a", {"type": "object", "additionalProperties": False}, NULL),
        ("a", {"type": "object", "additionalProperties": STRING}, null(STRING)),
        ("a", {"type": "object", "additionalProperties": STRING, "required": ["a"]}, STRING),
        ("a", {"type": "object", "patternProperties": {"^b": INTEGER},
               "additionalProperties": STRING, "required": ["a"]}, {"anyOf": [INTEGER, STRING]}),
        ("*", {"type": "object", "patternProperties": {"^b": INTEGER},
               "properties": {"a": STRING}, "additionalProperties": False},
         some({"anyOf": [STRING, INTEGER]})),
        # A type may be a list.
        ("[]", {"items": {"type": ["object", "null"]}}, null(some({"type": "object"}))),
        ("[]", {"items": {"type": ["array", "null"]}}, null({"type": "array"})),
        ("a", {"type": ["object", "null"], "properties": {"a": INTEGER}, "required": ["a"]},
         null(INTEGER)),
        ("a || 'x'", {"type": "object", "required": ["a"],
                      "properties": {"a": {"type": ["integer", "null"]}}},
         {"anyOf": [INTEGER, {"type": "string", "const": "x"}]}),
        # Items are what is behind the prefix.
        ("[0]", {"type": "array", "prefixItems": [STRING], "items": INTEGER}, null(STRING)),
        ("[1]", {"type": "array", "prefixItems": [STRING], "items": INTEGER}, null(INTEGER)),
        ("[*]", {"type": "array", "prefixItems": [STRING], "items": INTEGER},
         some({"anyOf": [STRING, INTEGER]})),
        ("[1:]", {"type": "array", "prefixItems": [STRING], "items": INTEGER},
         some({"anyOf": [STRING, INTEGER]})),
        # Combinations.
        ("a", {"oneOf": [closed(a=INTEGER), closed(a=STRING), closed(b=STRING)]},
         {"anyOf": [INTEGER, STRING, NULL]}),
        ("a || b", {"oneOf": [closed(a=INTEGER), closed(b=STRING)]}, {"anyOf": [INTEGER, STRING]}),
        ("a && 'x'", {"oneOf": [closed(a=INTEGER), closed(b=STRING)]},
         {"anyOf": [{"type": "string", "const": "x"}, NULL]}),
        ("a", {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": INTEGER}}]},
         INTEGER),
        ("a", {"type": "object", "properties": {"a": INTEGER},
               "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, null(INTEGER)),
        ("a", {"allOf": [closed(a=NUMBER), closed(a={"minimum": 3})]},
         {"allOf": [NUMBER, {"minimum": 3}]}),
        ("a", {"allOf": [{"type": "object", "properties": {"a": INTEGER}},
                                  {"additionalProperties": False}]}, NULL),
        ("[0]", {"allOf": [{"type": "array", "prefixItems": [INTEGER]}, {"items": STRING}]},
         null({"allOf": [INTEGER, STRING]})),
        ("to_number(@)", {"allOf": [NUMBER, INTEGER]}, INTEGER),
        ("not_null(@, 'x')", {"allOf": [{"enum": ["a", "b", None]}, {"enum": ["b", "c", None]}]},
         {"anyOf": [{"type": "string", "const": "b"}, {"type": "string", "const": "x"}]}),
        ("a", {"const": {"a": 1}}, {"type": "integer", "const": 1}),
        ("a", {"enum": [{"a": 1}, {"a": None}, 5]}, null({"type": "integer", "const": 1})),
        ("to_number(@)", {"type": "integer", "enum": [1, 2.0, 2.5, "x"]},
         {"type": "integer", "enum": [1, 2.0]}),
        ("type(@)", {"enum": [1, 1.5]}, {"type": "string", "enum": ["number"]}),
        ("type(@)", {"enum": list(range(99))}, {"type": "string", "enum": ["number"]}),
        # References are followed, also in a circle, and stay as they are in what comes out.
        ("@", {"$ref": "#/$defs/u", "$defs": {"u": INTEGER}},
         {"$ref": "#/$defs/u", "$defs": {"u": INTEGER}}),
        ("a", {"properties": {"a": {"$ref": "#/$defs/u"}}, "$defs": {"u": INTEGER}},
         null({"$ref": "#/$defs/u"})),
        ("[*]", some({"$ref": "#/$defs/u"}) | {"$defs": {"u": {"type": ["integer", "null"]}}},
         some(INTEGER)),
        ("a[0]", {"properties": {"a": {"$ref": "#/x~1y/1%25/~0"}}, "x/y": [{}, {}],
                  "$defs": {}}, {}),
        ("a[0]", {"properties": {"a": {"$ref": "#/allOf/0"}}, "allOf": [LISTS]}, NULL),
        ("a[0]", {"properties": {"a": {"$ref": "#/$defs/x~1y%25"}}, "$defs": {"x/y%": LISTS}},
         null(INTEGER)),
        ("a.a.a", {"properties": {"a": {"$ref": "#"}}}, {"$ref": "#"}),  # which null meets too
        ("a.a.a", {"type": "object", "properties": {"a": {"$ref": "#"}}}, null({"$ref": "#"})),
        ("a", {"$ref": "#"}, {}),
        ("a", {"$ref": "#/$defs/u", "$defs": {"u": {"anyOf": [{"$ref": "#/$defs/u"}, NULL]}}}, {}),
        ("not_null(@)", {"$ref": "#/$defs/u", "$defs": {"u": {"anyOf": [
            {"$ref": "#/$defs/v"}, NULL]}, "v": INTEGER}}, null({"$ref": "#/$defs/v"})),
        ("a", {"$ref": "#/nowhere"}, {}),
        ("a", {"$ref": "#u"}, {}),
        # A schema that is met with itself deeper down is not followed for ever.
        ("a", {"allOf": [{"type": "object", "patternProperties": {"^a": {"$ref": "#"}},
                          "additionalProperties": NULL}, {"properties": {"a": INTEGER}}]},
         null({"allOf": [null({"$ref": "#"}), INTEGER]})),
        # What is not understood is left out.
        ("a", {"type": "object", "properties": {"a": STRING}, "if": {"required": ["a"]},
               "then": {"properties": {"a": {"minLength": 1}}}, "not": {"required": ["b"]}},
         null(STRING)),
    ],
)  # fmt: skip
def test_infers_from_every_form_of_schema(expression: str, schema: Any, inferred: Any) -> None:
    assert selected(expression, schema) == inferred


def test_references_lead_into_the_root() -> None:
    root = {"type": "object", "properties": {"a": LISTS}}
    assert selected("a", {"$ref": "#"}, root) == null(LISTS)


def test_a_schema_of_too_many_alternatives_is_known_by_its_types() -> None:
    many = {"anyOf": [{"type": "object", "properties": {f"a{n}": INTEGER}} for n in range(40)]}
    assert selected("a0", many) == {}
    assert selected("type(@)", many) == {"type": "string", "enum": ["object"]}


NAMES = st.sampled_from(["id", "name", "posts", "x"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(
    [0.5, 2.0, "", "a", "id", "12", "x y"]
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


def _schemas_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(NAMES, inner, max_size=3)
    bounds = st.sampled_from(
        [{}, {}, {"minItems": 1}, {"maxItems": 2}, {"minItems": 1, "maxItems": 1}]
    )
    return (
        st.builds(
            lambda kind, properties, required, more: {
                **kind, "properties": properties, "required": required, **more},
            st.sampled_from([{"type": "object"}, {"type": "object"}, {}, {"type": ["object", "null"]}]),
            members,
            st.lists(NAMES, max_size=2, unique=True),
            st.just({}) | st.fixed_dictionaries({"additionalProperties": inner})
            | st.fixed_dictionaries({"patternProperties": st.dictionaries(
                st.sampled_from(["^i", "s$"]), inner, max_size=1)})
            | st.just({"minProperties": 1}),
        )
        | st.builds(
            lambda kind, items, bound: {**kind, "items": items, **bound},
            st.sampled_from([{"type": "array"}, {"type": "array"}, {}, {"type": ["array", "string"]}]),
            inner,
            bounds,
        )
        | st.builds(
            lambda first, items, bound: {
                "type": "array", "prefixItems": first, "items": items, **bound},
            st.lists(inner, min_size=1, max_size=2), inner, bounds,
        )
        | st.builds(lambda branch: {"anyOf": [branch, NULL]}, inner)
        | st.builds(lambda key, *branches: {key: list(branches)},
                    st.sampled_from(["anyOf", "oneOf", "allOf"]), inner, inner)
        | st.builds(lambda beside, branch: {**beside, "anyOf": [branch, {"required": ["id"]}]},
                    inner.filter(lambda schema: isinstance(schema, dict)), inner)
        | st.builds(lambda beside: {"$ref": "#/$defs/u", **beside},
                    st.just({}) | st.fixed_dictionaries({"properties": members}))
        | st.builds(lambda banned: {"not": banned}, inner)
    )  # fmt: skip


SCHEMAS = st.recursive(
    st.sampled_from([
        True, True, False, INTEGER, NUMBER, STRING, BOOLEAN, NULL,
        {"type": ["integer", "array", "null"]}, {"type": ["string", "null"]}, {"type": "object"},
        {"type": "array"}, {"$ref": "#/$defs/u"}, {"$ref": "#"}, {"type": "string", "minLength": 1},
    ])
    | st.builds(lambda value: {"const": value}, VALUES)
    | st.builds(lambda values: {"enum": values}, st.lists(VALUES, min_size=1, max_size=3)),
    _schemas_of,
    max_leaves=8,
)  # fmt: skip


@st.composite
def _meeting(  # noqa: C901, PLR0911 - one branch for each keyword
    draw: Any, schema: Any, root: Any, depth: int = 4
) -> Any:
    """Draw a value that is likely to meet `schema`."""
    if depth == 0 or not isinstance(schema, dict) or draw(st.integers(0, 12)) == 0:
        return draw(VALUES if depth else SCALARS)

    def inner(part: Any) -> Any:
        return draw(_meeting(part, root, depth - 1))

    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema and draw(st.booleans() if len(schema) > 1 else st.just(True)):
            return inner(draw(st.sampled_from(schema[key])))
    if "$ref" in schema:
        target = root["$defs"]["u"] if schema["$ref"] == "#/$defs/u" else root
        return inner(target)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    kinds = schema.get("type")
    if kinds is None:
        kinds = (
            ["object"] if "properties" in schema else ["array"] if "items" in schema else ["any"]
        )
    kind = draw(st.sampled_from([kinds] if isinstance(kinds, str) else kinds))
    if kind == "object":
        declared = schema.get("properties", {})
        names = {*schema.get("required", ()), *draw(st.lists(NAMES, max_size=2))}
        names |= {name for name in declared if draw(st.booleans())}
        return {name: inner(declared.get(name, schema.get("additionalProperties", True)))
                for name in sorted(names)}  # fmt: skip
    if kind == "array":
        prefix = schema.get("prefixItems", [])
        size = draw(st.integers(schema.get("minItems", 0), schema.get("maxItems", 3)))
        return [inner(prefix[n] if n < len(prefix) else schema.get("items", True))
                for n in range(size)]  # fmt: skip
    return draw(
        {
            "null": st.none(),
            "boolean": st.booleans(),
            "integer": st.integers(-3, 3),
            "number": st.integers(-3, 3) | st.just(0.5),
            "string": st.sampled_from(["", "a", "id", "12"]),
        }.get(kind, VALUES)
    )


def _expressions_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    one = st.sampled_from(
        ["({}).{n}", "({})[0]", "({})[-1]", "({})[1]", "({})[1:]", "({})[:2]", "({})[::-1]", "({})[*]",
         "({})[]", "({}).*", "({})[*].{n}", "({})[].{n}", "({}).*.{n}", "({})[?{n}]", "!({})",
         "({}).{{a: {n}, id: @}}", "({}).[{n}, @]", "({})[*].{{id: {n}}}", "abs({})", "avg({})",
         "ceil({})", "floor({})", "keys({})", "length({})", "max({})", "min({})", "reverse({})",
         "sort({})", "sum({})", "to_array({})", "to_number({})", "to_string({})", "type({})",
         "values({})", "join('-', {})", "not_null({}, {n})", "not_null({})", "map(&{n}, {})",
         "sort_by({}, &{n})", "max_by({}, &{n})", "min_by({}, &{n})", "({})[?@ == `1`]", "type(&{n})",
         "contains({}, 'a')", "starts_with({}, 'a')", "merge({})", "({})[*].[{n}, id][]"]
    )  # fmt: skip
    two = st.sampled_from(
        ["{} | {}", "({}) || ({})", "({}) && ({})", "({}) == ({})", "({}) < ({})", "({}) >= ({})",
         "[{}, {}]", "{{id: {}, name: {}}}", "merge({}, {})", "not_null({}, {})", "map(&({}), {})",
         "({1})[?{0}]", "({})[*].[{}]", "sort_by({1}, &({0}))", "({}) | [*].{{a: {}}}",
         "ends_with({}, {})", "({}) != ({})", "({})[].[{}][]", "merge({0}, {{x: {1}}})"]
    )  # fmt: skip
    return st.builds(lambda form, part, name: form.format(part, n=name), one, inner, NAMES) | (
        st.builds(lambda form, *parts: form.format(*parts), two, inner, inner)
    )


EXPRESSIONS = st.recursive(
    NAMES | st.sampled_from(["@", "'a'", "`1`", "`1.5`", "`null`", "`[]`", "`{}`", "`false`",
                             '`[1, "a"]`', '`{"id": [1]}`', "`true`"]),
    _expressions_of,
    max_leaves=4,
)  # fmt: skip


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(SCHEMAS, SCHEMAS, st.data(), EXPRESSIONS)
def test_what_is_selected_meets_the_inferred_schema(
    schema: Any, definition: Any, data: st.DataObject, expression: str
) -> None:
    root = {"allOf": [schema], "$defs": {"u": definition}}
    value = data.draw(_meeting(schema, root))
    assume(compile_schema(root).is_valid(value))
    try:
        result = search(compile_expression(expression), value, "select")
    except (ExpressionFailed, ExpressionError):
        return  # it fails the section, which is another matter
    # As in the document: the answer's schema stands elsewhere.
    for start in (root, schema):
        inferred = moved(selected(expression, start, root), "#/root")
        whole = {"allOf": [inferred], "root": moved(root, "#/root")}
        assert compile_schema(whole).is_valid(result), inferred
