"""Applications under test: made from YAML, asked without a socket or over a real one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from gateway.app import create_admin, create_app
from gateway.config.settings import Settings
from gateway.plan.load import loads
from gateway.server.connections import Connections
from gateway.server.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from gateway.runtime import Runtime
    from gateway.web.application import Application

BASE = "http://localhost"


def application(text: str, **settings: Any) -> Application[Runtime]:
    """Return the application that `text` declares, with settings that no environment changes."""
    return create_app(loads(text), Settings(**{"redis_url": None, **settings}))


def admin(app: Application[Runtime], **settings: Any) -> FastAPI:
    """Return the admin application of `app`, with settings that no environment changes."""
    return create_admin(app, Settings(**settings))


@contextlib.asynccontextmanager
async def asked(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client that asks `app` without a socket, its lifespan not run."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


@contextlib.asynccontextmanager
async def served(app: Any, limits: Limits | None = None) -> AsyncIterator[str]:
    """Serve `app` as the gateway does on a free port of the loopback, and give its URL."""
    connections: Any = Connections(limits or Limits())
    config = uvicorn.Config(
        app, port=0, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=2,
        http=connections, proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server._serve())
    try:
        while not server.started:
            if running.done():
                await running
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running
