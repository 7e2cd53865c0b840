"""`gateway run`: serves a configuration."""

from __future__ import annotations

import logging.config
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from gateway.app import create_admin, create_app
from gateway.commands.options import DEFAULT_CONFIG, ConfigFile, errors
from gateway.commands.serving import (
    ending_quietly,
    ignore_signals,
    open_admin_listeners,
    open_listeners,
    serve,
    tune_collector,
)
from gateway.config.settings import Settings
from gateway.plan.load import load
from gateway.server import Link, Supervisor
from gateway.telemetry.board import Board, Place
from gateway.telemetry.logs import log_config

__all__ = ["run"]

_MARGIN = 10.0
"""Seconds that a worker may take longer than its drain before it is killed."""


def run(
    config: ConfigFile = DEFAULT_CONFIG,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on.", show_default="8000")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of worker processes.", show_default="1")
    ] = None,
) -> None:
    """Serve the dashboards of a configuration.

    Everything else comes from the environment: GATEWAY_REDIS_URL enables the shared cache;
    GATEWAY_HOST, GATEWAY_PORT and GATEWAY_WORKERS are the defaults of the options.
    """
    with ending_quietly():
        raise typer.Exit(_run(config, host, port, workers))


def _run(config: Path, host: str | None, port: int | None, workers: int | None) -> int:
    settings = Settings.read()
    loaded = load(config)  # reported once here, and not by every worker
    given = {"host": host, "port": port, "workers": workers}
    settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    # Built here even with several workers, which build their own: a mistake is reported once.
    app = create_app(loaded, settings)
    listeners = open_listeners(settings.host, settings.port)
    admin_listeners = open_admin_listeners(settings)
    port, admin_port = (each[0].getsockname()[1] for each in (listeners, admin_listeners))
    errors().print(
        f"{len(loaded.plans)} dashboards from {escape(loaded.file)} on "
        f"http://{escape(settings.host)}:{port} "
        f"({'Redis cache' if settings.redis_url else 'cache in memory'}), "
        f"metrics and administration on http://{escape(settings.admin_host)}:{admin_port}",
        highlight=False,
    )
    if settings.workers == 1:
        serve(app, settings, listeners, (create_admin(app, settings), admin_listeners))
        return 0
    del app
    board = Board(settings.workers)

    def work(link: Link) -> int:
        app = create_app(loaded, settings)
        admin = create_admin(app, settings, place=Place(board, link.number))
        serve(app, settings, listeners, (admin, admin_listeners), link)
        return 0

    logging.config.dictConfig(log_config(settings.log_level, settings.log_format))
    tune_collector()  # before the processes part, so that they share what they have
    patience = settings.drain_delay + settings.drain_seconds + _MARGIN
    code = Supervisor(work, settings.workers, patience=patience).run()
    ignore_signals()
    return code
