"""httpcore's connections without its pool: HTTP/2, proxies, and callers that leave early."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import httpcore
import httpx
import pytest

from gateway.transport import AnswerTooLarge, Bounds, HttpxTransport, Origin, channels
from gateway.transport.channels import Channel, Channels
from gateway.transport.pools import PoolLimits
from tests.fault_server import (
    Asked,
    Authority,
    FaultServer,
    Peer,
    answer,
    hang,
    in_turn,
    once_per_connection,
    then_close,
    whole,
)
from tests.http2_server import Http2Server
from tests.proxy_server import ProxyServer
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


SLOTS = 10
CALLS = 3000
AT_ONCE = 60


def only_pool(transport: HttpxTransport) -> Channels:
    (pool,) = transport.pools
    return pool


def sockets() -> int:
    fds = Path("/proc/self/fd")
    return len(list(fds.iterdir())) if fds.exists() else 0


async def leave_early(
    transport: HttpxTransport, origin: Origin, *, calls: int, timeout: float, share: float = 0.3
) -> Counter[str]:
    """Make many calls, of which a share is cancelled at a random moment."""
    rng = random.Random(5)
    outcomes: Counter[str] = Counter()
    numbers = iter(range(calls))

    async def worker() -> None:
        for n in numbers:
            target = b"/%d" % n
            task = asyncio.ensure_future(transport.exchange(origin, "GET", target, timeout=timeout))
            if rng.random() < share:
                if rng.random() < 0.5:
                    for _ in range(rng.randrange(60)):
                        await asyncio.sleep(0)
                else:
                    await asyncio.sleep(rng.random() * 0.02)
                task.cancel()
            try:
                got = await task
                outcomes["right" if got.body == target else "wrong"] += 1
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1
            except httpx.TransportError as error:
                outcomes[type(error).__name__] += 1

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return outcomes


async def all_is_well(transport: HttpxTransport, origin: Origin) -> None:
    """Ten calls succeed, and no slot is taken but by idle connections."""
    pool = only_pool(transport)
    await until(lambda: not pool.waiting and pool.slots == pool.idle)
    got = await asyncio.gather(
        *(transport.exchange(origin, "GET", b"/calm%d" % n, timeout=60) for n in range(10))
    )
    assert [one.body for one in got] == [b"/calm%d" % n for n in range(10)]
    assert pool.slots == pool.idle <= SLOTS


async def echo(peer: Peer, asked: Asked) -> bool:
    await peer.send(answer(body=asked.target.encode()))
    return True


async def disconnects_over_http1() -> None:
    tasks = len(asyncio.all_tasks())
    transport = HttpxTransport(PoolLimits(max_connections=SLOTS))
    async with FaultServer(default=echo) as server:
        before = sockets()
        origin = Origin.of(server.url)
        outcomes = await leave_early(transport, origin, calls=CALLS, timeout=60)
        await all_is_well(transport, origin)
        assert outcomes["wrong"] == 0
        assert outcomes["cancelled"] > CALLS // 10
        assert outcomes["right"] > CALLS // 2
        await transport.aclose()
        assert only_pool(transport).slots == 0
        await until(lambda: server.open == 0)
        await until(lambda: sockets() <= before)
    assert len(asyncio.all_tasks()) == tasks


@pytest.mark.no_cover
def test_callers_that_leave_early_lose_no_connection_on_asyncio() -> None:
    asyncio.run(disconnects_over_http1())


@pytest.mark.no_cover
def test_callers_that_leave_early_lose_no_connection_on_uvloop() -> None:
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(disconnects_over_http1())


async def test_callers_that_time_out_together_lose_no_connection() -> None:
    transport = HttpxTransport(PoolLimits(max_connections=SLOTS))
    async with FaultServer(default=hang()) as server:
        origin = Origin.of(server.url)
        outcomes = await leave_early(transport, origin, calls=300, timeout=0.1)
        assert outcomes["right"] == outcomes["wrong"] == 0
        server.default = echo
        await all_is_well(transport, origin)
    await transport.aclose()


async def test_an_answer_that_fails_loses_no_connection() -> None:
    transport = HttpxTransport(PoolLimits(max_connections=2))
    async with FaultServer(default=then_close(b"HTTP/1.1 200 OK\r\ncontent-le")) as server:
        origin = Origin.of(server.url)
        for _ in range(20):
            with pytest.raises(httpx.RemoteProtocolError):
                await transport.exchange(origin, "POST", b"/", timeout=60)
        assert only_pool(transport).slots == 0
    await transport.aclose()


async def test_a_kept_connection_that_ends_as_we_write_is_replaced() -> None:
    transport = HttpxTransport()
    async with FaultServer(default=once_per_connection(answer(body=b"good"))) as server:
        origin = Origin.of(server.url)
        for _ in range(3):
            assert (await transport.exchange(origin, "GET", b"/", timeout=60)).body == b"good"
        with pytest.raises(httpx.RemoteProtocolError):
            # It may have been received.
            await transport.exchange(origin, "POST", b"/", timeout=60)
    await transport.aclose()


async def test_an_idle_connection_that_the_server_closes_is_forgotten() -> None:
    transport = HttpxTransport()
    async with FaultServer(default=then_close(answer())) as server:
        await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        await until(lambda: only_pool(transport).slots == 0)
    await transport.aclose()


async def test_idle_connections_are_bounded_in_number() -> None:
    transport = HttpxTransport(PoolLimits(max_idle=2))
    together = asyncio.Barrier(4)

    async def script(peer: Peer, asked: Asked) -> bool:
        await together.wait()
        return await echo(peer, asked)

    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        await asyncio.gather(
            *(transport.exchange(origin, "GET", b"/", timeout=60) for _ in range(4))
        )
        pool = only_pool(transport)
        assert (pool.slots, pool.idle) == (2, 2)
        await until(lambda: server.open == 2)
    await transport.aclose()


async def test_idle_connections_are_closed_at_their_age() -> None:
    transport = HttpxTransport(PoolLimits(idle_age=0.05))
    async with FaultServer(default=echo) as server:
        await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        await until(lambda: only_pool(transport).slots == 0)
        await until(lambda: server.open == 0)
    await transport.aclose()


async def test_those_in_line_are_served_in_order_and_the_cancelled_are_skipped() -> None:
    transport = HttpxTransport(PoolLimits(max_connections=1))
    async with FaultServer(default=echo) as server:
        origin = Origin.of(server.url)
        calls = [
            asyncio.ensure_future(transport.exchange(origin, "GET", b"/%d" % n, timeout=60))
            for n in range(6)
        ]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert only_pool(transport).waiting == 5
        calls[2].cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert [asked.target for asked in server.asked] == ["/0", "/1", "/3", "/4", "/5"]
        assert server.connections == 1
    await transport.aclose()


async def test_closing_fails_what_is_in_flight_in_line_and_later() -> None:
    transport = HttpxTransport(PoolLimits(max_connections=1))
    async with FaultServer(default=hang()) as server:
        origin = Origin.of(server.url)
        calls = [
            asyncio.ensure_future(transport.exchange(origin, "GET", b"/", timeout=60))
            for _ in range(3)
        ]
        await until(lambda: bool(server.asked))
        await transport.aclose()
        got = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in got] == [
            httpx.ReadError,
            httpx.ConnectError,
            httpx.ConnectError,
        ]
        assert only_pool(transport).slots == 0
        with pytest.raises(httpx.ConnectError):
            await transport.exchange(origin, "GET", b"/", timeout=60)
        with pytest.raises(httpx.ConnectError):
            await transport.exchange(Origin("http", "127.0.0.1", 1), "GET", b"/", timeout=60)


async def test_closing_fails_http2_exchanges_in_flight_and_cancels_no_caller() -> None:
    async def never(_: bytes) -> None:
        await asyncio.Event().wait()

    async with Http2Server(before=never) as server:
        transport = HttpxTransport(tls=server.trusting, http2=True)
        origin = Origin.of(server.url)
        calls = [
            asyncio.ensure_future(transport.exchange(origin, "GET", b"/%d" % n)) for n in range(3)
        ]
        await until(lambda: len(server.asked) == 3)
        await transport.aclose()
        got = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(one) for one in got] == [httpx.ReadError] * 3
        assert only_pool(transport).slots == 0


async def test_what_is_no_http_is_not_sent() -> None:
    transport = HttpxTransport()
    origin = Origin("http", "127.0.0.1", 1)
    for method, target in (("GET", b"/ x"), ("GET", b"/\r\n"), ("G T", b"/"), ("CONNECT", b"/")):
        with pytest.raises(httpx.LocalProtocolError):
            await transport.exchange(origin, method, target)
    await transport.aclose()


# Slots, without sockets


class Connection(httpcore.AsyncConnectionInterface):
    """httpcore's side of a channel that never speaks."""

    def is_available(self) -> bool:
        return True


