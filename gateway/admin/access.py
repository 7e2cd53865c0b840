"""Who may ask the admin application for something."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["access", "is_loopback", "no_pages"]

_BEARER = HTTPBearer(auto_error=False, description="The value of GATEWAY_ADMIN_TOKEN")
_OWN_SITE = frozenset({"same-origin", "none"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def access(token: str, host: str) -> Callable[..., Awaitable[None]]:
    """Return the FastAPI dependency that lets a request pass or refuses it.

    With a token the client must send it. Without one, whoever reaches a loopback address is an
    operator, except web pages.

    Args:
        token: `GATEWAY_ADMIN_TOKEN`; empty if there is none.
        host: `GATEWAY_ADMIN_HOST`.
    """
    local = is_loopback(host)

    async def authorized(
        request: Request,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    ) -> None:
        if token:
            # The comparison takes constant time, so the token cannot be guessed letter by letter.
            sent = given.credentials.encode() if given is not None else b""
            if not hmac.compare_digest(sent, token.encode()):
                raise HTTPException(
                    401, "a bearer token is required", {"www-authenticate": "Bearer"}
                )
        elif not local:
            raise HTTPException(
                403, "set GATEWAY_ADMIN_TOKEN, or let GATEWAY_ADMIN_HOST be a loopback address"
            )
        else:
            _refuse_pages(request)

    return authorized


def no_pages(host: str) -> Callable[..., Awaitable[None]]:
    """Return the FastAPI dependency that refuses web pages on a loopback address.

    Args:
        host: `GATEWAY_ADMIN_HOST`.
    """
    local = is_loopback(host)

    async def checked(request: Request) -> None:
        if local:
            _refuse_pages(request)

    return checked


def _refuse_pages(request: Request) -> None:
    """Refuse what a browser on this machine sends for a web page.

    A browser sends `Origin` with what a page wants to change, and `Sec-Fetch-Site` with all that it
    asks for. A page whose name was made to resolve to this machine (DNS rebinding) is of the same
    origin, but its name is in `Host`.
    """
    headers = request.headers
    if "origin" in headers or headers.get("sec-fetch-site", "none") not in _OWN_SITE:
        raise HTTPException(403, "a web page may not do this; set GATEWAY_ADMIN_TOKEN")
    if not _is_local_name(headers.get("host", "")):
        raise HTTPException(403, "ask for localhost or an IP address; other names may be a page's")


def _is_local_name(host: str) -> bool:
    """Whether a `Host` field is `localhost` or an IP address, with any port."""
    name, _, port = host.rpartition(":")
    if not name or not (port.isdecimal() or not port):
        name = host
    if name.lower() == "localhost":
        return True
    bracketed = name.startswith("[") and name.endswith("]")
    try:
        address = ipaddress.ip_address(name[1:-1] if bracketed else name)
    except ValueError:
        return False
    return bracketed == (address.version == 6)  # noqa: PLR2004 - IPv6 is in brackets
