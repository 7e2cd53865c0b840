"""The admin endpoint that reloads the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from gateway.errors import ConfigError
from gateway.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.plan.load import Loaded

__all__ = ["Reloads", "router"]


class _Reloaded(Protocol):
    @property
    def loaded(self) -> Loaded: ...

    @property
    def changed(self) -> bool: ...


class Reloads(Protocol):
    """What reloads the configuration."""

    def reload(self) -> Awaitable[_Reloaded]:
        """Load the file and serve it from the next request on.

        Raises:
            ConfigError: it has mistakes.
        """


def router(reloader: Reloads) -> APIRouter:
    """Return the route `POST /reload`."""
    routes = APIRouter()

    @routes.post("/reload", response_model=None)
    async def reload() -> Any:
        try:
            done = await reloader.reload()
        except ConfigError as error:
            mistakes = [
                {"line": one.line or None, "column": one.column or None, "message": one.message}
                for one in error.diagnostics
            ]
            return problem(
                422,
                "the configuration has mistakes; the one before is still served",
                file=error.file,
                mistakes=mistakes,
            )
        return JSONResponse({"changed": done.changed, "dashboards": len(done.loaded.plans)})

    return routes
