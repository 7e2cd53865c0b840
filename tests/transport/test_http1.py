"""The HTTP/1.1 transport against a server that misbehaves."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
from typing import Any

import httpx
import pytest

from gateway.transport import (
    AnswerTooLarge,
    Bounds,
    Http1Transport,
    InflatedTooLarge,
    Origin,
    RawAnswer,
)
from gateway.transport.pools import PoolLimits
from tests.fault_server import (
    UNRESOLVABLE,
    Asked,
    FaultServer,
    Peer,
    Script,
    answer,
    chunked,
    deflated,
    drip,
    encoded,
    endless,
    gzip_bomb,
    hang,
    header_flood,
    in_parts,
    in_turn,
    once_per_connection,
    redirect,
    then_close,
    then_reset,
    whole,
)
from tests.ports import refused
from tests.waiting import until

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
GOOD = answer(body=b'{"a": 1}')


async def get(
    transport: Http1Transport, script: Script, method: str = "GET", timeout: float = 60, **more: Any
) -> RawAnswer:
    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        return await transport.exchange(origin, method, b"/", timeout=timeout, **more)


# Answers


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (GOOD, b'{"a": 1}'),
        (answer(body=b""), b""),
        (chunked([b"ab", b"cd"]), b"abcd"),
        (chunked([]), b""),
        (
            OK + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nx",
            b"x",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + GOOD, b'{"a": 1}'),
        (answer(204, b""), b""),
        (b"HTTP/1.1 304 Same\r\ncontent-length: 10\r\n\r\n", b""),
    ],
)
@pytest.mark.parametrize("way", [whole, drip])
async def test_a_whole_answer_and_the_connection_goes_on(
    transport: Http1Transport, raw: bytes, body: bytes, way: Any
) -> None:
    async with FaultServer(default=way(raw)) as server:
        origin = Origin.of(server.url)
        for _ in range(2):
            got = await transport.exchange(origin, "GET", b"/", timeout=60)
            assert got.body == body
        assert server.connections == 1
        assert transport.pools[0].idle == 1


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        OK + b"connection: close\r\n\r\nuntil the end",
    ],
)
async def test_a_body_that_ends_with_the_connection(transport: Http1Transport, raw: bytes) -> None:
    got = await get(transport, then_close(raw))
    assert got.body == b"until the end"
    assert transport.pools[0].slots == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\nx",
        OK + b"connection: close\r\ncontent-length: 1\r\n\r\nx",
        GOOD + b"\r\n",
        GOOD + b"surplus",
        GOOD + GOOD,
        answer(body=b"\n") + b"\n",
        answer(204, b"") + b"\n",
        chunked([b"x"]) + b"\r\n",
        OK + b"content-length: 2\r\nconnection: close\r\n\r\nxxyy",
    ],
)
async def test_a_connection_that_must_not_be_used_again(
    transport: Http1Transport, raw: bytes
) -> None:
    async with FaultServer(default=whole(raw)) as server:
        origin = Origin.of(server.url)
        for _ in range(2):
            got = await transport.exchange(origin, "GET", b"/", timeout=60)
            assert got.status in {200, 204}
            assert len(got.headers) < 4
        assert server.connections == 2


async def test_bytes_on_an_idle_connection_end_it(transport: Http1Transport) -> None:
    late = asyncio.Event()

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(GOOD)
        await late.wait()
        await peer.send(GOOD)
        return True

    async with FaultServer(default=script) as server:
        await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        pool = transport.pools[0]
        assert pool.idle == 1
        late.set()
        await until(lambda: pool.slots == 0)


async def test_an_idle_connection_that_the_server_closes_is_forgotten(
    transport: Http1Transport,
) -> None:
    async with FaultServer(default=then_close(GOOD)) as server:
        await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        await until(lambda: transport.pools[0].slots == 0)


async def test_head_has_no_body_and_keeps_the_connection(transport: Http1Transport) -> None:
    head = OK + b"content-length: 5\r\ncontent-encoding: br\r\n\r\n"

    async def script(peer: Peer, asked: Asked) -> bool:
        await peer.send(head if asked.method == "HEAD" else answer(body=b"hello"))
        return True

    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        for method in ("HEAD", "GET", "HEAD", "GET"):
            got = await transport.exchange(origin, method, b"/", timeout=60)
            assert got.body == (b"" if method == "HEAD" else b"hello")
        assert server.connections == 1


async def test_a_head_answer_with_a_body_after_all(transport: Http1Transport) -> None:
    async with FaultServer(default=whole(GOOD)) as server:
        origin = Origin.of(server.url)
        for _ in range(2):
            assert (await transport.exchange(origin, "HEAD", b"/", timeout=60)).body == b""
        assert server.connections == 2


async def test_header_fields_come_in_lower_case_and_without_trailers(
    transport: Http1Transport,
) -> None:
    raw = (
        b"HTTP/1.1 200 Fine\r\nX-A:  1 \r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
        b"0\r\nX-Trailer: t\r\nContent-Encoding: gzip\r\n\r\n"
    )
    got = await get(transport, whole(raw))
    assert got.headers == [
        (b"x-a", b"1"),
        (b"set-cookie", b"a"),
        (b"set-cookie", b"b"),
        (b"transfer-encoding", b"chunked"),
    ]
    assert (got.status, got.reason, got.http_version) == (200, b"Fine", "HTTP/1.1")
    assert repr(got) == "RawAnswer(200, 1 bytes)"


async def test_no_cookie_and_no_redirect(transport: Http1Transport) -> None:
    async with FaultServer() as canary, FaultServer() as server:
        server.scripts["/"] = whole(redirect(canary.url))
        server.scripts["/cookie"] = whole(answer(headers=[("set-cookie", "a=b")]))
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/cookie", timeout=60)
        got = await transport.exchange(origin, "GET", b"/", timeout=60)
        assert got.status == 302
        assert canary.connections == 0
        assert server.asked[-1].header(b"cookie") is None


# Requests


async def test_what_goes_over_the_wire(transport: Http1Transport) -> None:
    async with FaultServer(default=whole(GOOD)) as server:
        origin = Origin.of(server.url, headers=[(b"accept", b"application/json")])
        await transport.exchange(
            origin, "POST", b"/a?b=%20", [(b"x-left", b"12")], b"body", timeout=5
        )
        await transport.exchange(origin, "GET", b"/", timeout=60)
        posted, got = server.asked
        assert (posted.method, posted.target, posted.body) == ("POST", "/a?b=%20", b"body")
        assert posted.headers == (
            (b"host", f"127.0.0.1:{server.port}".encode()),
            (b"accept", b"application/json"),
            (b"x-left", b"12"),
            (b"content-length", b"4"),
        )
        assert got.headers == posted.headers[:2]


async def test_an_answer_before_the_request_is_taken_ends_the_connection() -> None:
    async def greeting(peer: Peer) -> bool:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(answer(413))
        await asyncio.Event().wait()
        return False

    transport = Http1Transport()
    async with FaultServer(greeting=greeting) as server:
        got = await transport.exchange(
            Origin.of(server.url), "POST", b"/", body=bytes(8 << 20), timeout=5
        )
        assert got.status == 413
        assert transport.pools[0].slots == 0
    await transport.aclose()


# Failures


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (then_close(), httpx.RemoteProtocolError),
        (then_close(OK + b"x: "), httpx.RemoteProtocolError),
        (then_close(answer(body=b"abc", length=9)), httpx.RemoteProtocolError),
        (then_close(chunked([b"abc"])[:-7]), httpx.RemoteProtocolError),
        (then_reset(), httpx.ReadError),
        (then_reset(answer(body=b"abc", length=9)), httpx.ReadError),
        (then_reset(OK + b"\r\nabc"), httpx.ReadError),
        (whole(CHUNKED + b"zz\r\n"), httpx.RemoteProtocolError),
        (whole(b"SSH-2.0-OpenSSH_9.2\r\n"), httpx.RemoteProtocolError),
        (whole(b"HTTP/1.1 101 Switch\r\nupgrade: x\r\n\r\n"), httpx.RemoteProtocolError),
        (whole(b"HTTP/2.0 200 OK\r\n\r\n"), httpx.RemoteProtocolError),
        (whole(answer(headers=[("transfer-encoding", "chunked")])), httpx.RemoteProtocolError),
        (whole(OK + b"transfer-encoding: gzip, chunked\r\n\r\n"), httpx.RemoteProtocolError),
        (whole(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nx"), httpx.RemoteProtocolError),
        (whole(b"HTTP/1.1 200 \x0c\r\ncontent-length: 0\r\n\r\n"), httpx.RemoteProtocolError),
        (whole(OK + b"content-length: 000000000000000000001\r\n\r\nx"), httpx.RemoteProtocolError),
        (whole(b"\r\n" + GOOD), httpx.RemoteProtocolError),
        (hang(OK + b"content-length: 100001\r\n\r\n"), AnswerTooLarge),
        (hang(), httpx.ReadTimeout),
        (hang(OK + b"content-le"), httpx.ReadTimeout),
        (hang(answer(body=b"abc", length=9)), httpx.ReadTimeout),
        (whole(header_flood(51)), AnswerTooLarge),
        (whole(header_flood(40, 300)), AnswerTooLarge),
        (in_parts(*[b"HTTP/1.1 100 On\r\n\r\n" * 50] * 20), AnswerTooLarge),
        (endless(OK + b"content-length: 2147483648\r\n\r\n"), AnswerTooLarge),
        (endless(OK + b"\r\n"), AnswerTooLarge),
        (endless(CHUNKED + b"1;"), AnswerTooLarge),
        (endless(CHUNKED + b"0\r\n", b"a: b\r\n" * 9000), AnswerTooLarge),
        (whole(encoded(gzip_bomb(1 << 20), "gzip")), InflatedTooLarge),
        (whole(encoded(gzip_bomb(1 << 20, layers=2), "gzip, gzip")), httpx.DecodingError),
        (whole(encoded(b"{}", "br")), httpx.DecodingError),
        (whole(encoded(b"{}", "gzip")), httpx.DecodingError),
        (whole(encoded(gzip.compress(b"x" * 99, mtime=0)[:-3], "gzip")), httpx.DecodingError),
    ],
)  # fmt: skip
async def test_every_fault_has_its_error_and_frees_its_slot(
    transport: Http1Transport, script: Script, error: type[Exception]
) -> None:
    seconds = 0.3 if error is httpx.ReadTimeout else 60
    async with FaultServer(default=script) as server:
        with pytest.raises(error) as raised:
            await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=seconds)
        assert raised.type is error
        await until(lambda: all(pool.slots == pool.idle for pool in transport.pools))


async def test_time_is_for_the_whole_answer(transport: Http1Transport) -> None:
    async with FaultServer(default=drip(answer(body=b"x" * 500), 0.03, step=10)) as server:
        with pytest.raises(httpx.ReadTimeout):
            await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=0.1)


async def test_refused_unresolvable_and_unpronounceable_are_connect_errors(
    transport: Http1Transport,
) -> None:
    with refused() as closed:
        for host, port in (("127.0.0.1", closed), (UNRESOLVABLE, 80), ("a" * 64 + ".x", 80)):
            with pytest.raises(httpx.ConnectError):
                await transport.exchange(Origin("http", host, port), "GET", b"/", timeout=60)


async def test_a_connection_that_does_not_come_is_a_connect_timeout() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        origin = Origin("http", "127.0.0.1", port)
        transport = Http1Transport(PoolLimits(connect_timeout=0.05))
        with pytest.raises(httpx.ConnectTimeout):
            await transport.exchange(origin, "GET", b"/")
        with pytest.raises(httpx.ConnectTimeout):
            await transport.exchange(origin, "GET", b"/", timeout=0.02)
        await transport.aclose()
        for filler in fillers:
            filler.close()


async def test_a_request_that_is_not_taken_is_a_write_timeout(transport: Http1Transport) -> None:
    async def greeting(peer: Peer) -> bool:
        await asyncio.Event().wait()
        return False

    async with FaultServer(greeting=greeting) as server:
        body = bytes(16 << 20)
        with pytest.raises(httpx.WriteTimeout):
            await transport.exchange(Origin.of(server.url), "PUT", b"/", body=body, timeout=0.1)


async def test_no_free_connection_is_a_pool_timeout() -> None:
    transport = Http1Transport(PoolLimits(max_connections=1))
    async with FaultServer(default=hang()) as server:
        origin = Origin.of(server.url)
        busy = asyncio.ensure_future(transport.exchange(origin, "GET", b"/"))
        await until(lambda: server.asked != [])
        with pytest.raises(httpx.PoolTimeout):
            await transport.exchange(origin, "GET", b"/", timeout=0.02)
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)
        assert transport.pools[0].slots == 0
    await transport.aclose()


# A kept-alive connection that dies


async def test_an_idempotent_request_is_sent_again_on_a_fresh_connection(
    transport: Http1Transport,
) -> None:
    async with FaultServer(default=once_per_connection(GOOD)) as server:
        for _ in range(3):
            await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        assert len(server.asked) == 5
        assert server.connections == 3
        assert transport.pools[0].slots == 1


async def test_a_request_that_is_not_idempotent_is_not_sent_again(
    transport: Http1Transport,
) -> None:
    async with FaultServer(default=once_per_connection(GOOD)) as server:
        origin = Origin.of(server.url)
        await transport.exchange(origin, "POST", b"/", timeout=60)
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.exchange(origin, "POST", b"/", timeout=60)
        assert len(server.asked) == 2


async def test_it_is_sent_again_only_once_and_only_before_a_byte_of_the_answer(
    transport: Http1Transport,
) -> None:
    script = in_turn(whole(GOOD), then_close())
    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/", timeout=60)
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.exchange(origin, "GET", b"/", timeout=60)
        assert len(server.asked) == 3
    script = in_turn(whole(GOOD), then_close(b"HTTP"))
    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/", timeout=60)
        with pytest.raises(httpx.RemoteProtocolError):
            await transport.exchange(origin, "GET", b"/", timeout=60)
        assert len(server.asked) == 2


async def test_a_restarted_server_is_found_again(transport: Http1Transport) -> None:
    server = FaultServer(default=whole(GOOD))
    await server.start()
    origin = Origin.of(server.url)
    await transport.exchange(origin, "GET", b"/", timeout=60)
    await server.stop()
    with pytest.raises(httpx.ConnectError):
        await transport.exchange(origin, "GET", b"/", timeout=60)
    await server.start(server.port)
    await transport.exchange(origin, "GET", b"/", timeout=60)
    await server.stop()


# Content coding


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"content" * 50, mtime=0)),
        ("x-gzip", gzip.compress(b"content" * 50, mtime=0)),
        ("GZIP, identity", gzip.compress(b"content" * 50, mtime=0)),
        ("gzip", gzip.compress(b"content" * 20, mtime=0) + gzip.compress(b"content" * 30, mtime=0)),
        ("deflate", deflated(b"content" * 50)),
        ("deflate", deflated(b"content" * 50, wrapped=False)),
        ("identity", b"content" * 50),
    ],
)
async def test_content_is_inflated_and_its_fields_go(
    transport: Http1Transport, coding: str, body: bytes
) -> None:
    got = await get(transport, whole(encoded(body, coding)))
    assert got.body == b"content" * 50
    names = [name for name, _ in got.headers]
    assert (b"content-encoding" in names) == (b"content-length" in names) == (coding == "identity")


@pytest.mark.no_cover
async def test_crumbs_and_bombs_take_no_more_memory_than_the_bound() -> None:
    transport = Http1Transport(
        bounds=Bounds(max_body=1 << 20, max_inflated=8 << 20, max_framing=2 << 20)
    )
    crumbs = OK + b"transfer-encoding: chunked\r\n\r\n" + b"2\r\nab\r\n" * (1 << 18) + b"0\r\n\r\n"
    bomb = encoded(gzip_bomb(64 << 20), "gzip")
    async with FaultServer({"/crumbs": whole(crumbs), "/bomb": whole(bomb)}) as server:
        origin = Origin.of(server.url)
        tracemalloc.start()
        got = await transport.exchange(origin, "GET", b"/crumbs", timeout=60)
        assert got.body == b"ab" * (1 << 18)
        del got
        _, crumbs_peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        with pytest.raises(InflatedTooLarge):
            await transport.exchange(origin, "GET", b"/bomb", timeout=60)
        _, bomb_peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # The server's own buffer of the crumbs is part of it.
        assert crumbs_peak < (1 << 20) + (4 << 20) + len(crumbs)
        assert bomb_peak < (8 << 20) + (8 << 20)
    await transport.aclose()


async def test_inflating_stops_at_the_deadline(transport: Http1Transport) -> None:
    roomy = Http1Transport(bounds=Bounds(max_inflated=1 << 30))
    with pytest.raises(httpx.ReadTimeout):
        await get(roomy, whole(encoded(gzip_bomb(128 << 20), "gzip")), timeout=0.05)
    await roomy.aclose()


# The end


async def test_closing_ends_calls_in_flight_in_line_and_connecting() -> None:
    transport = Http1Transport(PoolLimits(max_connections=2))
    async with FaultServer(default=hang()) as server:
        origin = Origin.of(server.url)
        calls = [asyncio.ensure_future(transport.exchange(origin, "GET", b"/")) for _ in range(3)]
        await until(lambda: len(server.asked) == 2)
        other = Origin("http", "localhost", server.port)
        calls.append(asyncio.ensure_future(transport.exchange(other, "GET", b"/")))
        await asyncio.sleep(0)
        await transport.aclose()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [
            httpx.ReadError,
            httpx.ReadError,
            httpx.ConnectError,
            httpx.ConnectError,
        ]
        assert [pool.slots for pool in transport.pools] == [0, 0]
        with pytest.raises(httpx.ConnectError):
            await transport.exchange(origin, "GET", b"/")
        with pytest.raises(httpx.ConnectError):
            await transport.exchange(Origin("http", "elsewhere"), "GET", b"/")


async def test_pools_of_origins_that_are_not_used_any_more_go(transport: Http1Transport) -> None:
    with refused() as port:
        for n in range(70):
            origin = Origin("http", f"127.0.1.{n}", port)
            with pytest.raises(httpx.ConnectError):
                await transport.exchange(origin, "GET", b"/", timeout=60)
    assert len(transport.pools) < 65


# Without a task


class Receiving:
    """Notes what it receives, and fails if it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.received: list[Any] = []

    def answered(self, context: Any, answer: RawAnswer) -> None:
        self.received.append((context, answer.body))
        if self.error is not None:
            raise self.error

    def failed(self, context: Any, error: Exception) -> None:
        self.received.append((context, type(error)))

    def waits_for(self, context: Any, answer: Any) -> None:
        self.received.append((context, answer))