def new_channels(max_connections: int = 2, *, multiplexes: bool = True) -> Channels:
    return Channels(
        Origin("https", "a"),
        lambda _: Connection(),
        PoolLimits(max_connections, max_idle=2),
        multiplexes=multiplexes,
        bounds=Bounds(),
    )


async def fails() -> None:
    raise httpx.ConnectError("refused")


async def test_others_wait_until_it_is_known_whether_the_first_connection_speaks_http2() -> None:
    pool = new_channels()
    first = await pool.acquire()
    others = [asyncio.ensure_future(pool.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    assert (pool.slots, pool.waiting) == (1, 3)
    pool.decide(first, 4, http2=True)
    assert await asyncio.gather(*others) == [first] * 3
    assert pool.slots == 1
    assert await pool.acquire() is not first


async def test_connections_are_made_side_by_side_once_http1_is_known() -> None:
    pool = new_channels(max_connections=4)
    first = await pool.acquire()
    pool.decide(first, 1, http2=False)
    others = [await pool.acquire() for _ in range(3)]
    assert len({first, *others}) == pool.slots == 4


async def test_a_connection_that_is_not_made_frees_its_slot_and_lets_the_next_call_try() -> None:
    pool = new_channels(max_connections=1)
    for _ in range(3):
        channel = await pool.acquire()
        behind = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        with pytest.raises(httpx.ConnectError):
            await pool.run(channel, fails())
        second = await behind
        assert second is not channel
        with pytest.raises(httpx.ConnectError):
            await pool.run(second, fails())
        assert (pool.slots, pool.waiting) == (0, 0)


async def test_cancelled_in_the_moment_of_being_served() -> None:
    pool = new_channels(max_connections=1)
    channel = await pool.acquire()
    waiting = asyncio.ensure_future(pool.acquire())
    behind = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)
    running = asyncio.ensure_future(pool.run(channel, fails()))
    while pool.waiting > 1:
        await asyncio.sleep(0)
    waiting.cancel()
    assert isinstance(await asyncio.wait_for(behind, 1), Channel)
    assert waiting.cancelled()
    with pytest.raises(httpx.ConnectError):
        await running
    assert pool.slots == 1


async def test_a_repeated_call_takes_no_connection_that_served_before() -> None:
    pool = new_channels(multiplexes=False, max_connections=2)
    used = [await pool.acquire() for _ in range(2)]
    for channel in used:
        channel.served = 1
        pool._release(channel, unused=True)
    assert (pool.slots, pool.idle) == (2, 2)
    fresh = await pool.acquire(fresh=True)
    assert fresh not in used
    assert pool.slots == 2


# HTTP/2


@pytest.fixture
async def stock() -> AsyncIterator[Callable[..., HttpxTransport]]:
    made: list[HttpxTransport] = []

    def make(server: Http2Server, max_connections: int = SLOTS, **more: Any) -> HttpxTransport:
        limits = PoolLimits(max_connections)
        made.append(HttpxTransport(limits, tls=server.trusting, http2=True, **more))
        return made[-1]

    yield make
    for transport in made:
        await transport.aclose()
        assert all(pool.slots == 0 for pool in transport.pools)


def slow(seconds: float = 0.02) -> Callable[[bytes], Awaitable[None]]:
    async def before(_: bytes) -> None:
        await asyncio.sleep(seconds)

    return before


@pytest.mark.parametrize(
    ("streams", "connections", "at_once"), [(100, 1, 40), (10, 4, 40), (None, SLOTS, SLOTS)]
)
async def test_http2_connections_take_as_many_exchanges_as_the_server_says(
    stock: Callable[..., HttpxTransport], streams: int | None, connections: int, at_once: int
) -> None:
    gate = asyncio.Event()

    async def before(_: bytes) -> None:
        await gate.wait()

    async with Http2Server(before=before, streams=streams) as server:
        transport = stock(server)
        origin = Origin.of(server.url)
        calls = [
            asyncio.ensure_future(transport.exchange(origin, "GET", b"/%d" % n, timeout=30))
            for n in range(40)
        ]
        await until(lambda: len(server.asked) == at_once)
        assert len(server.connections) == connections
        gate.set()
        got = await asyncio.gather(*calls)
        assert [one.body for one in got] == [b"/%d" % n for n in range(40)]
        assert {one.http_version for one in got} == {"HTTP/2"}
        assert len(server.connections) == connections


@pytest.mark.no_cover
async def test_callers_that_leave_early_end_no_http2_connection_and_spoil_no_answer(
    stock: Callable[..., HttpxTransport],
) -> None:
    async with Http2Server(before=slow(0.003)) as server:
        transport = stock(server)
        origin = Origin.of(server.url)
        outcomes = await leave_early(transport, origin, calls=1000, timeout=60)
        assert set(outcomes) == {"right", "cancelled"}
        assert outcomes["cancelled"] > 100
        await all_is_well(transport, origin)
        assert len(server.connections) < 20


async def test_http2_answers_that_never_come_retire_their_connection(
    stock: Callable[..., HttpxTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "_FINISH", 0.05)
    never, later = asyncio.Event(), asyncio.Event()

    async def before(path: bytes) -> None:
        if path == b"/hang":
            await never.wait()
        if path == b"/slow":
            await later.wait()

    async with Http2Server(before=before) as server:
        transport = stock(server)
        origin = Origin.of(server.url)
        pool = None
        await transport.exchange(origin, "GET", b"/first", timeout=60)
        pool = only_pool(transport)
        companion = asyncio.ensure_future(transport.exchange(origin, "GET", b"/slow", timeout=60))
        with pytest.raises(httpx.ReadTimeout):
            await transport.exchange(origin, "GET", b"/hang", timeout=0.05)
        await asyncio.sleep(0.1)
        # It takes no more, and is closed once no caller waits for an answer on it.
        assert (await transport.exchange(origin, "GET", b"/next", timeout=60)).body == b"/next"
        assert len(server.connections) == 2
        later.set()
        assert (await companion).body == b"/slow"
        await until(lambda: pool.slots == pool.idle == 1)
        await until(lambda: server.open == 1)


async def test_many_http2_answers_that_never_come_do_not_block_the_others(
    stock: Callable[..., HttpxTransport],
) -> None:
    never = asyncio.Event()

    async def before(path: bytes) -> None:
        if path.startswith(b"/hang"):
            await never.wait()

    async with Http2Server(before=before, streams=20) as server:
        transport = stock(server, max_connections=2)
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/first", timeout=60)
        calls = [transport.exchange(origin, "GET", b"/hang", timeout=0.1) for _ in range(60)]
        got = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, httpx.TimeoutException) for one in got)
        for n in range(10):
            target = b"/%d" % n
            assert (await transport.exchange(origin, "GET", target, timeout=60)).body == target


