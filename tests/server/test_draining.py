"""A server that drains: what it still serves, when it closes, and what is left at the end."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest

from gateway.server.server import _Idle
from tests.server.serving import running
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

FOREVER = 3600.0
CLOSE = b"connection: close"


def connections(server: Any) -> set[Any]:
    found: set[Any] = server.server_state.connections
    return found


async def test_it_serves_new_and_open_connections_during_the_delay_and_announces_the_close() -> (
    None
):
    async with running(delay=FOREVER) as it:
        old = await it.connect()
        old.send("/")
        assert CLOSE not in await old.answer()
        silent = await it.connect()
        it.server.end()
        assert it.lifecycle.draining
        new = await it.connect()
        for client in (new, old, silent):
            client.send("/")
            assert CLOSE in await client.answer()
            assert await client.rest() == b""
        assert not it.task.done()


async def test_a_request_in_flight_when_the_drain_begins_is_answered_with_close() -> None:
    async with running() as it:
        client = await it.connect()
        client.send("/held")
        await it.app.asked.wait()
        it.server.end()
        await until(lambda: not it.server.servers[0].is_serving())
        it.app.may_answer.set()
        assert CLOSE in await client.answer()
        assert await client.rest() == b""
        await it.ended()


async def test_of_requests_pipelined_before_the_drain_only_the_last_answer_says_close() -> None:
    await pipelines(draining=False)


async def test_of_requests_pipelined_in_the_drain_only_the_last_answer_says_close() -> None:
    await pipelines(draining=True)


async def pipelines(*, draining: bool) -> None:
    async with running(delay=FOREVER) as it:
        client = await it.connect()
        if draining:
            it.server.end()
            await until(lambda: it.server.announced)
        client.send("/held", "/", "/")
        await it.app.asked.wait()
        if not draining:
            it.server.end()
            await until(lambda: it.server.announced)
        it.app.may_answer.set()
        assert [CLOSE in await client.answer() for _ in range(3)] == [False, False, True]
        assert await client.rest() == b""


async def test_a_request_that_has_arrived_in_part_is_answered() -> None:
    async with running() as it:
        client = await it.connect()
        client.writer.write(b"GET / HTTP/1.1\r\nhos")
        await until(lambda: any(not one.is_idle for one in connections(it.server)))
        it.server.end()
        await until(lambda: not it.server.servers[0].is_serving())
        client.writer.write(b"t: it\r\n\r\n")
        assert CLOSE in await client.answer()
        await it.ended()


async def test_idle_connections_are_closed_after_the_delay_and_the_process_ends() -> None:
    async with running() as it:
        client = await it.connect()
        client.send("/")
        await client.answer()
        it.server.end()
        assert await client.rest() == b""
        client.writer.close()
        await it.ended()
        assert it.server.clean


async def test_a_client_can_read_the_whole_answer_while_it_still_sends() -> None:
    async with running(delay=FOREVER) as it:
        client = await it.connect()
        it.server.end()
        client.writer.write(b"POST / HTTP/1.1\r\nhost: it\r\ncontent-length: 100000\r\n\r\n")
        await until(lambda: it.app.answered)
        for _ in range(10):  # a closed socket would answer this with a reset
            client.writer.write(b"x" * 1000)
            await client.writer.drain()
            await asyncio.sleep(0)
        assert CLOSE in await client.answer()
        assert await client.rest() == b""


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_left_at_the_end_gets_a_503_problem(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(seconds=0.01) as it:
        client, piped = await it.connect(), await it.connect()
        client.send("/held", method=method)
        piped.send("/held", "/")
        await until(lambda: len(it.server.server_state.tasks) == 2)
        with caplog.at_level(logging.WARNING):
            it.server.end()
            head = await client.head()
            assert head.startswith(b"http/1.1 503 ")
            assert b"content-type: application/problem+json" in head
            assert b"retry-after: 1" in head
            assert CLOSE in head
            body = await client.rest()
            assert body.startswith(b'{"type":"about:blank"') if method == "GET" else body == b""
            assert (await piped.rest()).startswith(b"HTTP/1.1 503 ")
            await it.ended()
        warnings = [one for one in caplog.records if one.levelno >= logging.WARNING]
        assert [warning.exc_info for warning in warnings] == [None]
        assert not it.server.server_state.tasks


async def test_an_answer_that_has_begun_is_cut_off_at_the_end() -> None:
    async with running(seconds=0.01) as it:
        client = await it.connect()
        client.send("/begun")
        assert (await client.head()).startswith(b"http/1.1 200")
        assert await client.reader.readexactly(1) == b"o"
        it.server.end()
        try:
            rest = await client.rest()
        except ConnectionResetError:
            rest = b""
        assert rest == b""
        await it.ended()


async def test_a_second_signal_ends_it_at_once() -> None:
    async with running(delay=FOREVER, seconds=FOREVER) as it:
        client = await it.connect()
        client.send("/held")
        await it.app.asked.wait()
        it.server.end()
        await until(lambda: it.server.announced)
        assert not it.task.done()
        it.server.end()
        assert (await client.head()).startswith(b"http/1.1 503 ")
        await it.ended()


async def test_a_connection_that_waits_to_be_accepted_is_served_before_the_socket_closes() -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Where it does nothing, nothing waits for handshakes either.
        patch.setattr("gateway.server.server.turn_away", lambda _: False)
        await serves_what_waits()
    await serves_what_waits()


async def serves_what_waits() -> None:
    async with running() as it:
        late = [socket.create_connection(it.address) for _ in range(20)]
        for one in late:
            one.sendall(b"GET / HTTP/1.1\r\nhost: it\r\n\r\n")
        # The loop has not run since, so all of them wait in the queue of the socket.
        it.server.end()
        await it.server._stop_listening([it.listener], asyncio.get_running_loop().time() + 90)
        for one in late:
            one.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=one)
            async with asyncio.timeout(90):
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.close()


class Fake:
    """A connection that the application sees as idle."""

    is_idle = True

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.closed = False

    def fileno(self) -> int:
        return self.descriptor

    def close_idle(self) -> None:
        self.closed = True
        self.is_idle = False


def test_an_idle_connection_is_closed_only_when_nothing_has_arrived(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.server.server._connections", list)
    ours, theirs = socket.socketpair()
    other, end = socket.socketpair()
    with ours, theirs, other, end:
        asked, quiet, busy = Fake(ours.fileno()), Fake(other.fileno()), Fake(-1)
        busy.is_idle = False
        idle = _Idle([asked, quiet, busy])
        idle.look(10)
        assert idle.close(10.4) == 2  # not quiet for long enough
        assert not quiet.closed
        theirs.send(b"GET")  # the event loop has not read it yet
        assert idle.close(10.6) == 1
        assert (asked.closed, quiet.closed, busy.closed) == (False, True, False)
        asked.is_idle = False  # it is served, and idle again
        assert idle.close(10.7) == 0
        asked.is_idle = True
        ours.recv(10)
        assert idle.close(11) == 1
        assert not asked.closed
        assert idle.close(11.5) == 0
        assert asked.closed


async def test_it_can_be_told_to_end_before_it_has_started() -> None:
    async with running(delay=FOREVER) as it:
        it.server.end(delay=False)
        await it.ended()


@pytest.mark.parametrize(
    "drain",
    [
        test_it_serves_new_and_open_connections_during_the_delay_and_announces_the_close,
        test_a_request_in_flight_when_the_drain_begins_is_answered_with_close,
        test_of_requests_pipelined_before_the_drain_only_the_last_answer_says_close,
        test_of_requests_pipelined_in_the_drain_only_the_last_answer_says_close,
        test_idle_connections_are_closed_after_the_delay_and_the_process_ends,
        test_a_client_can_read_the_whole_answer_while_it_still_sends,
        test_an_answer_that_has_begun_is_cut_off_at_the_end,
        test_a_second_signal_ends_it_at_once,
        test_a_connection_that_waits_to_be_accepted_is_served_before_the_socket_closes,
    ],
)
def test_it_is_the_same_on_uvloop(drain: Callable[[], Coroutine[Any, Any, None]]) -> None:
    pytest.importorskip("uvloop").run(drain())


async def test_what_the_log_left_out_is_written_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "gateway.server"):
        async with running() as it:
            for _ in range(5):
                client = await it.connect()
                client.writer.write(b"garbage\r\n\r\n")
                assert b" 400 " in await client.rest()
            it.server.end()
            await it.ended()
    _, last = [r for r in caplog.records if "was refused with 400" in r.getMessage()]
    assert last.getMessage().endswith("; and 3 more since the last line")
