"""The WebSocket `/live`, over ASGI and over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import respx
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from gateway.commands.serving import open_server
from gateway.config.settings import Settings
from gateway.server import listen
from tests.serving import application
from tests.streams import Event, folded
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.runtime import Runtime
    from gateway.web.application import Application
    from gateway.web.live import Live

TEXT = """
web:
  websocket: {max_subscriptions: 3, max_message: 1KiB}
  cors: {origins: ["https://app.example.com"]}
upstreams: {a: {base_url: http://a.test, forward_headers: [authorization]}}
dashboards:
  d: {path: "/d/{id}", parameters: {id: {type: integer}}, sections: {x: {get: "a:/x/{id}"}}}
  needed: {path: /needed, sections: {x: {get: "a:/missing", required: true}}}
  live: {path: /watch, live: {every: 100ms}, sections: {x: {get: "a:/live"}}}
  large: {path: /large, live: {every: 100ms}, sections: {x: {get: "a:/large"}}}
"""


class Upstream:
    """Says a value that the test sets."""

    def __init__(self) -> None:
        self.value: Any = 0
        self.sent: list[str | None] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request.headers.get("authorization"))
        if request.url.path == "/missing":
            return httpx.Response(404, json={})
        if request.url.path == "/large":
            return httpx.Response(200, json=[self.value, "x" * 100_000])
        live = request.url.path == "/live"
        return httpx.Response(200, json=self.value if live else request.url.path)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    with respx.mock(base_url="http://a.test", assert_all_called=False) as router:
        router.get(path__regex=".*").mock(side_effect=found.answer)
        yield found


class Socket:
    """A client in memory: what it says, and what it hears."""

    def __init__(self, app: Application[Runtime], **fields: str) -> None:
        self.heard: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.accepted = False
        self.reads = asyncio.Event()
        self.reads.set()
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})
        headers = [(b"host", b"gateway.test")]
        headers += [(name.encode(), value.encode()) for name, value in fields.items()]
        scope = {"type": "websocket", "path": "/live", "raw_path": b"/live", "query_string": b"",
                 "headers": headers, "subprotocols": [], "state": {}}  # fmt: skip
        self.task = asyncio.create_task(app(scope, self._said.get, self._send))

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        if message["type"] == "websocket.accept":
            self.accepted = True
        elif message["type"] == "websocket.close":
            self.closed = message["code"]
            self.leave()
        else:
            self.heard.append(json.loads(message["text"]))

    def say(self, **said: Any) -> None:
        self.say_text(json.dumps(said))

    def say_text(self, text: str) -> None:
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    def leave(self) -> None:
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1005})

    def of(self, name: str) -> list[Event]:
        mine = [dict(message) for message in self.heard if message["id"] == name]
        return [Event(one.pop("event"), one) for one in mine if one.pop("id")]

    def data(self, name: str) -> Any:
        events = self.of(name)
        return folded(events)["data"] if events and events[-1].name == "complete" else None


@contextlib.asynccontextmanager
async def opened(
    text: str = TEXT, **fields: str
) -> AsyncIterator[tuple[Application[Runtime], Socket]]:
    app = application(text)
    socket = Socket(app, **fields)
    try:
        yield app, socket
    finally:
        socket.reads.set()
        socket.leave()
        await socket.task
        await app.served.aclose()


async def test_subscriptions_share_a_connection(upstream: Upstream) -> None:
    async with opened(authorization="Bearer t") as (app, socket):
        socket.say(subscribe="a", path="/d/1")
        socket.say(subscribe="b", path="/d/2?sections=x")
        socket.say(subscribe="live", path="/watch")
        await until(lambda: all(socket.data(name) for name in ("a", "b", "live")))
        assert socket.data("a") == {"x": "/x/1"}
        assert socket.data("b") == {"x": "/x/2"}
        upstream.value = 1
        await until(lambda: socket.data("live") == {"x": 1})
        assert set(upstream.sent) == {"Bearer t"}
        assert app.served.live.clients == 1
        socket.say(unsubscribe="live")
        await until(lambda: not app.served.live.clients)
        socket.say(subscribe="a", path="/d/3")  # the first one is over
        await until(lambda: socket.data("a") == {"x": "/x/3"})


@pytest.mark.parametrize(
    ("path", "status"),
    [("/nothing", 404), ("/d/x", 422), ("/needed", 404), ("/d/1?sections=y", 422), ("/é", 422),
     ("/%FF", 404), ("", 404)],
)  # fmt: skip
async def test_what_http_answers_with_a_problem_is_one(
    upstream: Upstream, path: str, status: int
) -> None:
    async with opened() as (_, socket):
        socket.say(subscribe="a", path=path)
        await until(lambda: socket.heard)
        assert [(event.name, event.data["status"]) for event in socket.of("a")] == [
            ("problem", status)
        ]
    assert upstream.value == 0


async def test_ids_are_unique_and_subscriptions_bounded(upstream: Upstream) -> None:
    async with opened() as (app, socket):
        for name in ("a", "a", "b", "c", "d"):
            socket.say(subscribe=name, path="/watch")
        await until(lambda: app.served.live.clients == 3 and socket.of("d") and upstream.sent)
        statuses = {m["id"]: m["status"] for m in socket.heard if m["event"] == "problem"}
        assert statuses == {"a": 409, "d": 429}
        assert upstream.sent


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 1008), ("[]", 1008), ("{", 1008), ('{"subscribe": 1, "path": "/"}', 1008),
     ('{"subscribe": "a"}', 1008), ('{"subscribe": "", "path": "/"}', 1008),
     ('{"subscribe": "a", "path": "/", "more": 1}', 1008), ('{"unsubscribe": "a", "b": 1}', 1008),
     ('{"subscribe": "%s", "path": "/"}' % ("x" * 65), 1008), ("x" * 1025, 1009)],
)  # fmt: skip
async def test_what_makes_no_sense_ends_the_connection(text: str, code: int) -> None:
    async with opened() as (_, socket):
        socket.say_text(text)
        await socket.task
        assert (socket.accepted, socket.closed) == (True, code)


@pytest.mark.parametrize(
    ("origin", "admitted"),
    [("https://app.example.com", True), ("https://gateway.test", True), ("", True),
     ("https://evil.example.com", False), ("null", False), ("https://gateway.test.evil", False),
     ("http://GATEWAY.test", True), ("ftp://gateway.test", False), ("gateway.test", False)],
)  # fmt: skip
async def test_only_admitted_origins_may_connect(origin: str, admitted: bool) -> None:
    async with opened(**({"origin": origin} if origin else {})) as (_, socket):
        await until(lambda: socket.accepted or socket.closed)
        assert (socket.accepted, socket.closed) == ((True, None) if admitted else (False, 1008))


@pytest.mark.parametrize(
    ("origin", "credentials", "sent"),
    [("https://app.example.com", False, None), ("https://app.example.com", True, "Bearer t"),
     ("https://gateway.test", False, "Bearer t")],
)  # fmt: skip
async def test_a_foreign_page_has_its_users_credentials_only_if_cors_says_so(
    upstream: Upstream, origin: str, credentials: bool, sent: str | None
) -> None:
    text = TEXT
    if credentials:
        text = text.replace('example.com"]}', 'example.com"], credentials: true}')
    async with opened(text, origin=origin, authorization="Bearer t") as (_, socket):
        socket.say(subscribe="a", path="/d/1")
        await until(lambda: socket.data("a"))
        assert upstream.sent == [sent]


async def next_poll(live: Live) -> None:
    before = live.runs
    await until(lambda: live.runs > before)


async def test_a_client_that_does_not_read_is_passed_over(upstream: Upstream) -> None:
    async with opened() as (app, socket):
        socket.say(subscribe="a", path="/large")
        await until(lambda: socket.data("a"))
        socket.reads.clear()
        for _ in range(8):
            upstream.value += 1
            await next_poll(app.served.live)
        before = len(socket.heard)
        socket.reads.set()
        await until(lambda: socket.data("a")["x"][0] == upstream.value)
        sections = [m for m in socket.heard[before:] if m["event"] == "section"]
        assert len(sections) <= 3  # of eight versions


async def test_asking_waits_for_a_client_that_does_not_read() -> None:
    async with opened() as (_, socket):
        await until(lambda: socket.accepted)
        socket.reads.clear()
        for _ in range(2000):
            socket.say(subscribe="a", path="/nothing")
        await asyncio.sleep(0)
        left = socket._said.qsize
        await until(lambda: left() < 2000)
        settled = -1
        while settled != left():
            settled = left()
            for _ in range(50):
                await asyncio.sleep(0)
        assert settled > 1000
        socket.reads.set()
        await until(lambda: len(socket.heard) == 2000)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_end_of_the_process_closes_with_1012(upstream: Upstream, when: str) -> None:
    app = application(TEXT)
    if when == "before":
        app.lifecycle.end_streams()
    socket = Socket(app)
    if when == "after":
        socket.say(subscribe="a", path="/watch")
        await until(lambda: socket.data("a"))
        app.lifecycle.end_streams()
    await socket.task
    assert (socket.accepted, socket.closed) == (True, 1012)
    assert app.served.live.clients == 0
    await app.served.aclose()
    assert upstream.value == 0


async def test_a_client_that_leaves_leaves_its_polls(upstream: Upstream) -> None:
    async with opened() as (app, socket):
        socket.say(subscribe="a", path="/watch")
        await until(lambda: app.served.live.clients and upstream.sent)
        socket.leave()
        await socket.task
        assert app.served.live.clients == 0


async def test_without_its_key_there_is_no_websocket() -> None:
    app = application(TEXT.replace("websocket: {max_subscriptions: 3, max_message: 1KiB}", ""))
    socket = Socket(app)
    await socket.task
    assert not socket.accepted


async def test_a_real_client_is_served(upstream: Upstream) -> None:
    app = application(TEXT)
    server = open_server(app, Settings(redis_url=None, drain_delay=0), handles_signals=False)
    assert isinstance(server, uvicorn.Server)
    (listener,) = listen("127.0.0.1", 0)
    url = f"ws://127.0.0.1:{listener.getsockname()[1]}/live"
    serving = asyncio.create_task(server.serve([listener]))
    await until(lambda: server.started)
    with pytest.raises(InvalidStatus):
        async with connect(url, origin=Origin("https://evil.example.com")):
            pass
    async with connect(url) as socket:
        await socket.send(b"x" * 2000)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    async with connect(url) as socket:
        await socket.send(json.dumps({"subscribe": "a", "path": "/watch"}))
        heard = [json.loads(await socket.recv()) for _ in range(2)]
        assert [(one["id"], one["event"]) for one in heard] == [("a", "section"), ("a", "complete")]
        server.end(delay=False)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
    await serving
    assert upstream.sent
