"""Requests and answers of one connection, both ways: short, and through ASGI."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from gateway.server.limits import Limits
from tests.server.clients import Client, Server, answers
from tests.server.conftest import LARGE, TEXT
from tests.serving import application
from tests.virtual_time import run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]


def get(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: gateway.test", *fields, "", ""]
    return "\r\n".join(lines).encode()


async def settled(client: Client) -> None:
    """Let everything happen that waits for nothing but the event loop."""
    for _ in range(200):
        await asyncio.sleep(0)


def asked(app: Any, *requests: bytes, limits: Limits | None = None) -> Client:
    """Send requests on one connection, each when the one before it is answered."""

    async def main() -> Client:
        client = Server(app, limits).client()
        for request in requests:
            await until(lambda: client.quiet or client.waits)
            client.send(request)
        await until(lambda: client.quiet)
        return client

    return asyncio.run(main())  # FastAPI runs some handlers in threads


def x(number: int) -> bytes:
    return json.dumps(f"/x/{number}").encode()


def test_a_dashboard_is_answered(made: Make) -> None:
    client = asked(made(), get("/d/1"))
    (answer,) = client.answers
    assert answer.status == 200
    assert json.loads(answer.body)["data"] == {"x": "/x/1"}
    assert list(answer.fields) == [
        "date", "etag", "cache-control", "server-timing", "vary", "content-type",
        "x-content-type-options", "content-length",
    ]  # fmt: skip
    assert not client.closed


def test_a_cached_answer_is_one_write_in_the_callback_of_the_parser() -> None:
    async def main() -> None:
        app = application(TEXT)
        client = Server(app).client()
        client.send(get("/kept"))
        await settled(client)
        before, tasks = client.transport.writes, len(asyncio.all_tasks())
        client.send(get("/kept"))
        assert len(client.answers) == 2
        assert client.transport.writes == before + 1
        assert len(asyncio.all_tasks()) == tasks

    with_upstream(main)


def with_upstream(main: Any) -> None:
    import respx

    with respx.mock(base_url="http://a.test") as router:
        router.get("/x/1").respond(json="/x/1")
        run(main())


@pytest.mark.parametrize("path", ["/d/1", "/kept", "/own", "/large"])
def test_head_has_the_fields_of_get_and_no_content(made: Make, path: str) -> None:
    app = made()
    (full,) = asked(app, get(path)).answers
    client = asked(app, get(path, method="HEAD"))
    (head,) = answers(client.received, head=True)
    assert head.body == b""
    assert (head.status, head.fields["content-length"]) == (200, full.fields["content-length"])
    assert (head.fields["etag"], list(head.fields)) == (full.fields["etag"], list(full.fields))


@pytest.mark.parametrize("path", ["/d/1", "/kept", "/own"])
def test_what_the_client_has_is_not_sent_again(made: Make, path: str) -> None:
    app = made()
    (full,) = asked(app, get(path)).answers
    tag = f"If-None-Match: {full.fields['etag']}"
    for _ in range(2):
        client = asked(app, get(path, tag), get(path, 'If-None-Match: "x"', tag))
        for answer in client.answers:
            assert (answer.status, answer.body) == (304, b"")
            assert answer.fields["etag"] == full.fields["etag"]
            assert not {"content-length", "content-type"} & answer.fields.keys()
        assert len(client.answers) == 2


def test_a_large_answer_arrives_whole(made: Make) -> None:
    client = asked(made(), get("/large"), get("/d/1"))
    first, second = client.answers
    assert json.loads(first.body)["data"] == {"x": LARGE}
    assert json.loads(second.body)["data"] == {"x": "/x/1"}


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/d/abc", "GET", 422),
        ("/d/abc", "HEAD", 422),
        ("/d/%FF", "GET", 422),
        ("/q?n=x", "GET", 422),
        ("/d/1", "POST", 405),
        ("/d/1", "OPTIONS", 204),
        ("/d/1/", "GET", 200),
        ("/d/1//", "GET", 404),
        ("/kept/", "HEAD", 200),
        ("/kept/", "PUT", 405),
        ("/healthz/", "GET", 404),
        ("/kept?sections=x", "GET", 200),
        ("/kept?sections=y", "GET", 422),
        ("/nothing", "GET", 404),
        ("/d/1/2", "GET", 404),
        ("/needed", "GET", 404),
        ("/healthz", "GET", 200),
        ("/healthz", "HEAD", 200),
        ("/openapi.json", "HEAD", 200),
        ("/nothing", "HEAD", 404),
        ("/openapi.json", "GET", 200),
        ("http://gateway.test/d/1", "GET", 200),
        ("/d/1#there", "GET", 200),
    ],
)
def test_every_status_is_the_same_both_ways(
    made: Make, path: str, method: str, status: int
) -> None:
    (answer,) = answers(asked(made(), get(path, method=method)).received, head=method == "HEAD")
    assert answer.status == status
    if status >= 400:
        assert answer.fields["content-type"] == "application/problem+json"
        if method != "HEAD":
            assert json.loads(answer.body)["status"] == status


def test_both_ways_give_the_same_bytes(upstream: Any) -> None:
    from tests.server.clients import through_asgi

    paths = ["/d/1", "/kept", "/d/abc", "/needed", "/nothing", "/q?n=1"]
    short, asgi = (
        asked(app, *(get(path) for path in paths))
        for app in (application(TEXT), through_asgi(application(TEXT)))
    )

    varying = {"server-timing", "cache-control"}  # a cached answer lives a little less or more

    def lasting(client: Client) -> list[tuple[int, Any, bytes]]:
        return [
            (a.status, {k: v for k, v in a.fields.items() if k not in varying}, a.body[:60])
            for a in client.answers
        ]

    assert lasting(short) == lasting(asgi)
    assert [list(a.fields) for a in short.answers] == [list(a.fields) for a in asgi.answers]


def test_answers_to_pipelined_requests_are_in_order(made: Make) -> None:
    paths = ["/d/1", "/kept", "/d/2", "/healthz", "/kept", "/d/3", "/nothing", "/d/4"]
    client = asked(made(), b"".join(get(path) for path in paths))
    assert [a.status for a in client.answers] == [200, 200, 200, 200, 200, 200, 404, 200]
    bodies = [a.body for a in client.answers]
    assert [x(n) in bodies[at] for at, n in ((0, 1), (2, 2), (5, 3), (7, 4))] == [True] * 4


def test_a_flood_of_pipelined_requests_is_answered_in_turns_and_waits_as_bytes(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()

        def reads() -> bool:
            return client.transport.reading

        client.send(get("/kept") * 2_000)
        assert not reads()
        assert len(client.answers) <= 16
        while not reads():
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        assert len(client.answers) == 2_000

    run(main())


def test_close_ends_the_connection_after_the_answer(made: Make) -> None:
    for request in (get("/d/1", "Connection: close"), get("/d/1", version="1.0")):
        client = asked(made(), request + get("/d/2"))
        (answer,) = client.answers
        assert answer.fields["connection"] == "close"
        assert client.closed


def test_a_client_that_leaves_takes_its_upstream_calls_with_it(made: Make, upstream: Any) -> None:
    ended = []

    async def slow(_: httpx.Request) -> httpx.Response:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        raise AssertionError

    async def main() -> None:
        upstream.get("/slow").mock(side_effect=slow)
        text = TEXT + '  slow: {path: /slow, deadline: 20s, sections: {x: {get: "a:/slow"}}}\n'
        app = made(text)
        server = Server(app)
        for wait in (0.0, 1.0):
            client = server.client()
            client.send(get("/slow"))
            await asyncio.sleep(wait)
            client.leave()
            await asyncio.sleep(0.5)
            assert client.received == b""
        assert ended == ["cancelled"] * 2
        assert not server.state.connections
        assert not server.state.tasks
        assert in_flight(app) == 0

    run(main())


def in_flight(app: Any) -> int:
    return int(app.served.endpoints[0].door.in_flight)


def test_what_the_server_ends_is_a_503(made: Make, upstream: Any) -> None:
    async def slow(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(9)
        raise AssertionError

    async def main() -> None:
        upstream.get("/slow").mock(side_effect=slow)
        text = TEXT + '  slow: {path: /slow, deadline: 20s, sections: {x: {get: "a:/slow"}}}\n'
        server = Server(made(text))
        client = server.client()
        client.send(get("/slow"))
        await asyncio.sleep(1)
        client.connection.shutdown()
        client.connection.give_up()
        await settled(client)
        (answer,) = client.answers
        assert (answer.status, answer.fields["connection"]) == (503, "close")
        assert answer.fields["content-type"] == "application/problem+json"

    run(main())


def test_a_defect_is_a_500_and_the_connection_goes_on(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = made()
    endpoint = app.find(b"/q")[0]

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(endpoint._client_headers.__class__, "read", broken)
    (answer,) = asked(app, get("/q")).answers
    assert answer.status == 500
    monkeypatch.undo()


@pytest.mark.filterwarnings("ignore:The `root_path`")
def test_the_root_path_of_a_proxy_is_stripped(made: Make) -> None:
    client = asked(made(root_path="/api"), get("/api/d/1"), get("/d/2"), get("/api/healthz"))
    assert [a.status for a in client.answers] == [200] * 3


def test_content_that_no_one_reads_is_dropped_and_the_connection_goes_on(made: Make) -> None:
    content = b"x" * 40_000
    length = f"Content-Length: {len(content)}"
    chunks = b"9C40\r\n" + content + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
    for request in (
        get("/d/1", length) + content,
        get("/kept", "Transfer-Encoding: chunked") + chunks,
    ):
        for cut in (len(request), 200, 20_000, len(request) - 3):
            client = asked(made(), request[:cut], request[cut:] + get("/d/2"))
            assert [a.status for a in client.answers] == [200, 200]
            assert x(2) in client.answers[1].body
            assert not client.closed


def test_content_that_no_one_reads_is_bounded(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()
        client.send(get("/kept", "Content-Length: 1000000000") + b"x" * 60_000)
        await until(lambda: client.answers)
        assert not client.closed
        client.send(b"x" * 60_000)
        await until(lambda: client.closed)
        assert [a.status for a in client.answers] == [200]

    asyncio.run(main())


def test_trailers_are_bounded(made: Make) -> None:
    request = get("/kept", "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n"
    client = asked(made(), request, b"a" * 40_000, b"a" * 40_000)
    # Over ASGI a dashboard that takes 50 ms learns that its client breaks off, and gives up.
    assert [a.status for a in client.answers] in ([200], [400])
    assert client.closed


def test_a_client_that_waits_for_100_continue_gets_the_answer_and_the_end(made: Make) -> None:
    client = asked(made(), get("/d/1", "Content-Length: 10", "Expect: 100-continue"))
    (answer,) = client.answers
    assert answer.status == 200
    assert client.closed or isinstance(answer.fields.get("connection"), str)


def test_an_upgrade_that_is_not_made_ends_the_connection(made: Make) -> None:
    # llhttp takes what follows for another protocol: it must not become a request.
    upgrade = get("/d/1", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 3")
    client = asked(made(), upgrade + b"abc" + get("/d/2"))
    assert len(client.answers) == 1
    assert client.closed


def test_content_reaches_an_application() -> None:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    app = application(TEXT)
    app.add_route("/echo", echo, ["POST"])
    body = b'{"everything": true}'
    whole = get("/echo", f"Content-Length: {len(body)}", method="POST") + body
    chunked = get("/echo", "Transfer-Encoding: chunked", method="POST")
    chunked += b"5\r\n" + body[:5] + b"\r\nF\r\n" + body[5:] + b"\r\n0\r\n\r\n"
    for request in (whole, chunked):
        for cut in (len(request), 40, len(request) - 4):
            client = asked(app, request[:cut], request[cut:] + get("/healthz"))
            assert [a.status for a in client.answers] == [200, 200], client.received
            assert client.answers[0].body == body
            assert not client.closed


def test_user_middleware_runs_for_dashboards(upstream: Any) -> None:
    app = application(TEXT)

    @app.middleware("http")
    async def stamp(request: Any, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["x-stamp"] = "1"
        return answer

    (answer,) = asked(app, get("/d/1")).answers
    assert answer.fields["x-stamp"] == "1"


def test_any_asgi_application_can_be_served() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["client"] == ("192.0.2.1", 1234)
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[:1], "more_body": True})
        await send({"type": "http.response.body", "body": body[1:]})

    client = asked(app, get("/", "Content-Length: 5", method="POST") + b"hello" + get("/x"))
    assert [a.body for a in client.answers] == [b"hello", b""]
