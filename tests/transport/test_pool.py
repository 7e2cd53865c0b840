"""Who gets the next connection, and when connections go."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from gateway.transport import Bounds, Http1Transport, Origin
from gateway.transport.connection import Connection
from gateway.transport.pool import Pool
from gateway.transport.pools import PoolLimits
from gateway.transport.reader import Readers
from tests import virtual_time
from tests.fault_server import Asked, FaultServer, Peer, answer, whole


class Socket(asyncio.Transport):
    """A transport that only knows whether it was closed."""

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self.protocol = protocol
        self.closed = False

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: object) -> None:
        if self.closed:
            raise RuntimeError("the handler is closed")

    def get_write_buffer_size(self) -> int:
        return 0


class Sockets:
    """Stands in for the loop's `create_connection`."""

    def __init__(self, delay: float = 0.0) -> None:
        self.made: list[Socket] = []
        self.delay = delay
        self.error: BaseException | None = None

    async def connect(self, factory: Any, host: str, port: int, **_: Any) -> Any:
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        protocol = factory()
        sock = Socket(protocol)
        self.made.append(sock)
        protocol.connection_made(sock)
        return sock, protocol


def new_pool(sockets: Sockets, **options: Any) -> Pool:
    pool = Pool(
        Origin("http", "a"),
        PoolLimits(2, max_idle=2)._replace(**options),
        context=None,
        bounds=Bounds(),
    )
    pool.loop.create_connection = sockets.connect  # type: ignore[assignment]
    return pool


def test_many_connections_are_made_in_turns_and_waiting_is_connecting() -> None:
    async def main() -> None:
        sockets = Sockets(delay=2.0)
        pool = new_pool(sockets, max_connections=1000, connect_timeout=5.0)
        asked = [asyncio.ensure_future(pool.acquire()) for _ in range(600)]
        asked[300].cancel()
        await asyncio.sleep(2.1)
        assert len(sockets.made) == 256
        asked[400].cancel()
        got = await asyncio.gather(*asked, return_exceptions=True)
        kinds = [type(one) for one in got]
        # Two turns fit into the time for a connection, and the third does not.
        assert len(sockets.made) == kinds.count(Connection) == 512
        assert kinds.count(httpx.ConnectTimeout) == 86
        assert kinds.count(asyncio.CancelledError) == 2
        assert virtual_time.loop_time() == pytest.approx(1005.0)
        assert pool.slots == 512

    virtual_time.run(main())


def test_the_last_one_used_is_taken_first() -> None:
    async def main() -> None:
        pool = new_pool(Sockets())
        first, second = await pool.acquire(), await pool.acquire()
        pool.release(first)
        pool.release(second)
        assert pool.take() is second
        assert pool.take() is first
        assert pool.take() is None

    virtual_time.run(main())


def test_those_in_line_are_served_in_order_and_the_cancelled_are_skipped() -> None:
    async def main() -> None:
        pool = new_pool(Sockets(), max_connections=1)
        held = await pool.acquire()
        order: list[int] = []

        async def call(n: int) -> None:
            connection = await pool.acquire()
            order.append(n)
            await asyncio.sleep(1)
            pool.release(connection)

        calls = [asyncio.ensure_future(call(n)) for n in range(5)]
        await asyncio.sleep(1)
        assert pool.waiting == 5
        calls[1].cancel()
        calls[3].cancel()
        await asyncio.sleep(1)
        assert pool.waiting == 3
        pool.release(held)
        # A call that comes now must not overtake those in line.
        assert pool.take() is None
        await asyncio.gather(*calls, return_exceptions=True)
        assert order == [0, 2, 4]
        assert (pool.slots, pool.idle, pool.waiting) == (1, 1, 0)

    virtual_time.run(main())


def test_cancelled_in_the_moment_of_being_served() -> None:
    async def main() -> None:
        sockets = Sockets()
        pool = new_pool(sockets, max_connections=1)
        for reusable in (True, False):
            held = pool.take() or await pool.acquire()
            waiting = asyncio.ensure_future(pool.acquire())
            behind = asyncio.ensure_future(pool.acquire())
            await asyncio.sleep(1)
            if not reusable:
                held.abort()
            pool.release(held)
            waiting.cancel()
            served = await behind
            assert waiting.cancelled()
            pool.release(served)
            assert (pool.slots, pool.idle) == (1, 1)

    virtual_time.run(main())


def test_those_cancelled_in_the_same_turn_are_skipped_too() -> None:
    async def main() -> None:
        pool = new_pool(Sockets(), max_connections=1)
        held = await pool.acquire()
        first = asyncio.ensure_future(pool.acquire())
        second = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(1)
        first.cancel()
        pool.release(held)
        assert await second is held

    virtual_time.run(main())


def test_an_idle_connection_is_not_given_out_once_the_other_side_has_ended_it() -> None:
    async def main() -> None:
        pool = new_pool(Sockets())
        connection = await pool.acquire()
        pool.release(connection)
        connection.eof_received()
        assert pool.take() is None
        assert pool.slots == 0

    virtual_time.run(main())


