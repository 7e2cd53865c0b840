"""The admin endpoint that purges cached answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from fastapi import APIRouter, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.store import Store
    from gateway.web.response_cache import ResponseCache

__all__ = ["Purge", "Purged", "router"]

Name = Annotated[str, Field(min_length=1, max_length=200)]

_MOST = 4096


class Purge(BaseModel):
    """What to purge: exactly one of the four members."""

    model_config = ConfigDict(extra="forbid")

    dashboard: Name | None = None
    upstream: Name | None = None
    tag: Name | None = None
    everything: bool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.dashboard, self.upstream, self.tag, self.everything or None].count(None) != 3:  # noqa: PLR2004 - of four
            raise ValueError("name exactly one of dashboard, upstream, tag, everything")
        return self

    def entry_tag(self) -> str:
        """Return the tag of the cache entries to purge."""
        if self.dashboard is not None:
            return f"dashboard:{self.dashboard}"
        if self.upstream is not None:
            return f"upstream:{self.upstream}"
        return f"tag:{self.tag}" if self.tag is not None else "*"


class Purged(BaseModel):
    """How far the purge has reached."""

    processes: int


def router(store: Store, response_cache: Callable[[], ResponseCache]) -> APIRouter:
    """Return the route `POST /purge`."""
    routes = APIRouter()

    # The body is read here because the framework reads all of it, whatever its size, before it
    # checks the token.
    @routes.post("/purge")
    async def purge(request: Request) -> Purged:
        try:
            what = Purge.model_validate_json(await _body(request))
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_context=False)) from None
        response_cache().clear()
        return Purged(processes=await store.purge(what.entry_tag()))

    return routes


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST:
            raise HTTPException(413, f"a purge takes no more than {_MOST} bytes")
    return body
