from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.models import Config
from gateway.errors import ConfigError
from gateway.plan.load import Loaded, compile_config, load, loads, shipped

EIGHT = """\
upstreams:
  users:
    base_url: https://a.example
    timeot: 2s
  posts: {base_url: "not a url"}
  weather:
    base_url: https://c.example
    base_url: https://d.example
    headers: {x-key: "k-${GATEWAY_NO_SUCH}"}
dashboards:
  one:
    path: /one/{id}
    parameters: {id: {type: integer}}
    sections:
      a: {get: "userz:/users/{id}"}
      b: {get: "users:/users/{idd}"}
      c: {get: "users:/x/{d.x}"}
      d: {get: "users:/y/{c.x}"}
  two:
    path: /one/{other}
    parameters: {other: {type: string}}
    sections: {a: {get: "users:/"}}
"""


def diagnostics(text: str, **environment: str) -> list[str]:
    """Return `line:col: message` for each mistake."""
    with pytest.raises(ConfigError) as caught:
        loads(text, "f", environment)
    return [line.removeprefix("f:") for line in caught.value.lines()]


def test_no_mistake_quotes_the_value_of_a_variable() -> None:
    text = """
upstreams: {a: {base_url: "http://a", timeout: "${S}", headers: {"x": "${S}"}}}
dashboards:
  one:
    path: /one
    parameters: {id: {schema: {type: "${S}"}}}
    sections: {x: {get: "a:/x"}}
  two:
    path: /two
    sections:
      x: {get: "${S}:/csv"}
      y: {get: "a:/{${S}}"}
      z: {get: "a:/z", select: "${S} ${LONGER}"}
      schema: {get: "a:/z", schema: {type: "${LONGER}"}}
"""
    secret = "s3cr3t'tk"
    found = diagnostics(text, S=secret, LONGER=secret + "-and-more")
    told = "\n".join(found)
    assert len(found) >= 4
    assert "s3cr" not in told
    assert "${S}" in told
    plain = diagnostics(text, S="s3cr3tk", LONGER="s3cr3tk-and-more")
    assert "s3cr" not in "\n".join(plain)


def test_mistakes_quote_short_values_of_variables() -> None:
    text = document().replace("a:/", "${T}:/", 1)
    assert "abc is not a declared upstream" in diagnostics(text, T="abc")[0]
    assert "${T} is not a declared upstream" in diagnostics(text, T="abcd")[0]


def test_eight_mistakes_are_eight_lines_each_at_its_place() -> None:
    assert diagnostics(EIGHT) == [
        "4:5: unknown key timeot, did you mean timeout?",
        "5:21: write an absolute http or https URL, such as https://api.example.com",
        "8:5: duplicate key base_url, first on line 7",
        "9:25: GATEWAY_NO_SUCH is not set; set it in the environment, or write "
        "${GATEWAY_NO_SUCH:-default}",
        "15:16: userz is not a declared upstream, did you mean users?",
        "16:30: {idd}: idd is neither a parameter nor a section, did you mean id?",
        "18:26: sections wait for each other: c -> d -> c",
        "20:11: dashboard one already has this path",
    ]


