"""CORS on every answer, both ways: short, and through ASGI."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from gateway.server.limits import Limits
from tests.server.clients import Server, answers
from tests.server.conftest import TEXT
from tests.server.test_protocol import asked, get
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]

APP = "https://app.example.com"
NAMED = f'web: {{cors: {{origins: ["{APP}"], credentials: true}}}}\n{TEXT}'
EVERY = f'web: {{cors: {{origins: ["*"]}}}}\n{TEXT}'
ORIGIN = f"Origin: {APP}"
ALLOW = "access-control-allow-origin"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/d/1", "GET", 200),
        ("/d/1", "HEAD", 200),
        ("/kept", "GET", 200),
        ("/own", "GET", 200),
        ("/d/x", "GET", 422),
        ("/d/%FF", "GET", 422),
        ("/needed", "GET", 404),
        ("/nothing", "GET", 404),
        ("/d/1", "POST", 405),
        ("/d/1", "OPTIONS", 204),
        ("/healthz", "GET", 200),
        ("/openapi.json", "GET", 200),
        ("/docs", "GET", 200),
        ("/d/" + "9" * 20_000, "GET", 414),
    ],
)
def test_every_answer_says_who_may_read_it(made: Make, path: str, method: str, status: int) -> None:
    for text, fields, allowed, varies in (
        (NAMED, [ORIGIN], APP, True),
        (NAMED, ["Origin: https://evil.test"], None, True),
        (NAMED, ["Origin: null"], None, True),
        (NAMED, [ORIGIN, ORIGIN], None, True),
        (NAMED, [], None, True),
        (EVERY, [ORIGIN], "*", False),
        (EVERY, ["Origin: null"], "*", False),
        (EVERY, [], "*", False),
    ):
        client = asked(made(text), get(path, *fields, method=method))
        (answer,) = answers(client.received, head=method == "HEAD")
        assert answer.status == status
        if status != 414:  # its fields were not read
            assert answer.fields.get(ALLOW) == allowed
        elif text == EVERY:
            assert answer.fields[ALLOW] == "*"
        assert ("Origin" in answer.fields.get("vary", "")) is varies, answer.fields
        told = answer.fields.get("access-control-expose-headers", "")
        assert ("ETag" in told) is (answer.fields.get(ALLOW) is not None)


def test_without_the_key_nothing_is_added(made: Make) -> None:
    (answer,) = asked(made(), get("/d/1", ORIGIN)).answers
    assert ALLOW not in answer.fields
    assert answer.fields["vary"] == "accept"


def test_a_cached_answer_and_a_304_are_for_the_origin_that_asks(made: Make) -> None:
    app = made(NAMED.replace("origins: [", 'origins: ["https://two.test", '))
    first, second, third = asked(
        app,
        get("/kept", ORIGIN),
        get("/kept", "Origin: https://two.test"),
        get("/kept"),
    ).answers
    assert second.fields["cache-status"].startswith("gateway; hit")
    told = [answer.fields.get(ALLOW) for answer in (first, second, third)]
    assert told == [APP, "https://two.test", None]
    (answer,) = asked(app, get("/kept", ORIGIN, f"If-None-Match: {first.fields['etag']}")).answers
    assert (answer.status, answer.fields[ALLOW]) == (304, APP)
    assert answer.fields["vary"] == "accept, Origin"


def test_vary_is_one_field_with_everything_in_it(made: Make) -> None:
    (answer,) = asked(made(NAMED), get("/own", ORIGIN, "Authorization: x")).answers
    assert answer.fields["vary"] == "accept, authorization, Origin"
    assert answer.fields["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize("path", ["/d/1", "/healthz", "/nothing"])
def test_a_preflight_is_answered_without_the_dashboard(
    made: Make, upstream: Any, path: str
) -> None:
    asks = ("Access-Control-Request-Method: GET", "Access-Control-Request-Headers: if-none-match")
    client = asked(made(NAMED), get(path, ORIGIN, *asks, method="OPTIONS"), get("/d/1"))
    answer, after = client.answers
    assert (answer.status, answer.body, after.status) == (204, b"", 200)
    assert answer.fields == {
        "date": "today",
        "vary": "Origin",
        ALLOW: APP,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "if-none-match",
        "access-control-max-age": "7200",
    }
    assert after.fields.get(ALLOW) is None  # each request of a connection for itself
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/jsonl"])
def test_a_stream_can_be_read(made: Make, media_type: str) -> None:
    app = made(NAMED)
    for path in ("/d/1", "/kept", "/kept"):  # the last one is cached
        (answer,) = asked(app, get(path, ORIGIN, f"Accept: {media_type}")).answers
        assert (answer.status, answer.fields[ALLOW]) == (200, APP)
        assert answer.fields["content-type"] == media_type
        assert answer.fields["vary"] == "accept, Origin, Accept-Encoding"


def test_a_refusal_under_overload_can_be_read(made: Make) -> None:
    app = made(NAMED, max_in_flight=1)
    app.served.process.admission.in_flight = 1
    (answer,) = asked(app, get("/d/1", ORIGIN)).answers
    assert (answer.status, answer.fields[ALLOW]) == (503, APP)
    assert "Retry-After" in answer.fields["access-control-expose-headers"]


@pytest.mark.parametrize(
    ("limits", "sent", "status"),
    [
        (Limits(connections=0), b"", 503),
        (Limits(fields=2), get("/d/1", ORIGIN, "A: b"), 431),
        (
            Limits(unread_body=10),
            get("/purge", ORIGIN, "Content-Length: 99", method="POST") + b"x" * 99,
            404,
        ),
        (Limits(), get("/d/1", ORIGIN, version="1.2"), 400),
    ],
)
def test_what_the_server_refuses_can_be_read(
    made: Make, limits: Limits, sent: bytes, status: int
) -> None:
    for text in (NAMED, EVERY):
        app = made(text)

        async def main(app: Any = app) -> Any:
            client = Server(app, limits).client()
            client.send(sent)
            await until(lambda: client.quiet or client.closed)
            return client.answers

        (answer,) = asyncio.run(main())
        assert answer.status == status
        assert (answer.fields.get("vary") == "Origin") is (text == NAMED)
        assert text == NAMED or answer.fields[ALLOW] == "*"


def test_a_defect_can_be_read(made: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.engine.execution import BoundPlan

    def bug(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(BoundPlan, "start", bug)
    (answer,) = asked(made(NAMED), get("/d/1", ORIGIN)).answers
    assert (answer.status, answer.fields[ALLOW]) == (500, APP)
    assert json.loads(answer.body)["status"] == 500
