"""How the server is set up for the gateway."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import typer
import uvicorn
import uvloop
from rich.markup import escape

from gateway.commands.options import errors
from gateway.reload import watched
from gateway.server import Connections, Drain, Limits, Server, WebSocketConnection, listen, repeated
from gateway.telemetry.logs import log_config
from gateway.web.lifecycle import Lifecycle
from gateway.worker.allocator import return_large_blocks

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Iterator

    from fastapi import FastAPI

    from gateway.config.settings import Settings
    from gateway.plan.load import Loaded
    from gateway.reload import Reloader
    from gateway.runtime import Runtime
    from gateway.server import Link
    from gateway.web.application import Application

__all__ = [
    "ending_quietly",
    "ignore_signals",
    "open_admin_listeners",
    "open_listeners",
    "open_server",
    "serve",
    "serving_admin",
    "tune_collector",
]

_BACKLOG = 4096
"""Most connections that wait to be accepted."""

_YOUNG = 50_000
_REDIS_CONNECTIONS = 32  # of the pools for commands, scripts and notifications


def tune_collector() -> None:
    """Run the garbage collector less often, and never over objects that live for good.

    An answer consists of thousands of short-lived objects without cycles, which reference counting
    frees at once. With the default threshold of 700 the search for cycles takes 18 % of a
    request's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)


def open_listeners(host: str, port: int) -> list[socket.socket]:
    """Listen; if that is not possible, print why and end the command with 1."""
    try:
        return listen(host, port, backlog=_BACKLOG)
    except OSError as error:
        where, why = escape(f"{host}:{port}"), escape(error.strerror or str(error))
        errors().print(f"cannot listen on {where} ({why})", highlight=False)
        raise typer.Exit(1) from None


def open_admin_listeners(settings: Settings) -> list[socket.socket]:
    """Listen for the admin application; take a free port if the default one is in use."""
    if "admin_port" not in settings.model_fields_set:
        try:
            return listen(settings.admin_host, settings.admin_port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return open_listeners(settings.admin_host, 0)
    return open_listeners(settings.admin_host, settings.admin_port)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """End the process with 0 at a SIGTERM before the server handles it.

    Process 1 of a container ignores a signal that it does not handle.
    """

    def end(*_: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, before)


def ignore_signals() -> None:
    """Ignore signals from here to the exit of the interpreter: the work has ended."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def open_server(
    app: Application[Runtime],
    settings: Settings,
    *,
    on_started: Callable[[], None] | None = None,
    on_hangup: Callable[[], None] | None = None,
    handles_signals: bool = True,
) -> Server:
    """Return the server of an application.

    By default uvicorn logs each request at the cost of a third of the throughput, and sends its
    name in every answer.
    """
    sockets = app.served.loaded.config.web.websocket
    config = uvicorn.Config(
        app,
        http=Connections(_limits(settings, app.served.loaded)),  # type: ignore[arg-type] # makes one
        ws="none" if sockets is None else WebSocketConnection,
        ws_max_size=0 if sockets is None else int(sockets.max_message),
        ws_per_message_deflate=False,  # it takes 300 KB for each connection
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the gateway does not use the client's address
        log_config=log_config(settings.log_level, settings.log_format),
        timeout_keep_alive=settings.keep_alive,
        backlog=_BACKLOG,
    )
    return Server(
        config,
        app.lifecycle,
        Drain(settings.drain_delay, settings.drain_seconds),
        on_started=on_started,
        on_hangup=on_hangup,
        handles_signals=handles_signals,
    )


@asynccontextmanager
async def serving_admin(
    admin: FastAPI, settings: Settings, listeners: list[socket.socket]
) -> AsyncIterator[None]:
    """Serve the admin application, from before the other one serves until after it has ended."""
    config = uvicorn.Config(
        admin,
        http=Connections(Limits()),  # type: ignore[arg-type] # makes one
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        log_level=settings.log_level,
        backlog=_BACKLOG,
    )
    server = Server(config, Lifecycle(), Drain(0, 0), handles_signals=False)
    serving = asyncio.create_task(server.serve(listeners))
    try:
        yield
    finally:
        server.end(delay=False)
        await serving


def _limits(settings: Settings, loaded: Loaded) -> Limits:
    """Return what clients may do; upstreams and Redis get their share of the open files."""
    upstreams = sum(each.most_connections for each in loaded.config.upstreams.values())
    redis = _REDIS_CONNECTIONS if settings.redis_url else 0
    return Limits.of(settings, upstream_connections=upstreams + redis)


def serve(
    app: Application[Runtime],
    settings: Settings,
    listeners: list[socket.socket],
    admin: tuple[FastAPI, list[socket.socket]],
    reloader: Reloader,
    *,
    watch: bool = False,
    link: Link | None = None,
) -> None:
    """Serve until the process is told to end; it does nothing else after that.

    Args:
        app: the application.
        settings: of the process.
        listeners: the listening sockets.
        admin: the admin application, and its listening sockets.
        reloader: reloads the configuration at SIGHUP.
        watch: reload it when its file changes, too.
        link: that of a worker to its supervisor, which handles signals.
    """

    def attach() -> None:
        if link is not None:
            link.attach(server)

    server = open_server(
        app,
        settings,
        on_started=attach,
        on_hangup=lambda: reloader.request(alone=False),
        handles_signals=link is None,
    )

    async def main() -> None:
        watching = asyncio.create_task(watched(reloader)) if watch else None
        async with serving_admin(admin[0], settings, admin[1]):
            await server.serve(repeated(listeners))
            ignore_signals()
            if watching is not None:
                watching.cancel()
            await reloader.aclose()
        if not server.clean:  # closing the event loop would wait for what hangs
            logging.shutdown()
            os._exit(1)

    tune_collector()
    return_large_blocks()
    uvloop.run(main())
