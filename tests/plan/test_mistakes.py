"""One mistake is one line: nothing hidden by another mistake, nothing that only follows from one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.plan.load import load, loads, shipped


def diagnostics(text: str, **environment: str) -> list[str]:
    """Return `line:col: message` for each mistake."""
    with pytest.raises(ConfigError) as caught:
        loads(text, "f", environment)
    return [line.removeprefix("f:") for line in caught.value.lines()]


def marked(text: str) -> tuple[str, list[str]]:
    """Return `text` without its § marks, and `line:col: ` of each place that was marked."""
    places = []
    while "§" in text:
        before, _, after = text.partition("§")
        places.append(f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}: ")
        text = before + after
    return text, places


def upstream(text: str) -> str:
    return (
        f"upstreams:\n  a:\n    base_url: http://a.test\n    {text}\n"
        'dashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}\n'
    )


def section(text: str) -> str:
    return (
        "upstreams: {a: {base_url: http://a.test}}\n"
        f"dashboards:\n  d:\n    path: /d\n    sections:\n      x:\n        {text}\n"
    )


def dashboard(text: str) -> str:
    return f"upstreams: {{a: {{base_url: http://a.test}}}}\ndashboards:\n  d:\n{text}\n"


NESTED = ["'[' * 200_000", "'a: ' + '[' * 50_000 + ']' * 50_000", "'{a: ' * 50_000",
          "'- ' * 50_000", "'\\n'.join(' ' * i + 'a:' for i in range(3000))"]  # fmt: skip


@pytest.mark.no_cover
def test_no_nesting_ends_the_process() -> None:
    """In a process of its own: what is guarded against is a crash that no handler sees."""
    code = (
        "from gateway.plan.load import loads\nfrom gateway.errors import ConfigError\n"
        f"for made in [{', '.join(NESTED)}]:\n"
        "    try:\n        loads(made)\n"
        "    except ConfigError as error:\n        print(repr(str(error)), flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = ended.stdout.splitlines()
    assert len(told) == len(NESTED)
    assert all("nested too deeply, more than 64 levels" in line for line in told)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # What stands in for a refused value is judged no further.
        (upstream("timeout: §${NONE}"), ["NONE is not set"]),
        (upstream("timeout: 1§${NONE}s"), ["NONE is not set"]),
        (upstream('timeout: "12§${NONE}s"'), ["NONE is not set"]),
        (upstream("timeout: §.nan"), [".nan is not a finite number"]),
        (upstream("timeout: §!x 5"), ["tags such as !x"]),
        (upstream("concurrency: §99999999999999999999"), ["an integer has at most 64 bits"]),
        (section("get: §${NONE}"), ["NONE is not set"]),
        (section("get: a:/x?k=§${NONE}&l={nope}"), ["NONE is not set"]),
        (section("get: §!x y"), ["tags such as !x"]),
        # A key is wrong for a reason of its own.
        (upstream("§timeot: §${NONE}"), ["unknown key timeot", "NONE is not set"]),
        # A key under a wrong name is not missing too.
        ('upstreams: {a: {§base_ulr: http://a.test}}\n'
         'dashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}',
         ["unknown key base_ulr, did you mean base_url?"]),
        (section('race: [{§gte: "a:/"}, "a:/"]'), ["unknown key gte, did you mean get?"]),
        (upstream("cache: {§tl: 1m}"), ["unknown key tl, did you mean ttl?"]),
        (upstream("§cache: {§zzz: 1m}"), ["ttl is missing", "unknown key zzz"]),
        # Upstreams that cannot be read are no reason to doubt every call.
        ('§upstrms: {a: {base_url: http://a.test}}\n'
         'dashboards: {d: {path: /d, sections: {x: {get: "a:/§{y}"}}}}',
         ["unknown key upstrms, did you mean upstreams?", "{y}: y is neither a parameter"]),
        ('dashboards: {d: {path: /d, sections: {x: {get: "a:/"}}}}', ["upstreams is missing"]),
        # Sections that are all refused hide nothing beside them.
        (dashboard("    path: /d/§{q}\n    sections: {x: {§gte: 1}}"),
         ["{q} is not a declared parameter", "unknown key gte, did you mean get?"]),
        (dashboard("    path: /d/§{q}\n    sections: §{}"),
         ["{q} is not a declared parameter", "mapping should have at least 1 item"]),
        ("upstreams: {a: {base_url: http://a.test}}\ndashboards:\n  §d:\n    path: /d/§{q}",
         ["sections is missing", "{q} is not a declared parameter"]),
        # A refused parameter is still a name, and so are its neighbours.
        (dashboard("    path: /d/{q}/{r}\n    parameters: {q: §5, r: {type: string}}\n"
                   '    sections: {x: {get: "a:/{q}/{r}/§{s}"}}'),
         ["should be a mapping", "{s}: s is neither a parameter"]),
        (dashboard("    path: /d/{r}\n    parameters: {§q q: {}, r: {type: string}}\n"
                   '    sections: {x: {get: "a:/{r}"}}'),
         ["use only letters, digits and _ in a name"]),
        # Plain variables between braces are not YAML; the message says how to write them.
        (upstream("tls: {roots: $§{ROOTS}}"), ["not valid YAML: "]),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(text: str, expected: list[str]) -> None:
    text, places = marked(text)
    told = diagnostics(text)
    assert len(told) == len(expected), told
    for line, place, start in zip(told, places or ["1:1: "], expected, strict=True):
        assert line.startswith(place + start)


def test_how_to_write_a_variable_between_braces_is_told() -> None:
    (told,) = diagnostics(upstream("tls: {roots: ${ROOTS}}"))
    assert told.endswith('write "${NAME}" in quotes between braces or brackets')
    assert "quotes" not in diagnostics("a: [b, }")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (upstream("concurrency: §lots"), "should be an integer or 'adaptive'"),
        (upstream("concurrency: §1.5"), "should be an integer or 'adaptive'"),
        (upstream("retry: {attempts: §x}"), "should be an integer"),
        (upstream("breaker: {failure_rate: §x}"), "should be a number"),
        (upstream("retry: §5"), "should be a mapping"),
        (upstream("headers: §5"), "should be a mapping"),
        (upstream("forward_headers: §x"), "should be a list"),
        (upstream("retry: {statuses: §503}"), "should be a list"),
        (upstream("propagate_headers: [x-a, §Authorization]"),
         "Authorization identifies the caller; use `forward_headers`, so that answers stay private "
         "to the caller"),
        (upstream("propagate_headers: [x-a, §Cookie]"), "Cookie identifies the caller"),
        (upstream("propagate_headers: [§proxy-authorization]"), "proxy-authorization identifies"),
        (upstream("propagate_headers: [§X-API-Key]"), "X-API-Key identifies the caller"),
        (upstream("propagate_headers: [x-a, §host]"), "host is set by the gateway and cannot be configured"),
        (upstream("propagate_headers: [x-a, §x-b]\n    forward_headers: [X-B]"),
         "x-b is in both `forward_headers` and `propagate_headers`; remove one"),
        (upstream("max_body: §huge"), "write a size in bytes or with its unit, such as 64KiB"),
        (upstream("max_body: §5 parsecs"), "write a size in bytes or with its unit, such as 64KiB"),
        (upstream("tls: {roots: §sytem}"),
         "should be 'certifi', 'system' or 'none', did you mean system?"),
        (upstream("schema: {type: §strin}"), 'is not a valid JSON Schema: "strin" is not valid'),
        (section('{get: "a:/", schema: {type: §strin}}'), 'is not a valid JSON Schema: "strin" is not valid'),
        (section('{get: "a:/", schema: §{$ref: "http://x/y"}}'), "is not a valid JSON Schema: "),
        (section('{get: "a:/", required: §perhaps}'), "should be true or false"),
        (dashboard('    path: §d\n    sections: {x: {get: "a:/"}}'), "should start with /"),
    ],
)  # fmt: skip
def test_messages_say_what_was_expected(text: str, message: str) -> None:
    text, (place,) = marked(text)
    (told,) = diagnostics(text)
    assert told.startswith(place + message)


def parameterized(sections: str, q: str = "{type: string, required: false}") -> str:
    return dashboard(f"    path: /d\n    parameters: {{q: {q}}}\n    sections:\n{sections}")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ('      x: {get: "a:/", when: "q == §null"}',
         "null is the name of a field here; write `null` in backticks for the value, "
         'or "null" in quotes for the field'),
        ('      x: {get: "a:/", when: "q == §true"}', "true is the name of a field here; write `true`"),
        ('      x: {get: "a:/", select: "[?on == §false]"}', "false is the name of a field here"),
        ('      x: {get: "a:/", when: "q == §5"}', "this is not JMESPath: "),
        ("      x: {get: \"a:/\", when: §'q == \"open\"'}",
         "open is neither a parameter nor a section; write 'open' in single quotes for text"),
        ('      x: {get: "a:/", select: "{id: id, who: §{q}}"}',
         "{q} is not replaced in `select`, which is JMESPath over this section's own answer; refer "
         "to {q} in the call"),
        ('      x: {get: "a:/"}\n      y: {get: "a:/", select: "join(`/`, [\'§{x.id}\', id])"}',
         "{x.id} is not replaced in `select`"),
        ('      x: {get: "a:/", when: §"{q}"}',
         "{q} is not replaced in `when`, which is JMESPath over parameters and sections; "
         "write q without braces"),
        ('      x: {for_each: {in: "{l}", key: §"{item.id}"}, get: "a:/{item}"}\n'
         '      l: {get: "a:/"}',
         "{item.id} is not replaced in `key`, which is JMESPath over one element"),
        ('      x: {for_each: {in: "{l}", batch: 5, match: §"{item}"}, get: "a:/?i={item}"}\n'
         '      l: {get: "a:/"}',
         "{item} is not replaced in `match`, which is JMESPath over one returned object"),
        ('      x: {race: [{get: "a:/", select: §"{q}"}, "a:/"]}', "{q} is not replaced in `select`"),
        ('      x: {get: "a:/", fallback: {id: ["about §{q}"]}}',
         "{q} is not replaced in a fallback, which is served as written; write a constant, or "
         "{ q } with spaces for the text"),
        ('      x: {get: "a:/§{q}"}',
         "q may be absent, and then x always fails; give it a default, declare it `required: true`, "
         "make it a whole query value (name={q}), or guard x with `when`"),
        ('      x: {get: "a:/?a={q}&b=b-§{q}"}', "q may be absent, and then x always fails"),
    ],
)  # fmt: skip
def test_what_was_surely_meant_otherwise_is_told(sections: str, message: str) -> None:
    text, (place,) = marked(parameterized(sections))
    (told,) = diagnostics(text)
    assert told.startswith(place + message)
    assert len(told.splitlines()) == 1


def test_the_number_that_was_meant_is_told() -> None:
    (told,) = diagnostics(parameterized('      x: {get: "a:/", when: "q > 1.5"}'))
    assert told.endswith("; write `1.5` in backticks for the number")


@pytest.mark.parametrize(
    "sections",
    [
        '      x: {get: "a:/", select: "{q: q, id: x.id}", fallback: {q: "{ q } {other} {{q}}"}}',
        '      x: {get: "a:/", when: \'q == `null` || "true".a\', select: "a.null"}\n'
        '      "true": {get: "a:/"}',
    ],
)
def test_what_is_meant_as_it_stands_is_no_mistake(sections: str) -> None:
    loads(parameterized(sections))


def test_what_a_variable_holds_is_not_told() -> None:
    (told,) = diagnostics(upstream("timeout: ${SECRET}"), SECRET="1e999")
    assert told == "4:14: ${SECRET} is not a finite number"


@pytest.mark.parametrize("key", ['"a\\nb"', '"a\\e[31mb"', '"\\u2028"', '"a\\x85b"', "z" * 5000])
def test_whatever_is_quoted_is_one_printable_line(key: str) -> None:
    for line in diagnostics(upstream(f"? {key}\n    : 1\n    ? {key}\n    : 2")):
        assert line.isprintable()
        assert len(line) < 500


WORDS = st.sampled_from([
    "a", "x", "d", "/d", "/d/{x}", "{x}", "a:/", "a:/{x}", "a:/{y.z}", "2s", "upstream", "${A}",
    "${A:-1}", "$${", "[", "@", "", "http://a.test", "adaptive", "\ud800", "\x00", "no", "id",
])  # fmt: skip
KEYS = WORDS | st.sampled_from([
    "base_url", "timeout", "retry", "attempts", "breaker", "hedge", "cache", "ttl", "headers",
    "path", "parameters", "type", "items", "default", "required", "deadline", "sections", "get",
    "race", "for_each", "in", "as", "key", "limit", "batch", "when", "select", "fallback", "answer",
    "tls", "roots", "forward_headers", "prefetch", "tags", "concurrency", "max_body", "$ref",
])  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def _written(value: Any) -> str:
    """Return `value` as YAML flow text, as sloppily as people write it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{k}": {_written(v)}' for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@pytest.mark.no_cover
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, VALUES, st.dictionaries(KEYS, VALUES, max_size=5), st.dictionaries(KEYS, VALUES))
def test_any_document_is_a_configuration_or_told_why_not(
    first: Any, second: Any, keys: dict[str, Any], slots: dict[str, Any]
) -> None:
    text = _written({
        "upstreams": {"a": {"base_url": "http://a.test", **keys}, "b": first},
        "dashboards": {"d": {"path": "/d", "sections": {"x": {"get": "a:/", **keys}, **slots}},
                       "e": {**keys, "sections": slots}, "f": second},
    })  # fmt: skip
    try:
        loads(text, "f", {"A": "1"})
    except ConfigError as error:
        assert all(f.line >= 1 and f.column >= 1 for f in error.diagnostics)
        assert all(line.isprintable() for line in error.lines())


TEXT = shipped().read_text()


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(TEXT) - 1), st.integers(0, 20), st.text(max_size=4))
def test_the_shipped_file_with_a_slip_in_it(at: int, gone: int, there: str) -> None:
    try:
        loads(TEXT[:at] + there + TEXT[at + gone :], "f", {})
    except ConfigError as error:
        lines = TEXT.count("\n") + there.count("\n") + 3
        assert all(1 <= f.line <= lines + len(there) for f in error.diagnostics)
    assert load(shipped()).plans