def document(section: str = 'x: {get: "a:/"}', upstream: str = "", dashboard: str = "") -> str:
    return (
        f"upstreams:\n  a: {{base_url: http://a.test{upstream}}}\n"
        f"dashboards:\n  d:\n    path: /d\n{dashboard}    sections:\n      {section}\n"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1:1: the file is empty"]),
        ("[]", ["1:1: a configuration should be a mapping with upstreams and dashboards"]),
        ("a: 1", ["1:1: dashboards is missing",
                  "1:1: unknown key a; there is dashboards, upstreams, web",
                  "1:1: upstreams is missing"]),
        ("upstreams: 5\ndashboards: {}", ["1:12: should be a mapping of names, and not empty",
                                          "2:13: should be a mapping of names, and not empty"]),
        (document(upstream=", timeout: 5"), [
            "2:41: write a duration with its unit, such as 500ms, 2s, 10m, 1h or 1d"]),
        (document(upstream=", concurrency: lots"), [
            "2:45: should be an integer or 'adaptive'"]),
        (document(upstream=", retry: {attempts: 99}"), [
            "2:50: should be less than or equal to 10"]),
        (document(upstream=", breaker: {windw: 2s}"), [
            "2:42: unknown key windw, did you mean window?"]),
        (document(upstream=", headers: {host: x}"), ["2:42: host is set by the gateway and cannot be configured"]),
        (document(upstream=', headers: {"b d": x}'), ["2:42: 'b d' is not a valid header name"]),
        (document('x: {get: "a:/{id"}'), [
            "7:20: this { is never closed; write {{ for a literal brace"]),
        (document('x: {gt: "a:/"}'), ["7:11: unknown key gt, did you mean get?"]),
        (document("x: {}"), ["7:10: a section needs exactly one source: either `get` or `race`"]),
        (document("x:"), ["7:7: should be a mapping, but is empty"]),
        (document("x: {get: 5}"), ["7:16: should be a valid string"]),
        (document('x: {get: "a:/", select: "[:5"}'), None),
        (document('x: {race: ["a:/"]}'), ["7:17: list should have at least 2 items, not 1"]),
        (document('x: {get: "a:/b c"}'), ["7:21: ' ' cannot stand in a URL; percent-encode it"]),
        (document('x: {get: "a:/", when: "y.z"}'), [
            "7:29: y is neither a parameter nor a section; there is x"]),
        (document('x: {get: "a:/{i}", for_each: {in: "{q}", as: i, kee: 1}}'), [
            "7:55: unknown key kee, did you mean key?"]),
        (document(dashboard="    parameters: {p: {type: integr}}\n"), None),
        (document(dashboard="    parameters: {p: {type: string, minLength: x}}\n"), [
            '6:47: this is not a JSON Schema: "x" is not of type "integer"']),
        (document('x: {get: "a:/"}\n      y: {get: "a:/{x}"}',
                  dashboard="    parameters: {x: {type: string}}\n"), [
            "9:20: {x} could mean parameters.x or sections.x; rename one of them"]),
        (document(dashboard="    deadlin: 1s\n"), ["6:5: unknown key deadlin, did you mean deadline?"]),
        (document().replace("path: /d", "path: d"), None),
        (document().replace("path: /d", "path: /d/{q}"), ["5:14: {q} is not a declared parameter"]),
        (document().replace("path: /d", "path: /docs"), ["5:11: /docs is reserved by the gateway; choose another path"]),
        (document().replace("path: /d", "path: /a//b"), ["5:11: the path has an empty segment; remove the extra slash"]),
        (document().replace("path: /d", "path: /a/../b"), [
            "5:11: '..' is not a path segment; write plain text or one {parameter}"]),
        (document().replace("  a: {", "  2a: {").replace("a:/", "2a:/"), None),
        (document().replace("  d:\n", "  d-d:\n"), [
            "4:3: 'd-d' is not a valid name; use letters, digits and _, no digit first"]),
    ],
)  # fmt: skip
def test_each_mistake_is_told_at_its_place(text: str, expected: list[str] | None) -> None:
    told = diagnostics(text)
    assert expected is None or told == expected
    assert all(int(line.split(":")[0]) >= 1 and int(line.split(":")[1]) >= 1 for line in told)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://a", "absolute http or https"),
        ("//a", "absolute http or https"),
        ("http://", "absolute http or https"),
        ("http://a?x=1", "cannot have a query"),
        ("http://a#f", "cannot have a query"),
        ("http://u:p@a", "cannot contain credentials"),
        ("http://a b", "cannot contain spaces"),
        ("http://a:99999", "must be a number from 1 to 65535"),
        ("http://a:0", "from 1 to 65535, not 0"),
    ],
)
def test_base_urls_that_are_none(url: str, why: str) -> None:
    (told,) = diagnostics(document().replace("http://a.test", f'"{url}"'))
    assert told.startswith("2:17: ")
    assert why in told


def test_a_broken_section_hides_no_other_mistake_and_makes_none() -> None:
    text = """\
upstreams: {a: {base_url: http://a.test}}
dashboards:
  d:
    path: /d
    deadline: 7
    sections:
      broken: {gett: "a:/"}
      uses: {get: "a:/{broken.id}"}
      wrong: {get: "b:/{broken.id}/{nope}"}
"""
    assert diagnostics(text) == [
        "5:15: write a duration with its unit, such as 500ms, 2s, 10m, 1h or 1d",
        "7:16: unknown key gett, did you mean get?",
        "9:20: b is not a declared upstream; there is a",
        "9:36: {nope}: nope is neither a parameter nor a section",
    ] or diagnostics(text)[:3] == [
        "5:15: write a duration with its unit, such as 500ms, 2s, 10m, 1h or 1d",
        "7:16: unknown key gett, did you mean get?",
        "9:20: b is not a declared upstream; there is a",
    ]


def test_a_broken_upstream_is_still_a_name() -> None:
    assert diagnostics(document(upstream=", nope: 1")) == ["2:32: unknown key nope"]