async def test_an_idle_http2_connection_that_the_server_closes_is_forgotten(
    stock: Callable[..., HttpxTransport],
) -> None:
    async with Http2Server() as server:
        transport = stock(server)
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/", timeout=60)
        (connection,) = server.connections
        assert connection.transport is not None
        connection.transport.close()
        await until(lambda: only_pool(transport).slots == 0)
        assert (await transport.exchange(origin, "POST", b"/again", timeout=60)).body == b"/again"


async def test_http2_frames_of_nothing_are_bounded(stock: Callable[..., HttpxTransport]) -> None:
    async with Http2Server(frames=lambda path: [b""] * 9000) as server:
        transport = stock(server)
        with pytest.raises(AnswerTooLarge, match="framing"):
            await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        await until(lambda: only_pool(transport).slots == 0)


async def test_content_over_the_bound_ends_an_http2_connection(
    stock: Callable[..., HttpxTransport],
) -> None:
    async with Http2Server(frames=lambda path: [b"x" * 16000] * 2) as server:
        transport = stock(server, bounds=Bounds(max_body=20_000))
        with pytest.raises(AnswerTooLarge):
            await transport.exchange(Origin.of(server.url), "GET", b"/", timeout=60)
        await until(lambda: only_pool(transport).slots == 0)


