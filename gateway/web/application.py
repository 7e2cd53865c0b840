"""The FastAPI application that serves the dashboards."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import Response

from gateway.plan.path import RESERVED
from gateway.web import health
from gateway.web.asgi_compression import compressing
from gateway.web.batch import Batch
from gateway.web.lifecycle import Lifecycle
from gateway.web.openapi.batch import batch_operation
from gateway.web.openapi.document import OpenApi
from gateway.web.path_index import PathIndex
from gateway.web.problems import NOSNIFF, answer_with_problems, on_bug, problem
from gateway.web.websocket import PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import APIRouter
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from gateway.config.models import BatchConfig
    from gateway.web.compression import Compression
    from gateway.web.cors import Cors
    from gateway.web.dashboard import DashboardEndpoint
    from gateway.web.path_index import Found
    from gateway.web.websocket import WebSockets

__all__ = ["Application", "Served"]

_OURS = frozenset(path.encode("ascii") for path in RESERVED)


class Served(Protocol):
    """The dashboards of one configuration."""

    @property
    def endpoints(self) -> Sequence[DashboardEndpoint]:
        """One for each dashboard."""

    @property
    def cors(self) -> Cors | None:
        """Which origins may read answers; `None` if browsers let none."""

    @property
    def compression(self) -> Compression | None:
        """How answers are compressed; `None` if they are not."""

    @property
    def batch(self) -> BatchConfig | None:
        """The limits of batches; `None` if there are none."""

    @property
    def answers(self) -> Mapping[str, Mapping[str, Any]]:
        """The JSON Schema that every answer of an upstream meets, by its name."""

    @property
    def websockets(self) -> WebSockets | None:
        """What serves `/live`; `None` if nothing does."""

    def end_streams(self) -> None:
        """End live streams, so that their clients connect again elsewhere."""


ServedT = TypeVar("ServedT", bound=Served)


class Application(FastAPI, Generic[ServedT]):
    """A FastAPI application that serves dashboards before it routes anything else.

    Middleware that is added to the application runs for dashboards too.

    Args:
        served: the dashboards to serve until the next call of `serve`.
        routers: further routes, such as pages.
        settings: arguments of `FastAPI`.

    Attributes:
        served: the dashboards that it serves now.
        cors: which origins may read answers; `None` if browsers let none.
        lifecycle: whether the process drains; the server sets it.
    """

    def __init__(
        self, served: ServedT, *, routers: Sequence[APIRouter] = (), **settings: Any
    ) -> None:
        super().__init__(redirect_slashes=False, **settings)
        self.lifecycle = Lifecycle(self._end_streams)
        answer_with_problems(self)
        for router in (health.router(self.lifecycle), *routers):
            self.include_router(router)
        self._operational = list(self.router.routes)
        self._batches: Batch
        self.serve(served)

    def serve(self, served: ServedT) -> None:
        """Serve these dashboards from the next request on; requests in flight finish on theirs."""
        self.served = served
        self.cors = served.cors
        endpoints = served.endpoints
        self._index: PathIndex[DashboardEndpoint] = PathIndex(
            (endpoint.plan.path, endpoint) for endpoint in endpoints
        )
        self._described = OpenApi([endpoint.plan for endpoint in endpoints], served.answers)
        self.openapi_schema = None
        self.router.routes[:] = self._operational
        if served.batch is not None:
            self._batches = self._batch(served.batch)
            self.add_api_route("/batch", self._serve_batch, **batch_operation(served.batch))
        for endpoint in endpoints:
            self.add_api_route(
                endpoint.plan.path, _endpoint(endpoint), **self._described.operation(endpoint.plan)
            )

    def _batch(self, config: BatchConfig) -> Batch:
        """Return what answers batches for the dashboards that are served now."""
        forwarded = frozenset[bytes]().union(*(one.forwarded for one in self.served.endpoints))
        compression = self.served.compression
        compressed = compression is not None and compression.private
        return Batch(config, self.find, forwarded, compressed=compressed)

    async def _serve_batch(self) -> Response:
        return _Answer(self._batches)

    def _end_streams(self) -> None:
        self.served.end_streams()

    def find(self, path: bytes) -> Found[DashboardEndpoint] | None:
        """Return the dashboard at a path below the root path, and its path parameters.

        Raises:
            UnicodeDecodeError: a parameter is not UTF-8.
        """
        found = self._index.find(path)
        # `/{parameter}` must not shadow the probes.
        return None if found is not None and found[1] and _is_ours(path) else found

    def direct(self, raw_path: bytes) -> Found[DashboardEndpoint] | None:
        """Return the dashboard that a server may ask without ASGI, and its path parameters.

        Returns:
            `None` if the request needs ASGI: it is not for a dashboard, or it passes through
            middleware that was added to the application.
        """
        if self.user_middleware:
            return None
        try:
            return self.find(_below(self.root_path, raw_path) if self.root_path else raw_path)
        except UnicodeDecodeError:
            return None

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = self._described.document(super().openapi())
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        """Put the dashboards in front of FastAPI's routes, inside the user's middleware."""
        added, self.user_middleware = self.user_middleware, []
        try:
            framework = super().build_middleware_stack()
        finally:
            self.user_middleware = added

        async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                path = _raw_path(scope)
                try:
                    found = self.find(path)
                except UnicodeDecodeError:
                    refusal = problem(422, "the path is not UTF-8")
                    await refusal(scope, receive, send)
                    return
                if found is not None:
                    await found[0](scope, receive, send, found[1])
                    return
                if scope["method"] == "HEAD":  # FastAPI's routes know no HEAD
                    scope, send = {**scope, "method": "GET"}, _without_content(send)
                sending = _not_sniffed(compressing(self.served.compression, scope, send))
                await framework(scope, receive, sending)
                return
            sockets = self.served.websockets
            if sockets is not None and scope["type"] == "websocket" and _raw_path(scope) == PATH:
                await sockets.serve(scope, receive, send, self.find)
                return
            await framework(scope, receive, send)

        app: ASGIApp = dispatch
        for middleware in reversed(added):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return self._with_cors(ServerErrorMiddleware(app, on_bug) if added else app)

    def _with_cors(self, app: ASGIApp) -> ASGIApp:
        """Put CORS in front of everything, so that no answer is without it."""

        async def outermost(scope: Scope, receive: Receive, send: Send) -> None:
            if self.cors is None or scope["type"] != "http":
                await app(scope, receive, send)
                return
            cross = self.cors.of(scope["method"], scope["headers"])
            sending = cross.sending(send)
            if cross.is_preflight:
                await Response(status_code=204)(scope, receive, sending)
            else:
                await app(scope, receive, sending)

        return outermost


def _not_sniffed(send: Send) -> Send:
    """Return a `send` that adds the field to answers without it, such as probes and metrics."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            fields = list(message.get("headers", ()))
            if NOSNIFF not in fields:
                message = {**message, "headers": [*fields, NOSNIFF]}
        await send(message)

    return sending


