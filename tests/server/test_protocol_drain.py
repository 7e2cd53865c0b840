"""What a connection does while its server drains."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.server.clients import Client, Server
from tests.server.conftest import TEXT
from tests.server.test_protocol import get, settled
from tests.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]

SLOW = TEXT + '  slow: {path: /slow, deadline: 20s, sections: {x: {get: "a:/slow"}}}\n'


class Draining(Server):
    """A server whose state says whether it drains."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self.lifecycle = SimpleNamespace(draining=False)
        self.state.lifecycle = self.lifecycle  # type: ignore[attr-defined]


@pytest.fixture
def slow(made: Make, upstream: Any) -> Any:
    async def wait(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(9)
        return httpx.Response(200, json=1)

    upstream.get("/slow").mock(side_effect=wait)
    return made(SLOW)


def test_while_draining_the_last_answer_of_each_connection_ends_it(slow: Any) -> None:
    async def main() -> None:
        server = Draining(slow)
        idle, busy, new = server.client(), server.client(), None
        idle.send(get("/kept"))
        busy.send(get("/slow"))
        await settled(idle)
        server.lifecycle.draining = True
        for client in (idle, busy):
            client.connection.announce()
        assert not ended(idle)
        idle.send(get("/d/1") + get("/d/2"))
        new = server.client()
        new.send(get("/d/1"))
        await asyncio.sleep(10)
        assert closes(idle) == [False, False, True]
        assert closes(busy) == closes(new) == [True]
        assert ended(idle)
        assert ended(busy)

    run(main())


def closes(client: Client) -> list[bool]:
    return [answer.fields.get("connection") == "close" for answer in client.answers]


def ended(client: Client) -> bool:
    return client.closed


def is_idle(client: Client) -> bool:
    return client.connection.is_idle


def test_only_a_connection_without_a_request_is_idle(slow: Any) -> None:
    async def main() -> None:
        client = Draining(slow).client()
        one = client.connection
        assert is_idle(client)
        client.send(get("/kept")[:10])
        assert not is_idle(client)
        client.send(get("/kept")[10:])
        await settled(client)
        assert is_idle(client)
        client.send(get("/slow"))
        assert not is_idle(client)
        await asyncio.sleep(10)
        assert is_idle(client)
        one.close_idle()
        assert not is_idle(client)
        assert client.transport.ended  # in two steps
        await asyncio.sleep(3)
        assert client.transport.lost

    run(main())


def test_what_is_given_up_is_answered_with_503(slow: Any) -> None:
    async def main() -> None:
        server = Draining(slow)
        idle, half, busy = (server.client() for _ in range(3))
        half.send(get("/kept")[:10])
        busy.send(get("/slow"))
        await settled(busy)
        for client in (idle, half, busy):
            client.connection.give_up()
        for task in list(server.state.tasks):
            task.cancel()
        await settled(busy)
        assert [a.status for a in busy.answers + half.answers] == [503, 503]
        assert closes(busy) == closes(half) == [True]
        assert idle.received == b""
        assert ended(idle)
        assert not server.state.tasks

    run(main())


def test_an_answer_that_has_begun_is_cut_off() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await asyncio.sleep(60)

    async def main() -> None:
        server = Draining(app)
        client = server.client()
        client.send(get("/"))
        await settled(client)
        client.connection.give_up()
        assert client.transport.lost
        assert client.received.endswith(b"1\r\na\r\n")
        for task in list(server.state.tasks):
            task.cancel()

    run(main())
