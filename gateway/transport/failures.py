"""The one table of how things that go wrong on a socket are told: as httpx's own exceptions.

::

    httpx.TransportError
    ├── TimeoutException
    │   ├── PoolTimeout             no connection became free in time; nothing was sent
    │   ├── ConnectTimeout          no connection was established in time; nothing was sent
    │   ├── WriteTimeout            the request was not taken off our hands in time
    │   └── ReadTimeout             the request was sent, the answer is late
    ├── NetworkError
    │   ├── ConnectError            refused, unresolvable, unreachable, TLS; nothing was sent
    │   ├── WriteError              broken while the request was being sent
    │   └── ReadError               reset after the request was sent
    ├── ProtocolError
    │   ├── LocalProtocolError      what we were asked to send is no HTTP
    │   └── RemoteProtocolError     what came back is no HTTP, or ended too early
    │       └── AnswerTooLarge      over a bound on header fields or content
    └── UnsupportedProtocol         neither http nor https
    httpx.DecodingError             content that cannot be inflated, or an encoding that is refused
    └── InflatedTooLarge            over the bound on inflated content
"""

from __future__ import annotations

import ssl

import httpx

__all__ = ["AnswerTooLarge", "InflatedTooLarge", "connect_failure", "lost_failure"]


class AnswerTooLarge(httpx.RemoteProtocolError):
    """The answer has more header fields or more content than the bounds allow."""


class InflatedTooLarge(httpx.DecodingError):
    """The answer's content inflates to more than the bounds allow."""


def connect_failure(error: OSError | UnicodeError) -> httpx.TransportError:
    """Return what a failure before the connection stood is told as.

    `TimeoutError` is both our own limit and the kernel's ETIMEDOUT; a name that cannot be resolved
    is an `OSError` (`gaierror`), one that cannot even be asked for a `UnicodeError`.
    """
    if isinstance(error, TimeoutError):
        return httpx.ConnectTimeout("no connection within the time allowed")
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", "") or str(error)
        return httpx.ConnectError(f"certificate refused: {why}")
    return httpx.ConnectError(str(error) or type(error).__name__)


def lost_failure(error: Exception | None) -> httpx.TransportError:
    """Return what the loss of a connection with an exchange in flight is told as."""
    if error is None:
        return httpx.RemoteProtocolError("the connection was closed before the answer was complete")
    if isinstance(error, BrokenPipeError):
        return httpx.WriteError("the connection broke while the request was being sent")
    return httpx.ReadError(str(error) or type(error).__name__)