async def test_an_idle_connection_is_sent_on_and_calls_back(transport: Http1Transport) -> None:
    receiver = Receiving()
    async with FaultServer(default=whole(GOOD)) as server:
        origin = Origin.of(server.url)
        assert transport.send(origin, "GET", origin.request("GET", b"/"), receiver, 1) is None
        await transport.exchange(origin, "GET", b"/", timeout=60)
        assert transport.send(origin, "GET", origin.request("GET", b"/"), receiver, 2) is not None
        await until(lambda: receiver.received)
        assert receiver.received == [(2, b'{"a": 1}')]
        (pool,) = transport.pools
        assert (pool.slots, pool.idle) == (1, 1)


async def test_what_a_receiver_raises_neither_ends_the_connection_nor_frees_it_twice(
    transport: Http1Transport,
) -> None:
    reported: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, what: reported.append(str(what["exception"])))
    async with FaultServer(default=whole(GOOD)) as server:
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/", timeout=60)
        sent = transport.send(
            origin, "GET", origin.request("GET", b"/"), Receiving(ValueError("a bug")), 1
        )
        assert sent is not None
        await until(lambda: reported)
        sent.cancel()
        (pool,) = transport.pools
        assert (pool.slots, pool.idle) == (1, 1)
        assert (await transport.exchange(origin, "GET", b"/", timeout=60)).status == 200
    assert reported == ["a bug"]
    loop.set_exception_handler(None)


async def test_a_cancelled_request_frees_its_slot_once(transport: Http1Transport) -> None:
    receiver = Receiving()
    async with FaultServer(default=in_turn(whole(GOOD), hang())) as server:
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/", timeout=60)
        sent = transport.send(origin, "GET", origin.request("GET", b"/"), receiver, 1)
        assert sent is not None
        sent.cancel()
        sent.cancel()
        (pool,) = transport.pools
        assert (pool.slots, pool.idle) == (0, 0)
        assert not receiver.received
