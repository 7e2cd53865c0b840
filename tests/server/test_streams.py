"""Streams on one connection, both ways: short, and through ASGI."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
from fastapi import FastAPI

from gateway.server.limits import Limits
from gateway.web.lifecycle import Lifecycle
from tests.server.clients import Client, Server, answers
from tests.server.test_protocol import asked, get, settled
from tests.serving import application
from tests.serving import asked as asked_of
from tests.streams import folded, parsed
from tests.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., Any]

SSE = "Accept: text/event-stream"
LINES = "Accept: application/jsonl"
TEXT = """
upstreams:
  a: {base_url: http://a.test}
  cached: {base_url: http://a.test, cache: {ttl: 1h}}
  private: {base_url: http://a.test, forward_headers: [authorization], cache: {ttl: 1h}}
dashboards:
  d: {path: /d, deadline: 100s, sections: {slow: {get: "a:/3"}, fast: {get: "a:/1"}}}
  kept: {path: /kept, sections: {x: {get: "cached:/0"}, y: {get: "cached:/1"}}}
  own: {path: /own, sections: {x: {get: "private:/0"}}}
  bad: {path: "/bad/{id}", parameters: {id: {type: integer}}, sections: {x: {get: "a:/0"}}}
  long: {path: /long, deadline: 100s, sections: {x: {get: "a:/large"}, y: {get: "a:/50"}}}
  needed: {path: /needed, sections: {x: {get: "a:/missing", required: true}, y: {get: "a:/1"}}}
"""
LARGE = "x" * 200_000


class Upstream:
    """Answers `/n` after n seconds; counts the calls that were cancelled."""

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        name = request.url.path[1:]
        if name == "missing":
            return httpx.Response(404, json={})
        if name == "large":
            return httpx.Response(200, json=LARGE)
        try:
            await asyncio.sleep(int(name))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return httpx.Response(200, json={"n": name})


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """Answer for every upstream; `made` of conftest asks for a fixture of this name."""
    found = Upstream()
    with respx.mock(base_url="http://a.test", assert_all_called=False) as router:
        router.get(path__regex=".*").mock(side_effect=found.answer)
        yield found


def events(client: Client) -> list[Any]:
    (answer,) = client.answers
    return parsed(answer.fields["content-type"], answer.body)


@pytest.mark.parametrize("accept", [SSE, LINES])
def test_a_stream_folds_to_the_document(made: Make, accept: str) -> None:
    async def main() -> None:
        app = made(TEXT)
        server = Server(app)
        client, other = server.client(), server.client()
        client.send(get("/d", accept))
        other.send(get("/d"))
        await asyncio.sleep(1.5)
        assert b'"section":"fast"' in client.received
        assert b'"section":"slow"' not in client.received
        await asyncio.sleep(2)
        (answer,) = client.answers
        assert answer.status == 200
        assert answer.fields["transfer-encoding"] == "chunked"
        assert answer.fields["vary"] == "accept, Accept-Encoding"
        assert answer.fields["cache-control"] == "no-store"
        assert "content-length" not in answer.fields
        assert folded(events(client)) == json.loads(other.answers[0].body)

    run(main())


def test_each_landing_is_one_write_and_the_good_path_has_no_task_of_its_own() -> None:
    async def main() -> tuple[int, int]:
        server = Server(application(TEXT))
        counts = []
        for accept in (SSE, "Accept: */*"):
            client = server.client()
            before = len(asyncio.all_tasks())
            client.send(get("/d", accept))
            await settled(client)
            counts.append(len(asyncio.all_tasks()) - before)
            await asyncio.sleep(5)
            writes = client.transport.writes
            assert writes == (3 if accept == SSE else 1)
        return counts[0], counts[1]

    with mocked():
        stream, document = run(main())
    assert stream == document


def mocked() -> Any:
    router = respx.mock(base_url="http://a.test", assert_all_called=False)
    router.get(path__regex=".*").mock(side_effect=Upstream().answer)
    return router


def test_requests_follow_a_stream_on_the_same_connection(made: Make) -> None:
    async def main() -> None:
        client = Server(made(TEXT)).client()
        client.send(get("/d", SSE) + get("/kept") + get("/kept", LINES))
        await asyncio.sleep(10)
        await settled(client)
        first, second, third = client.answers
        assert first.body.endswith(b"\n\n")
        assert list(json.loads(second.body)["data"]) == ["x", "y"]
        assert third.fields["content-type"] == "application/jsonl"
        assert not client.closed

    run(main())


@pytest.mark.usefixtures("upstream")
def test_a_client_of_http_1_0_gets_plain_bytes_and_the_end_of_the_connection() -> None:
    async def main() -> None:
        client = Server(application(TEXT)).client()
        client.send(get("/d", SSE, "Connection: keep-alive", version="1.0"))
        await asyncio.sleep(5)
        head, _, body = client.received.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert b"connection: close" in head.lower()
        assert [event.name for event in parsed("text/event-stream", body)][-1] == "complete"
        assert client.closed

    run(main())


@pytest.mark.parametrize("accept", [SSE, LINES])
def test_a_stored_stream_is_one_answer_and_folds_to_the_document(made: Make, accept: str) -> None:
    app = made(TEXT)
    (document,) = asked(app, get("/kept")).answers
    first, second = (asked(app, get("/kept", accept)) for _ in range(2))
    for client in (first, second):
        assert folded(events(client)) == json.loads(document.body)
    (answer,) = second.answers
    assert int(answer.fields["content-length"]) == len(answer.body)
    assert "etag" not in answer.fields
    assert answer.fields["cache-control"] == "no-store"
    tag = f"Last-Event-ID: {document.fields['etag']}"
    (same,) = asked(app, get("/kept", accept, tag)).answers
    assert (same.status, same.body) == (204, b"")
    (head,) = answers(asked(app, get("/kept", accept, method="HEAD")).received, head=True)
    assert (head.status, head.body) == (200, b"")
    assert (document.body,) == tuple(a.body for a in asked(app, get("/kept")).answers)


def test_a_stored_stream_calls_no_upstream_and_runs_no_plan(upstream: Upstream) -> None:
    async def main() -> None:
        server = Server(application(TEXT))
        for _ in range(3):
            client = server.client()
            client.send(get("/kept", SSE))
            await asyncio.sleep(2)
        tasks = len(asyncio.all_tasks())
        client = server.client()
        client.send(get("/kept", SSE))
        assert len(client.answers) == 1
        assert client.transport.writes == 1
        assert len(asyncio.all_tasks()) == tasks

    run(main())
    assert upstream.asked == 2


def test_a_private_stream_is_not_stored_for_others(made: Make) -> None:
    app = made(TEXT)
    ada, ben = "Authorization: ada", "Authorization: ben"
    for who in (ada, ben, ada):
        assert events(asked(app, get("/own", SSE, who)))[-1].name == "complete"
    assert app.served.response_cache.size == 0


@pytest.mark.parametrize(("path", "status"), [("/needed", 404), ("/bad/x", 422)])
def test_a_failure_before_the_first_landing_is_the_usual_problem(
    made: Make, path: str, status: int
) -> None:
    (answer,) = asked(made(TEXT), get(path, SSE)).answers
    assert answer.status == status
    assert answer.fields["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == status


def test_a_client_that_leaves_cancels_the_calls(made: Make, upstream: Upstream) -> None:
    async def main() -> None:
        client = Server(made(TEXT)).client()
        client.send(get("/d", SSE))
        await asyncio.sleep(1.5)
        assert b'"fast"' in client.received
        client.leave()
        await asyncio.sleep(0.5)
        assert upstream.cancelled == 1

    run(main())


def test_a_client_that_does_not_read_its_stream_is_cut_off(made: Make, upstream: Upstream) -> None:
    async def main() -> None:
        client = Server(made(TEXT), Limits(send_time=10)).client()
        client.transport.reads = False
        client.send(get("/long", SSE))
        await asyncio.sleep(9)
        assert not client.closed
        await asyncio.sleep(2)
        assert client.transport.lost
        await asyncio.sleep(0.1)
        assert upstream.cancelled == 1

    run(main())


def test_a_client_that_reads_its_stream_slowly_gets_all_of_it(made: Make) -> None:
    async def main() -> None:
        client = Server(made(TEXT), Limits(send_time=10)).client()
        client.transport.reads = False
        client.send(get("/long", SSE))
        for _ in range(10):
            await asyncio.sleep(5)
            client.transport.read(20_000)
        await asyncio.sleep(5)
        client.transport.read()
        assert folded(events(client))["data"] == {"x": LARGE, "y": {"n": "50"}}

    run(main())


def test_at_the_end_of_a_drain_a_stream_is_cut_off_without_its_end(
    made: Make, upstream: Upstream
) -> None:
    async def main() -> None:
        client = Server(made(TEXT)).client()
        client.send(get("/d", SSE))
        await asyncio.sleep(1.5)
        client.connection.give_up()
        await asyncio.sleep(0.5)
        assert client.transport.lost
        assert not client.received.endswith(b"0\r\n\r\n")
        assert upstream.cancelled == 1

    run(main())


def test_a_stream_under_way_ends_whole_in_a_drain_and_the_connection_closes(made: Make) -> None:
    async def main() -> None:
        server = Server(made(TEXT))
        lifecycle = Lifecycle()
        server.state.lifecycle = lifecycle  # type: ignore[attr-defined]
        client = server.client()
        client.send(get("/d", SSE))
        await asyncio.sleep(1.5)
        lifecycle.draining = True
        client.connection.announce()
        await asyncio.sleep(5)
        assert events(client)[-1].name == "complete"
        assert client.closed

    run(main())


async def test_streams_pass_fastapis_own_routes(upstream: Upstream) -> None:
    """They serve where the routes are mounted in another application."""
    outer = FastAPI()
    outer.include_router(application(TEXT).router)
    async with asked_of(outer) as client:
        answer = await client.get("/kept", headers={"accept": "text/event-stream"})
    assert parsed("text/event-stream", answer.content)[-1].name == "complete"
    assert upstream.asked == 2


def test_a_stream_has_the_sections_that_are_asked_for(made: Make) -> None:
    async def main() -> None:
        client = Server(made(TEXT)).client()
        client.send(get("/d?sections=fast", SSE))
        await asyncio.sleep(2)
        assert folded(events(client))["data"] == {"fast": {"n": "1"}}

    run(main())
