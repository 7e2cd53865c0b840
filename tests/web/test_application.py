from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import unquote

import httpx
import pytest
import respx
from fastapi import FastAPI

from tests.serving import application, asked

TEXT = """
upstreams: {a: {base_url: http://a.test}}
dashboards:
  d: {path: "/d/{id}", parameters: {id: {type: string}}, sections: {x: {get: "a:/x/{id}"}}}
"""


@pytest.fixture
def upstream() -> Any:
    with respx.mock(base_url="http://a.test", assert_all_called=False) as router:
        router.get(path__startswith="/x/").respond(json={"ok": True})
        yield router


async def raw(app: Any, path: str, **more: Any) -> list[Any]:
    """Ask `app` with a scope as a server would make it, and return its messages."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
             "scheme": "http", "path": path, "query_string": b"", "headers": [], **more}  # fmt: skip
    await app(scope, receive, send)
    return sent


def target(upstream: Any) -> str:
    sent: httpx.Request = upstream.calls.last.request
    return sent.url.raw_path.decode()


async def test_an_encoded_slash_is_part_of_its_segment(upstream: Any) -> None:
    async with asked(application(TEXT)) as client:
        assert (await client.get("/d/a%2Fb")).json()["data"] == {"x": {"ok": True}}
        assert target(upstream) == "/x/a%2Fb"
        assert (await client.get("/d/a/b")).status_code == 404


async def test_a_path_of_nothing_but_parameters_hides_no_probe(upstream: Any) -> None:
    text = """
upstreams: {a: {base_url: http://a.test}}
dashboards:
  one: {path: "/{x}", parameters: {x: {type: integer}}, sections: {s: {get: "a:/x/{x}"}}}
  two: {path: "/{x}/{y}", parameters: {x: {type: string}, y: {type: string}}, sections: {s: {get: "a:/x/{x}{y}"}}}
"""
    async with asked(application(text)) as client:
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 200, path
        assert (await client.get("/7")).json()["data"] == {"s": {"ok": True}}
        assert (await client.get("/7/8")).json()["data"] == {"s": {"ok": True}}


async def test_a_server_need_not_give_the_raw_path(upstream: Any) -> None:
    started, _ = await raw(application(TEXT), "/d/ä")
    assert started["status"] == 200
    assert target(upstream) == "/x/%C3%A4"


async def test_a_path_that_a_proxy_strips_is_stripped(upstream: Any) -> None:
    app = application(TEXT)
    started, _ = await raw(app, "/api/d/1", raw_path=b"/api/d/1", root_path="/api")
    assert started["status"] == 200
    assert target(upstream) == "/x/1"


async def test_a_path_that_is_no_utf_8_is_refused(upstream: Any) -> None:
    started, body = await raw(application(TEXT), "/d/\ufffd", raw_path=b"/d/%FF")
    assert started["status"] == 422
    assert b"is not UTF-8" in body["body"]
    assert not upstream.calls


async def test_dashboards_are_served_where_their_routes_are_mounted_too(upstream: Any) -> None:
    host = FastAPI()
    host.include_router(application(TEXT).router, prefix="/api")
    async with asked(host) as client:
        answer = await client.get("/api/d/7")
        assert (answer.status_code, answer.json()["data"]) == (200, {"x": {"ok": True}})
        assert "etag" in answer.headers
        assert target(upstream) == "/x/7"


async def test_an_application_can_be_mounted_whole(upstream: Any) -> None:
    host = FastAPI()
    host.mount("/gateway", application(TEXT))
    async with asked(host) as client:
        assert (await client.get("/gateway/d/7")).json()["data"] == {"x": {"ok": True}}
        assert (await client.get("/gateway/healthz")).status_code == 200
        assert (await client.get("/gateway/nothing")).status_code == 404
    assert target(upstream) == "/x/7"


LIMITED = """
upstreams: {a: {base_url: http://a.test}}
dashboards:
  d:
    path: "/d/{id}"
    parameters:
      id: {type: string, maxLength: 10}
      q: {type: string, maxLength: 5, required: false}
      city: {type: array, items: {type: string}, maxItems: 5, required: false}
    sections: {x: {get: "a:/x/{id}"}}
"""


@pytest.mark.parametrize(
    ("status", "path", "more"),
    [
        (422, b"/d/" + b"x" * 60_000, {}),
        (422, b"/d/" + b"%22" * 20_000, {}),
        (422, b"/d/1", {"query_string": b"q=" + b"%01" * 20_000}),
        (422, b"/d/1", {"query_string": b"&".join([b"city=ab"] * 7_500)}),
        (422, b"/d/1", {"query_string": b"&".join([b"q=%FF"] * 10_000)}),
        (404, b"/nothing/" + b"%01" * 20_000, {}),
        (405, b"/d/" + b"x" * 60_000, {"method": "POST"}),
        (405, b"/d/1", {"method": "X" * 60_000}),
        (405, b"/healthz", {"method": "X" * 60_000}),
    ],
)
async def test_a_refusal_is_small_however_large_the_request_is(
    status: int, path: bytes, more: Any
) -> None:
    started, body = await raw(application(LIMITED), unquote(path.decode()), raw_path=path, **more)
    assert started["status"] == status
    assert len(body["body"]) < 1_000


@pytest.mark.parametrize(
    "path", ["/d/1", "/d/12345678901", "/nothing", "/docs", "/openapi.json", "/healthz"]
)
async def test_no_browser_takes_an_answer_for_another_type(upstream: Any, path: str) -> None:
    async with asked(application(LIMITED)) as client:
        answer = await client.get(path)
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


async def test_an_error_after_the_document_was_made_is_answered(
    upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: bytes) -> bytes:
        raise ZeroDivisionError

    app = application(TEXT)
    monkeypatch.setattr("gateway.web.dashboard.etag", broken)
    async with asyncio.timeout(30):
        first, *_ = await raw(app, "/d/1", raw_path=b"/d/1")
    assert first["status"] == 500
    assert app.served.endpoints[0].door.in_flight == 0
