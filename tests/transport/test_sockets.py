"""What the sockets under httpcore's connections notice."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from gateway.transport import Bounds
from gateway.transport.sockets import Sockets, Stale
from tests.ports import refused


async def connected(listener: socket.socket, calls: list[str]) -> tuple[Sockets, socket.socket]:
    sockets = Sockets(
        Bounds(),
        ended=lambda: calls.append("ended"),
        surplus=lambda: calls.append("surplus"),
    )
    await sockets.connect_tcp("127.0.0.1", listener.getsockname()[1], timeout=5)
    far, _ = listener.accept()
    return sockets, far


async def test_a_request_is_not_written_over_bytes_that_nobody_has_read() -> None:
    calls: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sockets, far = await connected(listener, calls)
        with far:
            sockets.begin(head_request=False, reused=True)
            assert not sockets.finish()
            sockets.resting = True
            # The loop has no turn in which it could read them.
            far.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            with pytest.raises(Stale):
                sockets.begin(head_request=False, reused=True)
            assert calls == []
            for _ in range(400):
                if calls:
                    break
                await asyncio.sleep(0.005)
            # Then the loop read them, and they were judged.
            assert calls[:2] == ["ended", "surplus"]
            assert not sockets.open


async def test_a_connection_that_is_given_up_while_it_is_made_fails() -> None:
    sockets = Sockets(Bounds(), ended=lambda: None, surplus=lambda: None)
    sockets.abort()
    with pytest.raises(httpx.ConnectError, match="closed"):
        with refused() as port:
            await sockets.connect_tcp("127.0.0.1", port, timeout=5)
    assert sockets.gone


async def test_a_request_that_is_not_taken_waits_and_ends_with_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sockets = Sockets(Bounds(), ended=lambda: None, surplus=lambda: None)
        stream = await sockets.connect_tcp("127.0.0.1", listener.getsockname()[1], timeout=5)
        far, _ = listener.accept()
        writing = asyncio.ensure_future(stream.write(bytes(64 << 20)))
        await asyncio.sleep(0.05)
        assert not writing.done()
        far.close()
        sockets.abort()
        with pytest.raises(Exception, match="broke"):
            await writing
