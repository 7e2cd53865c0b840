"""What a single value may be: whatever is let in here must not be refused when it is used."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.config.models import SectionConfig
from gateway.errors import ConfigError
from gateway.plan.load import loads
from gateway.upstreams.http.config import HttpUpstreamConfig
from tests.serving import application


def document(url: str, headers: dict[str, str] | None = None) -> str:
    return json.dumps(
        {
            "upstreams": {"a": {"base_url": url, "headers": headers or {}}},
            "dashboards": {"d": {"path": "/d", "sections": {"x": {"get": "a:/"}}}},
        }
    )


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://a.test", "http://a.test"),
        ("HTTP://a.test:8080/v1/", "HTTP://a.test:8080/v1"),
        ("http://a.test/p//", "http://a.test/p"),
        ("https://127.0.0.1/%20", "https://127.0.0.1/%20"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("http://xn--mnchen-3ya.test", "http://xn--mnchen-3ya.test"),
        ("http://under_score", "http://under_score"),
    ],
)
def test_a_base_url_is_kept_as_it_is_but_for_its_last_slash(url: str, kept: str) -> None:
    assert HttpUpstreamConfig(base_url=url).base_url == kept
    application(document(url))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://münchen.test", "a URL must be ASCII"),
        ("http://a.test\u200b", "a URL must be ASCII"),
        ("http://a.test/ü", "a URL must be ASCII"),
        ("http://a.test/100%", "write %25"),
        ("http://a.test/%zz", "write %25"),
        ("http://999.1.1.1", "does not appear to be an IPv4"),
        ("http://[v1.a]", "does not appear to be an IPv4 or IPv6"),
        ("http://[::1", "Invalid IPv6"),
        ("http://a\\b", "cannot contain spaces, braces, backslashes"),
        ("http://a/\x7f", "cannot contain spaces, braces, backslashes"),
        ("http://a/{id}", "cannot contain spaces, braces, backslashes"),
        ("http://a:+5", "must be a number from 1 to 65535"),
    ],
)
def test_what_could_not_be_called_is_refused_at_load(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        loads(document(url), "f", {})


@pytest.mark.no_cover
@settings(deadline=None)
@given(st.text(st.sampled_from("ab09x-._~!$&'()*+,;=:@%[]/<>^|`\" é{}?#"), max_size=12))
def test_an_upstream_that_is_accepted_can_be_opened(rest: str) -> None:
    try:
        loads(document(f"http://{rest}"), "f", {})
    except ConfigError:
        return
    application(document(f"http://{rest}"))


@pytest.mark.no_cover
@settings(deadline=None)
@given(st.text(max_size=6) | st.text(st.characters(max_codepoint=0x80), max_size=6))
def test_a_header_value_that_is_accepted_can_be_sent(value: str) -> None:
    text = document("http://a.test", {"x-key": value})
    try:
        loads(text, "f", {})
    except ConfigError:
        return
    assert value.isascii()
    application(text)


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x00b", "a\x01b", "a\x7f", "ä"])
def test_a_header_value_is_one_line(value: str) -> None:
    with pytest.raises(ValidationError, match="one line of ASCII"):
        HttpUpstreamConfig(base_url="http://a", headers={"x": value})


@pytest.mark.parametrize(
    "name", ["host", "Connection", "CONTENT-LENGTH", "te", "upgrade", "a b", ""]
)
def test_some_header_fields_are_not_for_a_configuration(name: str) -> None:
    with pytest.raises(ValidationError):
        HttpUpstreamConfig(base_url="http://a", headers={name: "x"})
    with pytest.raises(ValidationError):
        HttpUpstreamConfig(base_url="http://a", forward_headers=[name])
    with pytest.raises(ValidationError):
        HttpUpstreamConfig(base_url="http://a", propagate_headers=[name])


@pytest.mark.parametrize(
    "places",
    [
        {"headers": {"X-A": "1"}, "forward_headers": ["x-a"]},
        {"headers": {"X-A": "1"}, "propagate_headers": ["x-a"]},
        {"forward_headers": ["X-A"], "propagate_headers": ["x-b", "x-a"]},
        {"deadline_header": "X-A", "forward_headers": ["x-a"]},
        {"deadline_header": "X-A", "propagate_headers": ["x-a"]},
    ],
)
def test_a_header_field_has_one_place(places: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"is in both `\w+` and `\w+`; remove one"):
        HttpUpstreamConfig(base_url="http://a", **places)


@pytest.mark.parametrize(
    ("config", "propagated"),
    [
        ({}, ("traceparent", "tracestate", "x-request-id")),
        ({"propagate_headers": ["X-Tenant-Hint"]}, ("X-Tenant-Hint",)),
        ({"propagate_headers": []}, ()),
        # What is propagated by default gives way to what was written.
        ({"forward_headers": ["TraceParent"]}, ("tracestate", "x-request-id")),
        ({"headers": {"X-Request-Id": "1"}}, ("traceparent", "tracestate")),
        ({"deadline_header": "tracestate"}, ("traceparent", "x-request-id")),
    ],
)
def test_traces_and_request_ids_are_propagated_unless_they_have_another_place(
    config: dict[str, Any], propagated: tuple[str, ...]
) -> None:
    assert HttpUpstreamConfig(base_url="http://a", **config).propagated == propagated


def test_a_fallback_of_null_was_written() -> None:
    assert SectionConfig(get="a:/", fallback=None).has_fallback
    assert not SectionConfig(get="a:/").has_fallback
