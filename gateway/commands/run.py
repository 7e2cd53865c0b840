"""`gateway run`: serves a configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer
import uvicorn
from rich.markup import escape

from gateway.app import create_app
from gateway.commands.options import DEFAULT_CONFIG, ConfigFile, errors
from gateway.commands.serving import limits_of, tune_collector, uvicorn_options
from gateway.config.settings import Settings
from gateway.plan.load import load

if TYPE_CHECKING:
    from gateway.runtime import Runtime
    from gateway.web.application import Application

__all__ = ["factory", "run"]

_CONFIG = "GATEWAY_CONFIG"


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
    settings = Settings.read()
    loaded = load(config)  # reported once here, and not by every worker
    given = {"host": host, "port": port, "workers": workers}
    settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    # Built here even with several workers, which build their own: if building fails, each worker
    # would exit and uvicorn would replace it for ever.
    app = create_app(loaded, settings)
    errors().print(
        f"{len(loaded.plans)} dashboards from {escape(loaded.file)} on "
        f"http://{escape(settings.host)}:{settings.port} "
        f"({'Redis cache' if settings.redis_url else 'cache in memory'})",
        highlight=False,
    )
    options = uvicorn_options(settings, limits_of(settings, loaded))
    if settings.workers > 1:
        os.environ[_CONFIG] = str(config)
        uvicorn.run(
            "gateway.commands.run:factory",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            **options,
        )
    else:
        tune_collector()
        uvicorn.run(app, host=settings.host, port=settings.port, **options)


def factory() -> Application[Runtime]:
    """Return the application of one worker process."""
    app = create_app(os.environ.get(_CONFIG, str(DEFAULT_CONFIG)))
    tune_collector()
    return app