async def test_an_origin_that_refuses_http2_gets_connections_side_by_side() -> None:
    authority = Authority()
    context = Http2Server().trusting
    authority.ca.configure_trust(context)
    together = asyncio.Barrier(8)

    async def script(peer: Peer, asked: Asked) -> bool:
        if asked.path != "/first":
            await together.wait()
        return await echo(peer, asked)

    transport = HttpxTransport(tls=context, http2=True)
    async with FaultServer(default=script, tls=authority.context()) as server:
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/first", timeout=60)
        got = await asyncio.gather(
            *(transport.exchange(origin, "GET", b"/%d" % n, timeout=60) for n in range(8))
        )
        assert [one.body for one in got] == [b"/%d" % n for n in range(8)]
        assert {one.http_version for one in got} == {"HTTP/1.1"}
        assert server.connections == 8
        # One that is left by its caller is closed.
        server.default = hang()
        with pytest.raises(httpx.ReadTimeout):
            await transport.exchange(origin, "GET", b"/", timeout=0.1)
        assert only_pool(transport).slots == 7
    await transport.aclose()


async def test_a_first_call_that_fails_lets_the_next_one_connect() -> None:
    authority = Authority()
    context = Http2Server().trusting
    authority.ca.configure_trust(context)
    transport = HttpxTransport(tls=context, http2=True)
    script = in_turn(then_close(), whole(answer(body=b"good")))
    async with FaultServer(default=script, tls=authority.context()) as server:
        origin = Origin.of(server.url)
        got = await asyncio.gather(
            *(transport.exchange(origin, "POST", b"/", timeout=60) for _ in range(3)),
            return_exceptions=True,
        )
        assert isinstance(got[0], httpx.RemoteProtocolError)
        assert [getattr(one, "body", None) for one in got[1:]] == [b"good"] * 2
    await transport.aclose()


