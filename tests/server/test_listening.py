"""Listening sockets: what cannot be listened on, and how they run dry."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
from contextlib import suppress

import pytest
import uvloop

from gateway.server.listening import listen, readable, repeated, turn_away
from tests.ports import refused


def test_a_name_is_listened_on_at_each_of_its_addresses() -> None:
    listeners = listen("localhost", 0)
    try:
        for listener in listeners:
            with socket.create_connection(listener.getsockname()[:2]):
                assert readable([listener.fileno()]) == {listener.fileno()}
    finally:
        for listener in listeners:
            listener.close()


def test_a_taken_address_and_a_foreign_one_are_errors() -> None:
    with refused() as port, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)
    with pytest.raises(OSError, match="assign"):
        listen("192.0.2.1", 0)


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="Linux and macOS have it")
def test_the_system_takes_little_for_a_client_that_does_not_read() -> None:
    (listener,) = listen("127.0.0.1", 0)
    with listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(False)
            taken = 0
            with suppress(BlockingIOError):
                while taken < 2**30:
                    taken += connection.send(bytes(64 * 1024))
            assert taken <= 1024 * 1024


def test_several_connections_are_accepted_in_one_turn_of_the_loop() -> None:
    turn = 0
    accepted: list[int] = []

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(turn)
            transport.close()

    async def main() -> None:
        nonlocal turn
        listeners = repeated(listen("127.0.0.1", 0))
        address = listeners[0].getsockname()
        clients = [socket.create_connection(address) for _ in range(40)]  # they wait in its queue
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Accepted, sock=each) for each in listeners]
        while len(accepted) < len(clients):
            turn += 1
            await asyncio.sleep(0)
        for each in servers:
            each.close()
            await each.wait_closed()
        for client in clients:
            client.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)

    uvloop.run(main())
    assert len(set(accepted)) < len(accepted) / 2


def test_a_closed_descriptor_is_not_readable() -> None:
    assert readable([-1]) == set()


def filters_are_allowed() -> bool:
    """Return whether the system lets this user filter what a socket of his own receives."""
    everything = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF))
    with socket.socket() as one:
        try:
            one.setsockopt(
                socket.SOL_SOCKET, 26, struct.pack("HP", 1, ctypes.addressof(everything))
            )
        except OSError:
            return False
    return True


@pytest.mark.skipif(not filters_are_allowed(), reason="the system allows no filter")
def test_new_connections_are_turned_away_and_those_that_wait_are_not_lost() -> None:
    (listener,) = listen("127.0.0.1", 0)
    address = listener.getsockname()
    with listener, socket.create_connection(address) as early, socket.socket() as late:
        assert turn_away([listener])
        late.setblocking(False)
        late.connect_ex(address)  # without the filter it would be connected at once
        accepted, _ = listener.accept()
        with accepted:
            early.sendall(b"asked")
            assert accepted.recv(10) == b"asked"
            accepted.sendall(b"answered")
            assert early.recv(10) == b"answered"
        assert readable([listener.fileno()]) == set()
    with socket.socket() as after:
        assert after.connect_ex(address) != 0


def test_a_system_without_filters_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not turn_away([])
    monkeypatch.setattr(sys, "platform", "linux")
    with socket.socket() as closed:
        pass
    assert not turn_away([closed])
