"""Applications from `create_app`, their upstreams mocked by plain respx."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

import gateway.app
from gateway.app import create_app
from gateway.config.settings import Settings
from gateway.errors import ConfigError
from gateway.events import Attempt, Event
from gateway.offload import Offload
from gateway.plan.load import document_model, loads
from tests.serving import application, asked, served

SHIPPED = Path(__file__).parent.parent / "config" / "gateway.yaml"
USERS = "https://jsonplaceholder.typicode.com"
WEATHER = "https://api.open-meteo.com/v1/forecast"
USER = {"id": 1, "name": "Ada", "address": {"geo": {"lat": "-37.3", "lng": "81.1"}}}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("GATEWAY_REDIS_URL", raising=False)
    return Settings.read()


@respx.mock
async def test_plain_respx_intercepts_every_upstream_call(settings: Settings) -> None:
    user = respx.get(f"{USERS}/users/1").respond(json=USER)
    posts = respx.get(f"{USERS}/posts", params={"userId": "1"}).respond(
        json=[{"id": n, "title": f"t{n}", "body": "b"} for n in range(9)]
    )
    weather = respx.get(WEATHER).respond(json={"current": {"temperature_2m": 3.5}})
    async with asked(create_app(SHIPPED, settings)) as client:
        answer = await client.get("/dashboard/1")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document["data"]["profile"] == USER
    assert document["data"]["posts"] == [{"id": n, "title": f"t{n}"} for n in range(5)]
    assert document["data"]["weather"] == {"temperature_2m": 3.5}
    assert document["errors"] == []
    assert document["meta"]["complete"] is True
    assert {m["state"] for m in document["meta"]["sections"].values()} == {"ok"}
    assert user.call_count == posts.call_count == weather.call_count == 1
    assert dict(weather.calls.last.request.url.params) == {
        "latitude": "-37.3",
        "longitude": "81.1",
        "current": "temperature_2m,wind_speed_10m",
    }


async def test_a_decorated_router_started_before_the_app_is_made_intercepts_too(
    settings: Settings,
) -> None:
    with respx.mock(assert_all_called=False) as router:
        router.get(url__startswith=f"{USERS}/").respond(json=[])
        async with asked(create_app(SHIPPED, settings)) as client:
            answer = await client.get("/dashboard")
    assert answer.json()["data"] == {name: {"count": 0} for name in ("users", "posts", "comments")}


@respx.mock
async def test_a_failed_optional_section_is_null_with_an_error(settings: Settings) -> None:
    respx.get(f"{USERS}/users/1").respond(json=USER)
    respx.get(f"{USERS}/posts").respond(json=[])
    respx.get(WEATHER).respond(400, json={"error": True})
    async with asked(create_app(SHIPPED, settings)) as client:
        answer = await client.get("/dashboard/1")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert document["data"]["weather"] is None
    assert document["errors"] == [
        {
            "section": "weather",
            "code": "upstream_status",
            "upstream": "weather",
            "status": 400,
            "retryable": False,
            "detail": "answered with status 400",
        }
    ]
    assert document["meta"]["complete"] is False
    assert document["meta"]["sections"]["weather"] == {"state": "failed"}


@pytest.mark.parametrize(
    ("upstream", "status", "code"),
    [
        (httpx.Response(404, json={}), 404, "upstream_status"),
        (httpx.Response(410, json={}), 502, "upstream_status"),
        (httpx.Response(200, text="<html>"), 502, "upstream_payload"),
        (httpx.ConnectError, 502, "upstream_unreachable"),
        (httpx.ReadTimeout, 504, "upstream_timeout"),
    ],
)
async def test_a_failed_required_section_is_a_problem(
    settings: Settings, upstream: object, status: int, code: str
) -> None:
    text = """
    upstreams: {users: {base_url: http://users.test}}
    dashboards:
      d:
        path: /d
        sections:
          user: {get: "users:/1", required: true}
          more: {get: "users:/2"}
    """
    with respx.mock(assert_all_called=False) as router:
        router.get("http://users.test/1").mock(
            **(
                {"return_value": upstream}
                if isinstance(upstream, httpx.Response)
                else {"side_effect": upstream}
            )
        )
        router.get("http://users.test/2").respond(json={})
        async with asked(create_app(loads(text), settings)) as client:
            answer = await client.get("/d")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["code"] == code
    assert [e["section"] for e in document["errors"] if e["section"] == "user"] == ["user"]


@pytest.mark.parametrize("exposed", [False, True])
async def test_an_upstreams_own_words_are_in_an_answer_only_where_it_is_declared(
    exposed: bool,
) -> None:
    text = f"""
    upstreams: {{a: {{base_url: http://a.test, expose_errors: {str(exposed).lower()}}}}}
    dashboards:
      d: {{path: /d, sections: {{x: {{get: "a:/x"}}}}}}
      needed: {{path: /needed, sections: {{x: {{get: "a:/x", required: true}}}}}}
    """
    with respx.mock as router:
        router.get("http://a.test/x").respond(503, text="database\nis down")
        async with asked(application(text)) as client:
            optional, required = await client.get("/d"), await client.get("/needed")
    detail = "answered with status 503" + (r": database\nis down" if exposed else "")
    assert optional.json()["errors"][0]["detail"] == detail
    assert required.json()["detail"] == f"a required section failed: {detail}"
    assert ("is down" in optional.text + required.text) is exposed


async def test_the_same_upstream_answers_give_the_same_bytes_and_etag(settings: Settings) -> None:
    text = """
    upstreams: {a: {base_url: http://a.test}}
    dashboards:
      d: {path: /d, sections: {x: {get: "a:/x"}, y: {get: "a:/y"}}}
    """
    with respx.mock as router:
        router.get("http://a.test/x").respond(json={"b": 1, "a": [1.5]})
        router.get("http://a.test/y").respond(500)
        async with asked(create_app(loads(text), settings)) as client:
            first = await client.get("/d")
        async with asked(create_app(loads(text), settings)) as client:
            second = await client.get("/d")
            third = await client.get("/d", headers={"if-none-match": first.headers["etag"]})
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    assert (third.status_code, third.content) == (304, b"")
    assert third.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/dashboard/", 422),
        ("POST", "/dashboard/1", 405),
        ("GET", "/dashboard/1?sections=nope", 422),
        ("DELETE", "/healthz", 405),
        ("GET", "/dashboard/abc", 422),
        ("GET", "/dashboard/0", 422),
        ("GET", "/dashboard/%FF", 422),
        ("GET", "/weather?city=x", 422),
        ("GET", "/weather/fastest?latitude=91", 422),
    ],
)
async def test_every_refusal_is_a_problem(
    settings: Settings, method: str, path: str, status: int
) -> None:
    async with asked(create_app(SHIPPED, settings)) as client:
        answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    if status == 405:
        assert "GET" in answer.headers["allow"]


@respx.mock
async def test_head_has_the_fields_of_get_and_no_body(settings: Settings) -> None:
    respx.get(url__startswith=USERS).respond(json=[])
    async with asked(create_app(SHIPPED, settings)) as client:
        get, head = await client.get("/dashboard"), await client.head("/dashboard")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(get.content))
    assert head.headers["etag"] == get.headers["etag"]


async def test_head_of_a_probe_has_the_fields_of_get_and_no_body(settings: Settings) -> None:
    async with asked(create_app(SHIPPED, settings)) as client:
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            get, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-length"] == get.headers["content-length"]


async def test_health_and_docs(settings: Settings) -> None:
    app = create_app(SHIPPED, settings)
    async with asked(app) as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/readyz")).json() == {"status": "ok"}
        assert (await client.get("/docs")).status_code == 200
        app.lifecycle.draining = True
        assert (await client.get("/readyz")).status_code == 503
    async with asked(create_app(SHIPPED, Settings.read({"docs": False}))) as client:
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/openapi.json")).status_code == 404


def test_the_shipped_dashboards_are_typed(settings: Settings) -> None:
    schemas = create_app(SHIPPED, settings).openapi()["components"]["schemas"]
    home = "#/components/schemas/"
    data = schemas["UserDashboardSections"]["properties"]
    assert data["profile"] == {"$ref": f"{home}UserDashboardProfile"}
    assert data["posts"] == {"anyOf": [{"$ref": f"{home}UserDashboardPosts"}, {"type": "null"}]}
    profile = schemas["UserDashboardProfile"]
    assert profile["properties"]["name"] == {"type": "string"}
    assert "name" in profile["required"]
    assert schemas["UserDashboardPosts"]["items"]["properties"] == {
        "id": {"type": "integer"},
        "title": {"type": "string"},
    }
    assert schemas["UserActivityProfile"]["properties"]["id"] == {"type": "integer"}
    fastest = schemas["FastestWeatherWeather"]["properties"]
    assert fastest["temperature_2m"] == {"type": ["number", "null"]}


def test_no_part_of_the_shipped_dashboards_is_of_an_unknown_type(settings: Settings) -> None:
    schemas = create_app(SHIPPED, settings).openapi()["components"]["schemas"]

    def unknown(part: Any, at: str) -> list[str]:
        if part in ({}, True):
            return [at]
        if isinstance(part, list):
            return [one for child in part for one in unknown(child, at)]
        found: list[str] = []
        for name, child in part.get("properties", {}).items():
            found += unknown(child, f"{at}.{name}")
        for key in ("items", "additionalProperties", "anyOf", "allOf"):
            if part.get(key):
                found += unknown(part[key], f"{at}/{key}")
        return found

    assert [one for name, part in schemas.items() for one in unknown(part, name)] == []


async def test_beyond_the_bound_clients_are_told_to_come_back() -> None:
    text = """
    upstreams: {a: {base_url: http://a.test}}
    dashboards: {d: {path: /d, sections: {x: {get: "a:/x"}}}}
    """
    release = asyncio.Event()
    under_way_upstream = asyncio.Semaphore(0)

    async def slow(_: httpx.Request) -> httpx.Response:
        under_way_upstream.release()
        await release.wait()
        return httpx.Response(200, json=1)

    with respx.mock as router:
        router.get("http://a.test/x").mock(side_effect=slow)
        async with asked(application(text, max_in_flight=2)) as client:
            under_way = [asyncio.create_task(client.get("/d")) for _ in range(2)]
            for _ in under_way:
                await under_way_upstream.acquire()
            refused = await client.get("/d")
            release.set()
            answers = await asyncio.gather(*under_way)
            afterwards = await client.get("/d")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == "application/problem+json"
    assert [a.status_code for a in answers] == [200, 200]
    assert afterwards.status_code == 200


async def test_a_bug_is_a_problem_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    upstreams: {a: {base_url: http://a.test}}
    dashboards: {d: {path: /d, sections: {x: {get: "a:/x"}}}}
    """

    async def bug(_: object) -> None:
        raise ZeroDivisionError

    with respx.mock as router:
        router.get("http://a.test/x").mock(side_effect=ZeroDivisionError)
        async with asked(application(text)) as client:
            answer = await client.get("/d")
    assert answer.status_code == 500
    assert answer.json()["detail"] == "the gateway itself failed; its log has the cause"


async def test_a_client_that_goes_away_takes_its_upstream_calls_with_it() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        started.set()
        await reader.read()  # returns when the gateway closes
        cancelled.set()
        writer.close()

    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = f"""
    upstreams: {{a: {{base_url: "http://127.0.0.1:{port}", timeout: 30s}}}}
    dashboards: {{d: {{path: /d, deadline: 30s, sections: {{x: {{get: "a:/x"}}}}}}}}
    """
    async with server, served(application(text)) as url:
        async with httpx.AsyncClient() as client:
            asking = asyncio.create_task(client.get(f"{url}/d"))
            await started.wait()
            asking.cancel()
            await asyncio.wait([asking])
        await asyncio.wait_for(cancelled.wait(), 60)


async def test_header_fields_are_forwarded_only_where_declared() -> None:
    text = """
    upstreams:
      a: {base_url: http://a.test, forward_headers: [Authorization], headers: {X-Key: k}}
      b: {base_url: http://b.test}
    dashboards: {d: {path: /d, sections: {x: {get: "a:/x"}, y: {get: "b:/y"}}}}
    """
    with respx.mock as router:
        a = router.get("http://a.test/x").respond(json=1)
        b = router.get("http://b.test/y").respond(json=2)
        async with asked(application(text)) as client:
            answer = await client.get("/d", headers={"authorization": "Bearer t", "cookie": "c=1"})
    assert answer.json()["data"] == {"x": 1, "y": 2}
    assert a.calls.last.request.headers["authorization"] == "Bearer t"
    assert a.calls.last.request.headers["x-key"] == "k"
    assert "cookie" not in a.calls.last.request.headers
    assert "authorization" not in b.calls.last.request.headers
    assert answer.headers["vary"] == "accept, authorization"


async def test_a_trace_goes_on_and_answers_stay_public_and_shared() -> None:
    text = """
    upstreams:
      a: {base_url: http://a.test, cache: {ttl: 1m}}
      b: {base_url: http://b.test, propagate_headers: [X-Tenant-Hint]}
    dashboards:
      one: {path: /one, sections: {x: {get: "a:/x"}}}
      two: {path: /two, sections: {y: {get: "b:/y"}}}
    """
    ours, theirs = ({"traceparent": f"00-{n}", "x-request-id": n, "x-tenant-hint": n} for n in "ab")
    with respx.mock as router:
        a = router.get("http://a.test/x").respond(json=1)
        b = router.get("http://b.test/y").respond(json=2)
        async with asked(application(text)) as client:
            first = await client.get("/one", headers=ours)
            second = await client.get("/one", headers=theirs)
            await client.get("/two", headers=ours)
    assert a.call_count == 1
    assert a.calls.last.request.headers["traceparent"] == "00-a"
    assert a.calls.last.request.headers["x-request-id"] == "a"
    assert "x-tenant-hint" not in a.calls.last.request.headers
    assert b.calls.last.request.headers["x-tenant-hint"] == "a"
    assert "traceparent" not in b.calls.last.request.headers
    assert second.headers["cache-status"].startswith("gateway; hit")
    for answer in (first, second):
        assert answer.headers["cache-control"].startswith("public")
        assert answer.headers["vary"] == "accept"


async def test_calls_go_through_a_proxy_where_one_is_declared() -> None:
    asked_of_proxy: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_of_proxy.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1\r\n\r\n1"
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = f"""
    upstreams:
      a: {{base_url: http://a.test/v1, transport: httpx, proxy: "http://127.0.0.1:{port}"}}
    dashboards: {{d: {{path: /d, sections: {{x: {{get: "a:/x?y=1"}}}}}}}}
    """
    async with server, asked(application(text)) as client:
        assert (await client.get("/d")).json()["data"] == {"x": 1}
    assert asked_of_proxy == [b"GET http://a.test/v1/x?y=1 HTTP/1.1"]
    with pytest.raises(ConfigError, match="needs `transport: httpx`"):
        loads(text.replace("transport: httpx, ", ""))


@respx.mock
async def test_listeners_hear_of_attempts() -> None:
    text = """
    upstreams: {a: {base_url: http://a.test}}
    dashboards: {d: {path: /d, sections: {x: {get: "a:/x"}}}}
    """
    respx.get("http://a.test/x").respond(json=1)
    heard: list[Event] = []
    app = create_app(loads(text), Settings.read({"redis_url": None}), listeners=[heard.append])
    async with asked(app) as client:
        await client.get("/d")
    attempts = [event for event in heard if isinstance(event, Attempt)]
    assert [(a.upstream, a.section, a.attempt, a.status) for a in attempts] == [("a", "x", 1, 200)]


async def test_user_middleware_runs_for_dashboards_too(settings: Settings) -> None:
    app = create_app(SHIPPED, settings)

    @app.middleware("http")
    async def stamp(request: object, call_next: object) -> object:
        response = await call_next(request)  # type: ignore[operator]
        response.headers["x-stamp"] = "1"
        return response

    async with asked(app) as client:
        assert (await client.get("/dashboard/abc")).headers["x-stamp"] == "1"
        assert (await client.get("/healthz")).headers["x-stamp"] == "1"


async def test_a_path_or_a_model_or_what_was_loaded(settings: Settings) -> None:
    loaded = loads("""
    upstreams: {a: {base_url: http://a.test}}
    dashboards: {d: {path: /d, sections: {x: {get: "a:/x"}}}}
    """)
    for source in (loaded, loaded.config):
        assert "/d" in create_app(source, settings).openapi()["paths"]
    with pytest.raises(ConfigError, match="cannot be read"):
        create_app("no/such/file.yaml", settings)
    wrong = document_model().model_validate(
        {
            "upstreams": {"a": {"base_url": "http://a"}},
            "dashboards": {"d": {"path": "/d", "sections": {"x": {"get": "b:/"}}}},
        }
    )
    with pytest.raises(ConfigError, match="b is not a declared upstream"):
        create_app(wrong, settings)


async def test_the_lifespan_closes_what_was_opened(settings: Settings) -> None:
    app = create_app(SHIPPED, settings)
    async with served(app) as url, httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/readyz")).status_code == 200
    assert app.lifecycle.draining is True


async def test_worker_processes_end_with_the_application(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Offload] = []

    class Noted(Offload):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(gateway.app, "Offload", Noted)
    async with served(create_app(SHIPPED, settings)):
        (offload,) = made
        assert await offload.is_true("a", b'{"a":1}')
        (process,) = offload.quick._running
        assert process.alive
    assert not process.alive
