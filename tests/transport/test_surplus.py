"""Bytes that answer no request: they are refused, and they put their origin in quarantine.

Each test runs over both transports.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.transport import (
    AnswerTooLarge,
    Bounds,
    Exchange,
    Http1Transport,
    HttpxTransport,
    Origin,
)
from gateway.transport.pools import PoolLimits
from tests.fault_server import Asked, Authority, FaultServer, Peer, answer, chunked, whole
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

Transport = Http1Transport | HttpxTransport
POISON = answer(body=b"poison")


@pytest.fixture(params=[Http1Transport, HttpxTransport])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    transport: Transport = request.param(PoolLimits(4))
    yield transport
    await transport.aclose()


def echoing(make: Callable[[bytes], bytes]) -> FaultServer:
    """Return a server that sends `make(target)`."""

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(make(asked.target.encode()))
        return True

    return FaultServer(default=script)


async def ask(transport: Exchange, origin: Origin, target: bytes) -> bytes:
    return (await transport.exchange(origin, "GET", target, timeout=60)).body


@pytest.mark.parametrize(
    "make",
    [
        lambda target: answer(body=target) + POISON,
        lambda target: chunked([target]) + POISON,
        lambda target: chunked([target]) + chunked([b"poison"]),
        lambda target: answer(204, b"") + POISON,
        lambda target: answer(body=target) + b"garbage",
    ],
)
async def test_an_answer_behind_an_answer_is_never_the_next_one(
    transport: Transport, make: Callable[[bytes], bytes]
) -> None:
    async with echoing(make) as server:
        origin = Origin.of(server.url)
        for n in range(20):
            target = b"/%d" % n
            assert await ask(transport, origin, target) in {target, b""}
        assert server.connections == 20
        assert transport.pools[0].quarantined


async def test_answers_without_content_leave_nothing_and_keep_the_connection(
    transport: Transport,
) -> None:
    async def script(peer: Peer, asked: Asked) -> bool:
        empty = answer(body=b"", length=5) if asked.method == "HEAD" else answer(204, b"")
        await peer.send(empty)
        return True

    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        for method in ("HEAD", "GET", "HEAD", "DELETE"):
            got = await transport.exchange(origin, method, b"/", timeout=5)
            assert got.body == b""
        assert server.connections == 1
        assert not transport.pools[0].quarantined


async def test_line_breaks_behind_an_answer_cost_its_connection_and_no_quarantine(
    transport: Transport,
) -> None:
    async with echoing(lambda target: answer(body=target) + b"\r\n") as server:
        origin = Origin.of(server.url)
        for n in range(4):
            assert await ask(transport, origin, b"/%d" % n) == b"/%d" % n
        assert server.connections == len(server.asked) == 4
        assert not transport.pools[0].quarantined


@pytest.mark.parametrize(
    ("late", "quarantined"), [(POISON, True), (answer(408, b""), False), (b"", False)]
)
async def test_bytes_on_an_idle_connection_end_it_and_a_goodbye_is_forgiven(
    transport: Transport, late: bytes, quarantined: bool
) -> None:
    go = asyncio.Event()

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(answer(body=asked.target.encode()))
        await go.wait()
        if late:
            await peer.send(late)
        return False

    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        assert await ask(transport, origin, b"/1") == b"/1"
        (pool,) = transport.pools
        assert pool.idle == 1
        go.set()
        await until(lambda: not pool.slots)
        assert (pool.slots, pool.idle) == (0, 0)
        assert pool.quarantined is quarantined


async def test_an_offence_closes_every_idle_connection_and_ends_reuse_for_a_while(
    transport: Transport,
) -> None:
    at_once = asyncio.Barrier(3)

    async def script(peer: Peer, asked: Asked) -> bool:
        if asked.path == "/together":
            await at_once.wait()
        good = answer(body=asked.target.encode())
        await peer.send(good + POISON if asked.path == "/bad" else good)
        return True

    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        await asyncio.gather(*(ask(transport, origin, b"/together") for _ in range(3)))
        (pool,) = transport.pools
        assert pool.idle == 3
        assert await ask(transport, origin, b"/bad") == b"/bad"
        assert (pool.slots, pool.idle) == (0, 0)
        for _ in range(3):
            assert await ask(transport, origin, b"/good") == b"/good"
        assert (pool.slots, pool.idle) == (0, 0)
        assert server.connections == 6


@pytest.mark.parametrize("kind", [Http1Transport, HttpxTransport])
async def test_reuse_goes_on_where_quarantines_are_off(kind: type[Transport]) -> None:
    transport = kind(PoolLimits(quarantine=0))
    bad = iter([True])
    async with echoing(
        lambda target: answer(body=target) + (POISON if next(bad, False) else b"")
    ) as server:
        origin = Origin.of(server.url)
        for _ in range(4):
            assert await ask(transport, origin, b"/") == b"/"
        assert server.connections == 2
    await transport.aclose()


@contextlib.contextmanager
def unsolicited() -> Iterator[tuple[int, Callable[[], None], list[bytes]]]:
    """Serve in a thread: yield the port, what makes each connection send an answer, the requests.

    The bytes are in the client's socket when that returns, and its loop did not run meanwhile.
    """
    asked: list[bytes] = []
    peers: list[socket.socket] = []

    def serve(peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := peer.recv(65536):
                asked.append(data)
                peer.sendall(answer(body=b"true"))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listener.accept()
                peers.append(peer)
                threading.Thread(target=serve, args=(peer,), daemon=True).start()

    def send() -> None:
        for peer in peers:
            peer.sendall(POISON)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], send, asked
        for peer in peers:
            peer.close()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_bytes_unread_in_the_socket_when_a_request_is_written_are_not_its_answer(
    transport: Transport, method: str
) -> None:
    with unsolicited() as (port, send, asked):
        origin = Origin("http", "127.0.0.1", port)
        assert (await transport.exchange(origin, method, b"/1", timeout=60)).body == b"true"
        # The loop has no turn in which it could read them.
        send()
        assert (await transport.exchange(origin, method, b"/2", timeout=60)).body == b"true"
        assert len(asked) == 2
        await until(lambda: transport.pools[0].quarantined)


async def test_surplus_is_refused_over_tls_too() -> None:
    authority = Authority()
    trusting = ssl.create_default_context()
    authority.ca.configure_trust(trusting)
    for kind in (Http1Transport, HttpxTransport):
        transport: Transport = kind(tls=trusting)
        async with FaultServer(
            default=whole(answer(body=b"good") + POISON), tls=authority.context()
        ) as server:
            origin = Origin.of(server.url)
            for _ in range(4):
                assert await ask(transport, origin, b"/") == b"good"
            assert server.connections == 4
            assert transport.pools[0].quarantined
        await transport.aclose()


@pytest.mark.parametrize("kind", [Http1Transport, HttpxTransport])
@pytest.mark.parametrize(
    "body",
    [
        b"1\r\nx\r\n" * 4000,
        b"5;%b\r\nhello\r\n" % (b"x" * 30_000),
        b"5\r\nhello\r\n0\r\n" + b"a: b\r\n" * 4000,
    ],
)
async def test_framing_is_bounded_beside_the_content(kind: type[Transport], body: bytes) -> None:
    raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body
    head, rest = raw[:100], raw[100:]

    async def script(peer: Peer, asked: Asked) -> bool:
        # The head goes first: what comes with it is not counted as framing.
        await peer.send(head)
        await asyncio.sleep(0.02)
        await peer.send(rest)
        await asyncio.Event().wait()
        return False

    transport = kind(bounds=Bounds(max_framing=10_000))
    async with FaultServer(default=script) as server:
        with pytest.raises(AnswerTooLarge, match="framing"):
            await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        assert transport.pools[0].slots == 0
    await transport.aclose()
