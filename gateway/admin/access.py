"""Who may ask the admin application to do something."""

from __future__ import annotations

import hmac
import ipaddress
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["access", "is_loopback"]

_BEARER = HTTPBearer(auto_error=False, description="The value of GATEWAY_ADMIN_TOKEN")


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
    operator, except web pages: a browser sends `Origin` with what a page wants to change.

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
        elif "origin" in request.headers:
            raise HTTPException(403, "a web page may not do this; set GATEWAY_ADMIN_TOKEN")

    return authorized