@pytest.mark.parametrize(
    "section",
    [
        'x: {get: "a:/{y}"}\n      y: {get: "a:/{x}"}',
        'x: {get: "a:/{x}"}',
        'x: {get: "a:/", when: "y"}\n      y: {for_each: "{x}", get: "a:/{item}"}',
        'x: {for_each: "{y}", get: "a:/{item}"}\n      y: {for_each: "{x}", get: "a:/{item}"}',
    ],
)
def test_cycles_are_refused_whatever_they_are_made_of(section: str) -> None:
    told = diagnostics(document(section))
    assert len(told) == 1
    assert "sections wait for each other" in told[0]


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ('x: {for_each: "ids", get: "a:/{item}"}', "one reference to a list"),
        ('x: {for_each: "{i d}", get: "a:/{item}"}', "is not a reference"),
        ('x: {for_each: {in: "{y}", as: y}, get: "a:/{y}"}\n      y: {get: "a:/"}', "already a parameter or a section"),
        ('x: {for_each: {in: "{y}", key: "["}, get: "a:/{item}"}\n      y: {get: "a:/"}', "not JMESPath"),
        ('x: {for_each: "{y}", race: ["a:/", "a:/"]}\n      y: {get: "a:/"}', "goes with `get`"),
        ('x: {for_each: {in: "{y}", batch: 5}, get: "a:/{item}"}\n      y: {get: "a:/"}',
         "one query pair name={item}"),
        ('x: {for_each: {in: "{y}", batch: 5}, get: "a:/?i={item.id}"}\n      y: {get: "a:/"}',
         "one query pair name={item}"),
        ('x: {get: "http://b/"}', "http is not a declared upstream"),
        ('x: {get: "b.test/x"}', "write upstream:/path?query"),
        ('x: {get: "a:/a/../b"}', "cannot contain . or .. segments"),
        ('x: {get: "a:/#f"}', "cannot stand in a URL"),
        ('x: {get: "a:/}"}', "never opened"),
        ('x: {get: "a:/{}"}', "is not a reference"),
        ('x: {race: [{get: "a:/", select: "["}, "a:/"]}', "not JMESPath"),
    ],
)  # fmt: skip
def test_sections_that_cannot_be(section: str, why: str) -> None:
    told = diagnostics(document(section))
    assert len(told) == 1
    assert why in told[0]


def test_a_parameter_that_is_no_list_cannot_be_fanned_out() -> None:
    text = document(
        'x: {for_each: "{p}", get: "a:/{item}"}',
        dashboard="    parameters: {p: {type: string, default: a}}\n",
    )
    assert "is not an array parameter" in diagnostics(text)[0]


def test_variables_are_replaced_and_typed() -> None:
    text = document(
        upstream=', concurrency: "${N}", queue: "${Q:-7}", headers: {x: "a$${b}-${S:-}"}'
    ).replace("path: /d", "path: /d\n    deadline: ${T:-3s}\n    summary: ${S:-5}")
    assert loads(text, "f", {"N": "12", "S": "x"}).config.dashboards["d"].deadline == 3
    assert "7:14: should be a valid string" in diagnostics(text, N="12")  # plain: typed anew
    text = text.replace("${S:-5}", "${S:-five}")
    upstream = loads(text, "f", {"N": "12"}).config.upstreams["a"]
    assert (upstream.concurrency, upstream.queue) == (12, 7)
    assert upstream.model_dump()["headers"] == {"x": "a${b}-"}


def test_a_variable_is_a_value_and_never_yaml() -> None:
    text = document(upstream=', headers: {x: "${V}"}')
    value = "y}, timeout: 1s, z: {a"
    assert loads(text, "f", {"V": value}).config.upstreams["a"].model_dump()["headers"] == {
        "x": value
    }


def test_a_variable_that_is_none_is_told() -> None:
    assert "write ${NAME}" in diagnostics(document(upstream=', headers: {x: "${1}"}'))[0]


@pytest.mark.parametrize(
    ("yaml", "value"),
    [("no", "no"), ("on", "on"), ("2020-01-01", "2020-01-01"), ("1_000", "1_000"), ("true", True),
     ("~", None), ("0x10", 16), ("0o17", 15), ("-5", -5), ("1e3", 1000.0), (".5", 0.5),
     ("'5'", "5"), ("|\n          a\n          b", "a\nb\n")],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(yaml: str, value: Any) -> None:
    section = loads(document(f'x: {{get: "a:/", fallback: {yaml}}}')
                    if "\n" not in yaml else
                    document(f'x:\n        get: "a:/"\n        fallback: {yaml}'))  # fmt: skip
    assert section.config.dashboards["d"].sections["x"].fallback == value


@pytest.mark.parametrize(
    ("yaml", "why"),
    [(".nan", "not a finite number"), ("-.inf", "not a finite number"), ("1e999", "not a finite number"),
     ("99999999999999999999", "64 bits"), ("!!python/object:os.system x", "tags such as"),
     ("!!binary aGk=", "tags such as"), ("!own {a: 1}", "tags such as"), ('"\\ud800"', "")],
)  # fmt: skip
def test_scalars_that_are_no_json(yaml: str, why: str) -> None:
    (told,) = diagnostics(document(f'x: {{get: "a:/", fallback: {yaml}}}'))
    assert why in told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "not valid YAML"),
        ("a:\n\t- b", "not valid YAML"),
        ("a: 1\n---\nb: 2", "not valid YAML"),
        ("? [a]\n: b", "a key should be text"),
        ("a: &x {<<: *y}", "not valid YAML"),
        ("b: &y {c: 1}\na: {<<: *y}", "merge keys"),
        ("a: &x [*x]", "inside itself"),
        ("a: " + "[" * 70 + "]" * 70, "nested too deeply"),
        ("a: \x00", "not valid YAML"),
        pytest.param("a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n"
            for n in range(7)), "more than 500000 values", marks=pytest.mark.no_cover),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str, why: str) -> None:
    assert any(why in line for line in diagnostics(text))


