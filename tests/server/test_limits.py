"""Limits on what a client sends, withholds and leaves unread; on virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from gateway.config.settings import Settings
from gateway.server.limits import Limits, connections_left
from tests.server.clients import Client, Server
from tests.server.test_protocol import asked, get, settled
from tests.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]

LIMITS = Limits(request_line=1000, head=4000, fields=10, unread_body=2000)


def refused(client: Client, status: int) -> None:
    """The last answer is a problem, and the connection ends with it."""
    answer = client.answers[-1]
    assert answer.status == status
    assert answer.fields["connection"] == "close"
    assert answer.fields["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == status
    assert client.closed


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.no_cover), 7, 5000])
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/d/" + "1" * 977), 422),
        (get("/d/" + "1" * 1000), 414),
        (b"GET /" + b"x" * 5000, 414),
        (get("/d/1", "X: " + "x" * 3800), 200),
        (get("/d/1", "X: " + "x" * 4000), 431),
        (get("/d/1", *[f"X-{n}: 1" for n in range(9)]), 200),
        (get("/d/1", *[f"X-{n}: 1" for n in range(10)]), 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 10_000, 431),
    ],
)
def test_a_head_is_bounded_however_it_is_cut(
    made: Make, request_: bytes, status: int, step: int
) -> None:
    async def main() -> Client:
        client = Server(made(), LIMITS).client()
        for at in range(0, len(request_), step):
            client.send(request_[at : at + step])
        await settled(client)
        return client

    client = run(main())
    assert [a.status for a in client.answers] == [status]
    if status not in {200, 422}:
        refused(client, status)


def test_what_is_sent_after_a_refusal_is_dropped_and_then_cut_off() -> None:
    async def main() -> None:
        client = Server(nothing, LIMITS).client()
        client.send(b"GET /" + b"x" * 5000)
        for _ in range(20):
            client.send(b"x" * 60_000)
            assert len(client.connection._reader.pending) == 0
        await settled(client)
        assert client.transport.lost
        assert len(client.answers) == 1

    run(main())


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def drip(client: Client, data: bytes, every: float) -> float:
    """Send byte by byte; return the seconds until the server ended the connection."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for at in range(len(data)):
        client.send(data[at : at + 1])
        await asyncio.sleep(every)
        if client.closed:
            break
    return loop.time() - began


def test_a_head_that_drips_is_cut_off_at_its_limit_from_the_accept() -> None:
    async def main() -> None:
        client = Server(nothing).client()
        await asyncio.sleep(4)
        took = await drip(client, get("/", "X: " + "x" * 100), 0.5)
        assert 6 <= took <= 7  # ten since the accept
        refused(client, 408)
        await asyncio.sleep(3)
        assert client.transport.lost

    run(main())


def test_a_later_head_that_drips_is_cut_off_at_its_limit_from_its_first_byte() -> None:
    async def main() -> None:
        client = Server(nothing).client()
        client.send(get("/"))
        await asyncio.sleep(30)
        assert not client.closed
        took = await drip(client, get("/", "X: " + "x" * 100), 0.5)
        assert 10 <= took <= 11
        assert len(client.answers) == 2
        refused(client, 408)

    run(main())


def test_empty_lines_do_not_keep_a_connection() -> None:
    async def main() -> None:
        client = Server(nothing).client()
        took = await drip(client, b"\r\n" * 1000, 0.5)
        assert 10 <= took <= 11
        later = Server(nothing).client()
        later.send(get("/"))
        await settled(later)
        took = await drip(later, b"\r\n" * 1000, 0.5)
        assert 75 <= took <= 76

    run(main())


def test_a_silent_connection_is_closed_without_an_answer() -> None:
    async def main() -> None:
        client = Server(nothing).client()
        await asyncio.sleep(9.9)
        assert not client.closed
        await asyncio.sleep(0.3)
        assert client.transport.lost
        assert client.received == b""

    run(main())