def _without_content(send: Send) -> Send:
    """Return a `send` that leaves the content out, for the answer to a HEAD."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return sending


def _is_ours(path: bytes) -> bool:
    return b"/" + path.split(b"/", 2)[1] in _OURS


def _raw_path(scope: Mapping[str, Any]) -> bytes:
    raw: bytes | None = scope.get("raw_path")
    if raw is None:  # optional in ASGI; without it an encoded slash looks like a plain one
        raw = scope["path"].encode("utf-8")
        scope["raw_path"] = raw  # type: ignore[index] # ASGI scopes are mutable
    return _below(scope.get("root_path") or "", raw)


def _below(root_path: str, raw: bytes) -> bytes:
    """Return a path without the prefix that a proxy strips, if it still has it."""
    return raw.removeprefix(root_path.encode("utf-8"))


class _Answer(Response):
    """What an ASGI application answers, sent by itself."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__()
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        await self._app(scope, receive, send)


def _endpoint(dashboard: DashboardEndpoint) -> Any:
    """Return the endpoint for FastAPI's route, which runs if the routes are mounted elsewhere.

    FastAPI remembers every function that it has inspected. So this one does not hold the dashboard,
    which would live on after a reload.
    """
    serving = weakref.ref(dashboard)

    async def serve(request: Request) -> Response:
        path = tuple((name, str(value)) for name, value in request.path_params.items())
        request.scope.setdefault("raw_path", request.scope["path"].encode("utf-8"))
        served = serving()
        assert served is not None  # noqa: S101 - the application holds it as long as this route
        return _Answer(partial(served, path=path))

    serve.__doc__ = dashboard.plan.config.description
    return serve