# Proxies


async def test_plain_http_goes_to_a_proxy_in_absolute_form() -> None:
    async with FaultServer(default=whole(answer(body=b"by proxy"))) as proxy:
        transport = HttpxTransport(proxy=f"http://user:secret@127.0.0.1:{proxy.port}")
        for _ in range(3):
            got = await transport.exchange(
                Origin("http", "api.example"), "GET", b"/a?b=1", timeout=5
            )
            assert got.body == b"by proxy"
        assert {asked.target for asked in proxy.asked} == {"http://api.example/a?b=1"}
        assert proxy.asked[0].header(b"host") == b"api.example"
        assert proxy.asked[0].header(b"proxy-authorization") == b"Basic dXNlcjpzZWNyZXQ="
        assert proxy.connections == 1
        await transport.aclose()


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
async def test_https_goes_through_a_tunnel(scheme: str, http2: bool) -> None:
    authority = Authority()
    context = Http2Server().trusting
    authority.ca.configure_trust(context)
    async with (
        FaultServer(default=echo, tls=authority.context()) as server,
        ProxyServer() as proxy,
    ):
        transport = HttpxTransport(
            PoolLimits(SLOTS),
            proxy=f"{scheme}://127.0.0.1:{proxy.port}",
            tls=context,
            http2=http2,
        )
        origin = Origin.of(server.url)
        for n in range(3):
            got = await transport.exchange(origin, "GET", b"/%d" % n, timeout=60)
            assert got.body == b"/%d" % n
        assert proxy.tunnels == [f"127.0.0.1:{server.port}"]
        outcomes = await leave_early(transport, origin, calls=200, timeout=60)
        assert outcomes["wrong"] == 0
        await all_is_well(transport, origin)
        await transport.aclose()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_http2_goes_through_a_tunnel_on_one_connection(scheme: str) -> None:
    async with Http2Server(before=slow()) as server, ProxyServer() as proxy:
        transport = HttpxTransport(
            proxy=f"{scheme}://127.0.0.1:{proxy.port}", tls=server.trusting, http2=True
        )
        origin = Origin.of(server.url)
        got = await asyncio.gather(
            *(transport.exchange(origin, "GET", b"/%d" % n, timeout=60) for n in range(20))
        )
        assert [one.body for one in got] == [b"/%d" % n for n in range(20)]
        assert {one.http_version for one in got} == {"HTTP/2"}
        assert len(proxy.tunnels) == 1
        await transport.aclose()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_tls_goes_through_a_proxy_that_speaks_tls(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    pem = tmp_path / "ca.pem"
    pem.write_bytes(authority.pem())
    # A proxy's certificate is checked against certifi's list.
    monkeypatch.setattr(certifi, "where", lambda: str(pem))

    async def main() -> None:
        async with (
            FaultServer(default=echo, tls=authority.context()) as server,
            ProxyServer(tls=authority.context()) as proxy,
        ):
            transport = HttpxTransport(proxy=f"https://127.0.0.1:{proxy.port}")
            origin = Origin.of(server.url)
            for n in range(3):
                got = await transport.exchange(origin, "GET", b"/%d" % n, timeout=60)
                assert got.body == b"/%d" % n
            assert len(proxy.tunnels) == 1
            await transport.aclose()

    if loop == "uvloop":
        pytest.importorskip("uvloop").run(main())
    else:
        asyncio.run(main())


async def test_plain_http_goes_through_socks() -> None:
    async with FaultServer(default=echo) as server, ProxyServer() as proxy:
        transport = HttpxTransport(proxy=f"socks5://127.0.0.1:{proxy.port}")
        origin = Origin.of(server.url)
        for n in range(3):
            got = await transport.exchange(origin, "GET", b"/%d" % n, timeout=60)
            assert got.body == b"/%d" % n
        assert len(proxy.tunnels) == 1
        await transport.aclose()


async def test_a_proxy_that_refuses_is_a_proxy_error() -> None:
    async with ProxyServer(status=b"407 Proxy Authentication Required") as proxy:
        transport = HttpxTransport(proxy=f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(httpx.ProxyError, match="407"):
            await transport.exchange(Origin("https", "127.0.0.1", 1), "GET", b"/", timeout=60)
        assert only_pool(transport).slots == 0
        await transport.aclose()
