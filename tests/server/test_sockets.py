"""The server over real sockets; a test waits for what happens and does not judge how long it takes."""

from __future__ import annotations

import asyncio
import gc
import pickle
import select
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from gateway.server.connections import Connections
from gateway.server.limits import Limits
from gateway.server.protocol import Connection
from gateway.server.reader import RequestReader
from tests.server.clients import Answer, answers
from tests.server.test_protocol import get
from tests.serving import served
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    Make = Callable[..., Any]


async def connected(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def asked(url: str, path: str) -> Answer:
    reader, writer = await connected(url)
    writer.write(get(path, "Connection: close"))
    (answer,) = answers(await reader.read())
    writer.close()
    return answer


async def test_a_client_that_keeps_sending_reads_the_whole_refusal(made: Make) -> None:
    async with served(made()) as url:
        reader, writer = await connected(url)
        writer.write(b"GET /" + b"x" * 600_000)
        (answer,) = answers(await reader.read())
        assert answer.status == 414
        writer.close()


async def test_a_refused_connection_reads_the_whole_refusal(made: Make) -> None:
    async with served(made(), Limits(connections=1)) as url:
        _, first = await connected(url)
        reader, second = await connected(url)
        second.write(get("/d/1") * 100)
        (answer,) = answers(await reader.read())
        assert (answer.status, answer.fields["retry-after"]) == (503, "1")
        first.close()
        second.close()


async def test_pipelined_requests_are_answered_over_a_socket(made: Make) -> None:
    async with served(made()) as url:
        reader, writer = await connected(url)
        requests = [get("/d/1"), get("/large"), get("/kept"), get("/healthz")] * 20
        writer.write(b"".join(requests) + get("/kept", "Connection: close"))
        found = answers(await reader.read())
        assert [a.status for a in found] == [200] * 81
        writer.close()


@pytest.mark.no_cover
async def test_clients_that_drip_or_do_not_read_are_gone_and_others_are_served(made: Make) -> None:
    limits = Limits(head_time=2, send_time=0.3)
    async with served(made(), limits) as url:
        drips = [await connected(url) for _ in range(100)]
        for _, writer in drips:
            writer.write(b"GET /d/1 HTTP/1.1\r\nHost:")
        parts = urlsplit(url)
        deaf = []
        for _ in range(20):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect((parts.hostname, parts.port))
            one.sendall(get("/large") * 50)
            deaf.append(one)
        assert (await asked(url, "/d/1")).status == 200
        for reader, writer in drips:
            (answer,) = answers(await reader.read())
            assert answer.status == 408
            writer.close()
        await until(lambda: all(map(is_reset, deaf)))
        for one in deaf:
            one.close()
        assert (await asked(url, "/d/1")).status == 200


def is_reset(one: socket.socket) -> bool:
    poll = select.poll()
    poll.register(one, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


async def test_a_connection_that_is_lost_is_forgotten(made: Make) -> None:
    app = made()
    async with served(app) as url:
        for _ in range(20):
            _, writer = await connected(url)
            writer.write(get("/d/1") + b"GET")
            writer.close()
        await until(lambda: app.served.endpoints[0].door.in_flight == 0)
        assert (await asked(url, "/kept")).status == 200


def test_connections_can_be_sent_to_a_worker_process() -> None:
    limits = Limits(head_time=3)
    sent: Connections = pickle.loads(pickle.dumps(Connections(limits)))  # noqa: S301
    assert sent.limits == limits


@pytest.mark.parametrize("times", [3])
async def test_one_application_is_served_again_and_again(made: Make, times: int) -> None:
    for _ in range(times):
        async with served(made()) as url:
            assert b'{"x":"/x/1"}' in (await asked(url, "/d/1")).body


async def test_a_closed_connection_is_freed_without_the_collector(made: Make) -> None:
    gc.collect()
    gc.disable()
    others = {id(one) for kind in (Connection, RequestReader) for one in _alive(kind)}
    try:
        async with served(made()) as url:
            for sent in ("", "GET /", get("/d/1"), get("/healthz"), "garbage\r\n\r\n"):
                reader, writer = await connected(url)
                writer.write(sent if isinstance(sent, bytes) else sent.encode())
                if isinstance(sent, bytes) or "garbage" in sent:
                    await reader.readuntil(b"\r\n\r\n")
                writer.close()
                await until(lambda: not _alive(Connection, others))
            assert not _alive(RequestReader, others)
    finally:
        gc.enable()


def _alive(kind: type, others: Collection[int] = ()) -> list[Any]:
    """Return what is alive, without what other tests have left."""
    found = (one for one in gc.get_objects() if isinstance(one, kind))
    return [one for one in found if id(one) not in others]
