"""Live streams on connections, both ways: short, and through ASGI."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx

from gateway.app import create_admin, swap
from gateway.config.settings import Settings
from gateway.plan.load import loads
from tests.redis_server import running
from tests.server.clients import Client, Server
from tests.server.test_protocol import get
from tests.serving import application, asked
from tests.streams import Event, folded, server_sent
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Make = Callable[..., Any]

SSE = "Accept: text/event-stream"
TEXT = """
upstreams: {a: {base_url: http://a.test}}
dashboards:
  live:
    path: /live/{id}
    parameters: {id: {type: integer}}
    live: {every: 100ms}
    sections: {x: {get: "a:/x/{id}"}, y: {get: "a:/y"}}
  large:
    path: /large
    live: {every: 100ms}
    sections: {x: {get: "a:/large"}}
"""


class Upstream:
    """Says a value that the test sets; counts how often it is asked."""

    def __init__(self) -> None:
        self.value: Any = 0
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        large = request.url.path == "/large"
        return httpx.Response(200, json=[self.value, "x" * 100_000] if large else self.value)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    with respx.mock(base_url="http://a.test") as router:
        router.get(path__regex=".*").mock(side_effect=found.answer)
        yield found


def events(client: Client) -> list[Event]:
    """Return the events of a stream that has not ended."""
    head, _, rest = client.received.partition(b"\r\n\r\n")
    if not head:
        return []
    assert b" 200 " in head, head
    content, at = b"", 0
    while at < len(rest):
        end = rest.index(b"\r\n", at)
        size = int(rest[at:end], 16)
        content += rest[end + 2 : end + 2 + size]
        at = end + 2 + size + 2
    return server_sent(content)


def last(client: Client) -> Any:
    found = events(client)
    return folded(found)["data"] if found and found[-1].name == "complete" else None


async def test_clients_get_what_changes_until_they_leave(made: Make, upstream: Upstream) -> None:
    app = made(TEXT)
    server = Server(app)
    clients = [server.client() for _ in range(5)]
    for client in clients:
        client.send(get("/live/1", SSE))
    await until(lambda: all(last(client) == {"x": 0, "y": 0} for client in clients))
    upstream.value = 1
    await until(lambda: all(last(client) == {"x": 1, "y": 1} for client in clients))
    assert (app.served.live.polls, app.served.live.clients) == (1, 5)
    for client in clients:
        client.leave()
    await until(lambda: not app.served.live.polls)
    assert app.served.live.clients == 0
    await app.served.aclose()


async def test_at_the_end_of_the_drain_delay_streams_end_whole(
    made: Make, upstream: Upstream
) -> None:
    app = made(TEXT)
    client = Server(app).client()
    client.send(get("/live/1", SSE))
    await until(lambda: last(client))
    app.lifecycle.end_streams()
    await until(lambda: client.received.endswith(b"0\r\n\r\n"))
    assert not client.closed  # another request may follow
    assert upstream.asked == 2
    await app.served.aclose()


async def test_a_client_that_does_not_read_is_passed_over(made: Make, upstream: Upstream) -> None:
    app = made(TEXT)
    server = Server(app)
    deaf, client = server.client(), server.client()
    deaf.transport.reads = False
    for one in (deaf, client):
        one.send(get("/large", SSE))
    await until(lambda: last(client))
    for value in range(1, 6):
        upstream.value = value
        await until(lambda: last(client)["x"][0] == upstream.value)
    held = len(deaf.transport.unread)
    assert held < 250_000  # two versions of six: one as it came, and what filled its buffer
    deaf.transport.read()
    await until(lambda: last(deaf)["x"][0] == 5)
    assert len(events(deaf)) < len(events(client))
    await app.served.aclose()


async def test_replicas_share_the_calls_of_their_polls(upstream: Upstream, tmp_path: Path) -> None:
    with running(tmp_path) as redis:
        await check_replicas(upstream, redis.url)


async def check_replicas(upstream: Upstream, url: str) -> None:
    text = TEXT.replace("100ms", "500ms")
    apps = [application(text, redis_url=url) for _ in range(3)]
    clients = []
    for app in apps:
        await app.served.process.store.open()
        client = Server(app).client()
        client.send(get("/live/1", SSE))
        clients.append(client)
    await until(lambda: all(last(client) for client in clients))
    before, runs = upstream.asked, sum(app.served.live.runs for app in apps)
    await until(lambda: sum(app.served.live.runs for app in apps) >= runs + 15)
    # 2 sections, 5 polls of each of 3 replicas: 30 calls if each made its own.
    assert upstream.asked - before <= 24
    upstream.value = 1
    await until(lambda: all(last(client) == {"x": 1, "y": 1} for client in clients))
    for app in apps:
        await app.served.aclose()
        await app.served.process.store.aclose()


async def test_other_requests_of_a_live_dashboard_are_not_cached(upstream: Upstream) -> None:
    app = application(TEXT)
    client = Server(app).client()
    for _ in range(3):
        client.send(get("/live/1"))
        await until(lambda: client.quiet)
    assert upstream.asked == 6
    await app.served.aclose()


async def test_a_reload_ends_streams(upstream: Upstream) -> None:
    app = application(TEXT)
    client = Server(app).client()
    client.send(get("/live/1", SSE))
    await until(lambda: last(client))
    before = await swap(app, app.served.successor(loads(TEXT)))
    await until(lambda: client.received.endswith(b"0\r\n\r\n"))
    await before.aclose()
    await app.served.aclose()
    assert upstream.asked


async def test_live_streams_are_counted(upstream: Upstream) -> None:
    app = application(TEXT)
    admin = create_admin(app, Settings(redis_url=None))
    server = Server(app)
    for path in ("/live/1", "/live/1", "/live/2"):
        server.client().send(get(path, SSE))
    await until(lambda: app.served.live.clients == 3 and upstream.asked)
    async with asked(admin) as client:
        text = (await client.get("/metrics")).text
    assert "gateway_live_clients 3.0" in text
    assert "gateway_live_polls 2.0" in text
    await app.served.aclose()
    await asyncio.sleep(0)
    assert upstream.asked
