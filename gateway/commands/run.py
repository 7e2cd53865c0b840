"""`gateway run`: serves a configuration."""

from __future__ import annotations

import logging.config
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from gateway.errors import ConfigError
from gateway.plan.load import load
from gateway.reload import Reloader
from gateway.server import Link, Supervisor
from gateway.telemetry.board import Board, Place
from gateway.telemetry.logs import log_config

if TYPE_CHECKING:
    from gateway.plan.load import Loaded

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
    watch: Annotated[  # noqa: FBT002 - a switch of the command line
        bool, typer.Option("--watch", help="Reload the configuration when its file changes.")
    ] = False,
) -> None:
    """Serve the dashboards of a configuration.

    Everything else comes from the environment: GATEWAY_REDIS_URL enables the shared cache;
    GATEWAY_HOST, GATEWAY_PORT and GATEWAY_WORKERS are the defaults of the options. SIGHUP reloads
    the configuration.
    """
    given = {"host": host, "port": port, "workers": workers}
    with ending_quietly():
        settings = Settings.read().model_copy(
            update={name: value for name, value in given.items() if value is not None}
        )
        raise typer.Exit(_run(config, settings, watch=watch))


def _run(config: Path, settings: Settings, *, watch: bool) -> int:
    loaded = load(config)  # reported once here, and not by every worker
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
        reloader = Reloader(app, config, counts=app.served.process.meters.reloads)
        admin = create_admin(app, settings, reloader=reloader)
        serve(app, settings, listeners, (admin, admin_listeners), reloader, watch=watch)
        return 0
    del app
    board = Board(settings.workers)
    latest = _Latest(config, loaded)

    def work(link: Link) -> int:
        app = create_app(latest.loaded, settings)
        reloads = app.served.process.meters.reloads
        reloader = Reloader(app, config, counts=reloads, on_changed=link.reloaded)
        admin = create_admin(app, settings, place=Place(board, link.number), reloader=reloader)
        serve(
            app, settings, listeners, (admin, admin_listeners), reloader,
            watch=watch and link.number == 0, link=link,
        )  # fmt: skip
        return 0

    logging.config.dictConfig(log_config(settings.log_level, settings.log_format))
    tune_collector()  # before the processes part, so that they share what they have
    patience = settings.drain_delay + settings.drain_seconds + _MARGIN
    supervisor = Supervisor(work, settings.workers, patience=patience, on_hangup=latest.reload)
    code = supervisor.run()
    ignore_signals()
    return code


class _Latest:
    """The last good configuration, for workers that are started later.

    Attributes:
        loaded: the configuration.
    """

    def __init__(self, path: Path, loaded: Loaded) -> None:
        self._path = path
        self.loaded = loaded

    def reload(self) -> bool:
        """Load the file again; return whether it is good."""
        try:
            self.loaded = load(self._path)
        except ConfigError:  # a worker reports its mistakes
            return False
        return True