def test_a_socket_that_closes_before_it_tells_is_not_written_to() -> None:
    async def main() -> None:
        sockets = Sockets()
        pool = new_pool(sockets)
        connection = await pool.acquire()
        sockets.made[0].closed = True
        with pytest.raises(httpx.RemoteProtocolError):
            await connection.ask(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.may_ask_again(idempotent=False)

    virtual_time.run(main())


def test_a_slot_whose_connection_is_of_no_use_lets_the_next_one_connect() -> None:
    async def main() -> None:
        sockets = Sockets()
        pool = new_pool(sockets, max_connections=1)
        held = await pool.acquire()
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(1)
        held.abort()
        pool.release(held)
        assert await waiting is not held
        assert len(sockets.made) == 2
        assert pool.slots == 1

    virtual_time.run(main())


def test_a_failed_or_cancelled_connect_frees_its_slot() -> None:
    async def main() -> None:
        sockets = Sockets(delay=1)
        pool = new_pool(sockets, max_connections=1)
        call = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0.5)
        assert pool.slots == 1
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert pool.slots == 0
        sockets.error = ConnectionRefusedError()
        with pytest.raises(httpx.ConnectError):
            await pool.acquire()
        assert pool.slots == 0
        sockets.delay = 60
        started = pool.loop.time()
        with pytest.raises(httpx.ConnectTimeout):
            await pool.acquire()
        assert pool.loop.time() - started == pytest.approx(5)
        with pytest.raises(httpx.ConnectTimeout):
            await pool.acquire(pool.loop.time() + 2)
        assert pool.loop.time() - started == pytest.approx(7)
        assert pool.slots == 0

    virtual_time.run(main())


def test_waiting_ends_in_time() -> None:
    async def main() -> None:
        pool = new_pool(Sockets(), max_connections=1)
        await pool.acquire()
        started = pool.loop.time()
        with pytest.raises(httpx.PoolTimeout):
            await pool.acquire(started + 3)
        with pytest.raises(httpx.PoolTimeout):
            await pool.acquire(started + 5)
        assert pool.loop.time() - started == pytest.approx(5)
        assert pool.waiting == 0

    virtual_time.run(main())


def test_no_more_than_the_limit_are_kept() -> None:
    async def main() -> None:
        sockets = Sockets()
        pool = new_pool(sockets, max_connections=3, max_idle=1)
        held = [await pool.acquire() for _ in range(3)]
        for connection in held:
            pool.release(connection)
        assert (pool.slots, pool.idle) == (1, 1)
        assert [sock.closed for sock in sockets.made] == [False, True, True]

    virtual_time.run(main())


def test_what_is_idle_for_too_long_is_closed() -> None:
    async def main() -> None:
        sockets = Sockets()
        pool = new_pool(sockets, idle_age=30)
        first, second = await pool.acquire(), await pool.acquire()
        pool.release(first)
        await asyncio.sleep(20)
        pool.release(second)
        await asyncio.sleep(10.1)
        assert [sock.closed for sock in sockets.made] == [True, False]
        assert (pool.slots, pool.idle) == (1, 1)
        await asyncio.sleep(20)
        assert [sock.closed for sock in sockets.made] == [True, True]
        assert (pool.slots, pool.idle) == (0, 0)

    virtual_time.run(main())


def test_a_connection_that_is_made_after_its_caller_gave_up_is_closed() -> None:
    async def main() -> None:
        pool = new_pool(Sockets())
        connection = Connection(pool.loop, Readers(Bounds()), pool)
        connection.abort()
        late = Socket(connection)
        connection.connection_made(late)
        assert late.closed

    virtual_time.run(main())


def test_closing_while_connecting() -> None:
    async def main() -> None:
        sockets = Sockets()
        pool = new_pool(sockets)

        async def connect(*args: Any, **more: Any) -> Any:
            made = await Sockets.connect(sockets, *args, **more)
            await pool.aclose()
            return made

        pool.loop.create_connection = connect  # type: ignore[method-assign]
        with pytest.raises(httpx.ConnectError):
            await pool.acquire()
        assert sockets.made[0].closed
        assert pool.slots == 0

    virtual_time.run(main())


async def test_never_more_connections_than_slots() -> None:
    busy = most = 0

    async def script(peer: Peer, asked: Asked) -> bool:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.001)
        busy -= 1
        await peer.send(answer())
        return True

    transport = Http1Transport(PoolLimits(max_connections=4))
    async with FaultServer(default=script) as server:
        origin = Origin.of(server.url)
        calls = [transport.exchange(origin, "GET", b"/", timeout=60) for _ in range(60)]
        await asyncio.gather(*calls)
        assert server.connections == most == 4
    await transport.aclose()


async def test_a_dead_connection_handed_to_one_in_line_is_replaced() -> None:
    transport = Http1Transport(PoolLimits(max_connections=1))
    async with FaultServer(default=whole(answer())) as server:
        origin = Origin.of(server.url)
        await transport.exchange(origin, "GET", b"/")
        pool = transport.pools[0]
        held = pool.take()
        assert held is not None
        # Nothing of it is sent in vain, so that even a POST may go to another connection.
        waiting = asyncio.ensure_future(transport.exchange(origin, "POST", b"/"))
        await asyncio.sleep(0)
        pool.release(held)
        held.abort()
        assert (await waiting).status == 200
        assert server.connections == 2
    await transport.aclose()
