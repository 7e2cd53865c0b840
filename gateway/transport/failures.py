"""Transport failures: which of httpx's exceptions each failure of a socket raises.

::

    httpx.TransportError
    ├── TimeoutException
    │   ├── PoolTimeout             no connection became free in time; nothing was sent
    │   ├── ConnectTimeout          no connection was established in time; nothing was sent
    │   ├── WriteTimeout            the request was not sent in time
    │   └── ReadTimeout             the request was sent, the answer did not arrive in time
    ├── NetworkError
    │   ├── ConnectError            refused, unresolvable, unreachable, TLS; nothing was sent
    │   ├── WriteError              the connection broke while the request was being sent
    │   └── ReadError               reset after the request was sent
    ├── ProtocolError
    │   ├── LocalProtocolError      the request is not valid HTTP
    │   └── RemoteProtocolError     the answer is not valid HTTP, or ended too early
    │       └── AnswerTooLarge      over a bound on header fields or content
    └── UnsupportedProtocol         neither http nor https
    httpx.DecodingError             content that cannot be inflated, or an encoding that is refused
    └── InflatedTooLarge            over the bound on inflated content
"""

from __future__ import annotations

import ssl

import httpx

__all__ = [
    "AnswerTooLarge",
    "InflatedTooLarge",
    "closed_failure",
    "connect_failure",
    "lost_failure",
]


class AnswerTooLarge(httpx.RemoteProtocolError):
    """The answer has more header fields or more content than the bounds allow."""


class InflatedTooLarge(httpx.DecodingError):
    """The answer's content inflates to more than the bounds allow."""


def closed_failure() -> httpx.ConnectError:
    """Return the exception for a call on a transport that is closed; nothing was sent."""
    return httpx.ConnectError("the transport is closed")


def connect_failure(error: OSError | UnicodeError) -> httpx.TransportError:
    """Return the exception for a failure to connect.

    `TimeoutError` is both the configured limit and the kernel's ETIMEDOUT. A name that does not
    resolve is an `OSError` (`gaierror`); a name that cannot be encoded is a `UnicodeError`.
    """
    if isinstance(error, TimeoutError):
        return httpx.ConnectTimeout("no connection within the time allowed")
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", "") or str(error)
        return httpx.ConnectError(f"certificate verification failed: {why}")
    return httpx.ConnectError(str(error) or type(error).__name__)


def lost_failure(error: Exception | None) -> httpx.TransportError:
    """Return the exception for a connection that is lost with an exchange in flight."""
    if error is None:
        return httpx.RemoteProtocolError("the connection was closed before the answer was complete")
    if isinstance(error, BrokenPipeError):
        return httpx.WriteError("the connection broke while the request was being sent")
    return httpx.ReadError(str(error) or type(error).__name__)