def test_an_idle_connection_is_closed_and_a_used_one_is_not(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()
        for _ in range(5):
            client.send(get("/kept"))
            await asyncio.sleep(70)
            assert not client.closed
        await asyncio.sleep(5.2)
        assert client.transport.lost
        assert len(client.answers) == 5

    run(main())


def test_content_that_drips_is_cut_off(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()
        client.send(get("/kept", "Content-Length: 1000"))
        took = await drip(client, b"x" * 1000, 1)
        assert 30 <= took <= 31.2
        assert [a.status for a in client.answers] == [200]

    run(main())


def test_content_that_an_application_waits_for_is_cut_off() -> None:
    ended = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            pass
        ended.append(message["type"])

    async def main() -> None:
        client = Server(app).client()
        client.send(get("/", "Content-Length: 1000", method="POST"))
        took = await drip(client, b"x" * 1000, 1)
        assert 30 <= took <= 31.2
        refused(client, 408)

    run(main())
    assert ended == ["http.disconnect"]


def test_a_client_that_does_not_read_is_cut_off(made: Make) -> None:
    async def main() -> None:
        server = Server(made())
        client = server.client()
        client.transport.reads = False
        client.send(get("/large") * 10)
        await asyncio.sleep(29.9)
        assert not client.closed
        assert len(client.transport.unread) < 400_000  # one answer, and no more
        await asyncio.sleep(0.3)
        assert client.transport.lost
        assert not server.state.connections

    run(main())


def test_a_client_that_reads_slowly_is_not_cut_off(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()
        client.transport.reads = False
        client.send(get("/large"))
        await settled(client)
        while client.transport.unread:
            await asyncio.sleep(25)
            client.transport.read(20_000)
        assert not client.closed
        assert len(client.answers) == 1
        client.transport.read()
        client.send(get("/d/1"))
        await settled(client)
        assert len(client.answers) == 2

    run(main())


def test_a_client_that_reads_next_to_nothing_is_cut_off(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()
        client.transport.reads = False
        client.send(get("/large"))
        await settled(client)
        for _ in range(70):
            await asyncio.sleep(1)
            client.transport.read(10)
        assert client.closed

    run(main())


def test_the_last_answer_of_a_connection_is_not_waited_for_without_end(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()
        client.transport.reads = False
        client.send(get("/d/1", "Connection: close"))
        await asyncio.sleep(29)
        assert not client.transport.lost
        await asyncio.sleep(40)
        assert client.transport.lost

    run(main())


def test_the_next_request_waits_until_the_client_has_read(made: Make) -> None:
    async def main() -> None:
        client = Server(made()).client()
        client.transport.reads = False
        client.send(get("/large") + get("/d/1") + get("/d/2"))
        await asyncio.sleep(1)
        assert client.received == b""
        client.transport.read()
        await asyncio.sleep(1)
        assert len(client.answers) == 3

    run(main())


def test_beyond_the_limit_of_connections_a_client_is_refused() -> None:
    async def main() -> None:
        server = Server(nothing, Limits(connections=2))
        first, second, third = (server.client() for _ in range(3))
        refused(third, 503)
        assert third.answers[0].fields["retry-after"] == "1"
        for client in (first, second):
            client.send(get("/"))
            await settled(client)
            assert client.answers[0].status == 200
        first.leave()
        await asyncio.sleep(3)
        assert third.transport.lost
        fourth = server.client()
        fourth.send(get("/"))
        await settled(fourth)
        assert fourth.answers[0].status == 200

    run(main())


def test_refused_connections_linger_in_bounded_number() -> None:
    async def main() -> None:
        server = Server(nothing, Limits(connections=1))
        clients = [server.client() for _ in range(200)]
        await settled(clients[0])
        assert len(server.state.connections) <= 1 + 64
        assert all(len(client.answers) == 1 for client in clients[1:])

    run(main())


def test_refusals_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server(nothing, LIMITS)
        for _ in range(500):
            server.client().send(b"GET /" + b"x" * 5000)
        await asyncio.sleep(11)

    with caplog.at_level(logging.WARNING, "gateway.server"):
        run(main())
    first, last = [r for r in caplog.records if r.name == "gateway.server"]
    assert "192.0.2.1 was refused with 414" in first.getMessage()
    assert last.getMessage().endswith("; and 498 more since the last line")


def test_answers_cost_no_timer_each() -> None:
    async def main() -> None:
        client = Server(nothing).client()
        loop: Any = asyncio.get_running_loop()
        client.send(get("/"))
        await settled(client)
        before = len(loop._scheduled)
        for _ in range(100):
            client.send(get("/"))
            await settled(client)
        assert len(client.answers) == 101
        assert len(loop._scheduled) == before

    run(main())


def test_limits_are_settings() -> None:
    names = [
        "max_connections", "max_request_line", "max_request_head", "max_request_fields",
        "max_unread_body", "head_timeout", "body_timeout", "send_timeout", "keep_alive",
    ]  # fmt: skip
    settings = Settings.read({name: at for at, name in enumerate(names, 1)})
    assert Limits.of(settings, upstream_connections=0) == Limits(
        request_line=2, head=3, fields=4, head_time=6, body_time=7, idle_time=9, send_time=8,
        unread_body=5, connections=1,
    )  # fmt: skip


def test_the_limit_of_connections_follows_the_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    files = 1024
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connections_left(100) == 1024 - 100 - 64
    assert connections_left(5000) == 256
    files = resource.RLIM_INFINITY
    assert connections_left(0) > 10_000


def test_limits_can_be_asked_for_at_once(made: Make) -> None:
    assert [a.status for a in asked(made(), get("/kept")).answers] == [200]
