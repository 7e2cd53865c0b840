from __future__ import annotations

import pytest

from gateway.config.models import CorsConfig
from gateway.errors import ConfigError
from gateway.plan.load import loads
from gateway.web.cors import Cors, with_vary

APP = b"https://app.example.com"


def cors(*origins: str, **more: object) -> Cors:
    return Cors(CorsConfig.model_validate({"origins": origins, **more}))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"https://app.example.com", True),
        (b"https://app.example.com:443", False),
        (b"https://app.example.com:8443", False),
        (b"http://app.example.com", False),
        (b"https://app.example.com.evil.test", False),
        (b"https://APP.example.com", False),  # no browser writes it
        (b"https://a.sub.test", True),
        (b"https://a.b-c.sub.test", True),
        (b"https://sub.test", False),
        (b"https://evilsub.test", False),
        (b"https://.sub.test", False),
        (b"https://a..sub.test", False),
        (b"https://evil.test/a.sub.test", False),
        (b"https://evil.test\n.sub.test", False),
        (b"https://u@a.sub.test", False),
        (b"https://a.subxtest", False),
        (b"https://a.sub.test:1", False),
        (b"http://a.port.test:3000", True),
        (b"http://a.port.test", False),
        (b"https://" + b"a." * 300 + b"sub.test", False),
        (b"null", False),
        (b"*", False),
        (b"", False),
    ],
)
def test_an_origin_is_allowed_by_its_exact_name_or_a_pattern(origin: bytes, allowed: bool) -> None:
    some = cors("https://app.example.com", "https://*.sub.test", "http://*.port.test:3000")
    assert some.allows(origin) is allowed
    found = some.of("GET", [(b"origin", origin)])
    assert dict(found.pairs).get(b"access-control-allow-origin") == (origin if allowed else None)
    assert found.varies
    assert found.wire_with_vary.startswith(b"vary: Origin\r\n")


def test_every_origin_gets_the_same_fields_without_vary() -> None:
    every = cors("*")
    found = every.of("GET", [(b"origin", b"null")])
    assert found is every.of("GET", []) is every.unknown
    assert dict(found.pairs)[b"access-control-allow-origin"] == b"*"
    assert found.wire == found.wire_with_vary
    assert not every.varies


def test_two_origins_are_none() -> None:
    found = cors(APP.decode()).of("GET", [(b"origin", APP), (b"origin", APP)])
    assert not found.pairs
    assert found.varies


def test_credentials_and_exposed_fields_are_told() -> None:
    fields = dict(
        cors(APP.decode(), credentials=True, exposed_headers=["X-Own", "ETag"])
        .of("GET", [(b"origin", APP)])
        .pairs
    )
    assert fields[b"access-control-allow-credentials"] == b"true"
    assert fields[b"access-control-expose-headers"] == (
        b"ETag, Age, Cache-Status, Server-Timing, Retry-After, X-Request-Id, X-Own"
    )
    plain = cors(APP.decode()).of("GET", [(b"origin", APP)])
    assert b"access-control-allow-credentials" not in dict(plain.pairs)


def preflight(one: Cors, origin: bytes = APP, *wanted: bytes) -> dict[bytes, bytes]:
    asked = [(b"access-control-request-headers", each) for each in wanted]
    fields = [(b"origin", origin), (b"access-control-request-method", b"GET"), *asked]
    found = one.of("OPTIONS", fields)
    assert found.is_preflight
    return dict(found.pairs)


def test_a_preflight_may_ask_with_what_it_names_for_as_long_as_declared() -> None:
    assert preflight(cors(APP.decode(), max_age=600, credentials=True), APP, b"x-a", b"if-b") == {
        b"access-control-allow-origin": APP,
        b"access-control-allow-credentials": b"true",
        b"access-control-allow-methods": b"GET, HEAD, POST",
        b"access-control-allow-headers": b"x-a, if-b",
        b"access-control-max-age": b"600",
    }


@pytest.mark.parametrize("wanted", [b"", b"a\r\nb", b"a(b)", b"x" * 3000])
def test_a_preflight_that_names_no_fields_is_not_echoed(wanted: bytes) -> None:
    found = preflight(cors("*"), APP, wanted)
    assert b"access-control-allow-headers" not in found
    assert found[b"access-control-allow-origin"] == b"*"


def test_a_preflight_of_another_origin_gets_nothing() -> None:
    assert preflight(cors(APP.decode()), b"https://other.test") == {}


@pytest.mark.parametrize(
    "fields",
    [[], [(b"origin", APP)], [(b"access-control-request-method", b"GET")]],
)
def test_options_without_both_fields_is_no_preflight(fields: list[tuple[bytes, bytes]]) -> None:
    assert not cors("*").of("OPTIONS", fields).is_preflight


def test_origins_that_are_made_up_do_not_pile_up() -> None:
    one = cors("https://*.example.com")
    first = one.of("GET", [(b"origin", APP)])
    assert one.of("GET", [(b"origin", APP)]) is first
    for number in range(3000):
        one.of("GET", [(b"origin", b"https://%d.example.com" % number)])
    assert len(one._of_origin) <= 1024
    one.of("GET", [(b"origin", b"x" * 10_000)])
    assert b"x" * 10_000 not in one._of_origin


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [(b"vary", b"Origin")]),
        ([(b"Vary", b"Accept")], [(b"vary", b"Accept, Origin")]),
        ([(b"vary", b"accept, origin")], [(b"vary", b"accept, origin")]),
        ([(b"vary", b"*")], [(b"vary", b"*")]),
        ([(b"a", b"b")], [(b"a", b"b"), (b"vary", b"Origin")]),
    ],
)
def test_vary_names_what_it_named_before_and_more(
    before: list[tuple[bytes, bytes]], after: list[tuple[bytes, bytes]]
) -> None:
    assert with_vary(before, b"Origin") == after


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ('origins: ["*"], credentials: true', "credentials need a list of origins"),
        ('origins: ["https://A.test"]', "write https://a.test"),
        ('origins: ["https://a.test/"]', "write https://a.test"),
        ('origins: ["https://a.test:443"]', "write https://a.test"),
        ('origins: ["http://a.test:80"]', "write http://a.test"),
        ('origins: ["null"]', "an origin is a scheme and a host"),
        ('origins: ["https://*.com"]', "would let anyone in"),
        ('origins: ["a.*.test"]', "an origin is a scheme and a host"),
        ("origins: []", "at least 1"),
        ('origins: ["*"], max_age: 10', "with its unit"),
        ('origins: ["*"], exposed_headers: ["a b"]', "should match"),
        ('origns: ["*"]', "did you mean origins"),
    ],
)
def test_a_mistake_is_a_diagnostic_with_its_place(declared: str, message: str) -> None:
    text = (
        f"web: {{cors: {{{declared}}}}}\nupstreams: {{a: {{base_url: http://a.test}}}}\n"
        "dashboards: {d: {path: /d, sections: {x: {get: 'a:/'}}}}"
    )
    with pytest.raises(ConfigError) as caught:
        loads(text)
    told = [d for d in caught.value.diagnostics if message in d.message]
    assert told
    assert told[0].line == 1