def test_aliases_are_fine() -> None:
    text = document('x: &s {get: "a:/"}\n      y: *s')
    assert list(loads(text).config.dashboards["d"].sections) == ["x", "y"]


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text("\ufeff" + json.dumps({
        "upstreams": {"a": {"base_url": "http://a.test/"}},
        "dashboards": {"d": {"path": "/d", "sections": {"x": {"get": "a:/"}}}},
    }))  # fmt: skip
    loaded = load(file)
    assert loaded.file == str(file)
    assert loaded.config.upstreams["a"].model_dump()["base_url"] == "http://a.test"
    file.write_bytes(b"a: b\nc: \xff")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.lines() == [f"{file}:2:4: is not UTF-8"]
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    file.write_bytes(b"#" * (17 * 1024 * 1024))
    with pytest.raises(ConfigError, match="larger than"):
        load(file)


def test_the_shipped_configuration_loads() -> None:
    loaded = load(shipped())
    assert isinstance(loaded, Loaded)
    assert [plan.path for plan in loaded.plans] == [
        "/dashboard/{user_id}", "/dashboard", "/users/{user_id}/activity", "/weather",
        "/weather/fastest",
    ]  # fmt: skip


def test_a_configuration_made_in_code_is_compiled_as_strictly() -> None:
    good = loads(document()).config
    assert compile_config(good).plans[0].name == "d"
    twice = Config.model_construct(
        upstreams=good.upstreams,
        dashboards={"d": good.dashboards["d"], "e": good.dashboards["d"]},
    )
    with pytest.raises(ConfigError, match="dashboard d already has this path"):
        compile_config(twice)


@given(
    st.text(max_size=80) | st.text(st.sampled_from("ab: {}[]\n -&*!|>'\"#$~,?%@\t"), max_size=60)
)
def test_any_text_is_a_configuration_or_told_why_not(text: str) -> None:
    try:
        loads(text, "f", {})
    except ConfigError as error:
        assert error.diagnostics
        assert all(f.line >= 1 and f.column >= 1 for f in error.diagnostics)
        assert all("\n" not in line for line in error.lines())


RENAMED = """
upstreams:
  a: {base_url: http://a.test, answer: {type: object}}
dashboards:
  d:
    path: /d
    sections:
      x:
        get: "a:/x"
        answer: {type: object, required: [id]}
"""


def test_answer_is_still_read_as_schema_with_a_warning_at_its_place() -> None:
    loaded = loads(RENAMED)
    assert loaded.config.upstreams["a"].schema_ == {"type": "object"}
    assert loaded.plans[0].sections[0].answer == {"type": "object", "required": ["id"]}
    message = "`answer` is called `schema` now; rename it before the next release"
    assert [(w.line, w.column, w.message) for w in loaded.warnings] == [
        (3, 32, message), (10, 9, message),
    ]  # fmt: skip
    renamed = loads(RENAMED.replace("answer:", "schema:"))
    assert renamed.config == loaded.config
    assert renamed.warnings == ()


def test_a_mistake_in_a_schema_has_its_place_under_either_name() -> None:
    for name in ("schema", "answer"):
        text = RENAMED.replace("answer:", f"{name}:").replace("[id]", "5")
        with pytest.raises(ConfigError) as caught:
            loads(text)
        assert [d.line for d in caught.value.diagnostics] == [10]
    with pytest.raises(ConfigError, match="unknown key answer"):
        loads(RENAMED.replace("    path: /d", "    answer: {}\n    path: /d"))


def test_schema_and_answer_at_once_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="unknown key answer"):
        loads(RENAMED.replace('get: "a:/x"', 'get: "a:/x"\n        schema: {}'))
