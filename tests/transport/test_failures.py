"""What goes wrong on a socket, expected as httpx's exceptions."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest

from gateway.transport import AnswerTooLarge, InflatedTooLarge
from gateway.transport.failures import connect_failure, lost_failure


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), httpx.ConnectTimeout),
        (ConnectionRefusedError(111, "refused"), httpx.ConnectError),
        (socket.gaierror(-2, "Name or service not known"), httpx.ConnectError),
        (ssl.SSLError("handshake"), httpx.ConnectError),
        (ssl.SSLCertVerificationError("expired"), httpx.ConnectError),
        (UnicodeError("label too long"), httpx.ConnectError),
        (OSError(), httpx.ConnectError),
    ],
)
def test_before_the_connection_stands(
    error: OSError | UnicodeError, expected: type[Exception]
) -> None:
    failure = connect_failure(error)
    assert type(failure) is expected
    assert str(failure)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, httpx.RemoteProtocolError),
        (ConnectionResetError(), httpx.ReadError),
        (BrokenPipeError(), httpx.WriteError),
        (ssl.SSLError("bad record"), httpx.ReadError),
    ],
)
def test_with_an_exchange_in_flight(error: Exception | None, expected: type[Exception]) -> None:
    failure = lost_failure(error)
    assert type(failure) is expected
    assert str(failure)


def test_our_own_are_httpxs_too() -> None:
    assert issubclass(AnswerTooLarge, httpx.RemoteProtocolError)
    assert issubclass(InflatedTooLarge, httpx.DecodingError)
