"""`gateway run`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer
import uvicorn
from rich.markup import escape

from gateway.app import create_app
from gateway.commands.options import DEFAULT_CONFIG, ConfigFile, errors
from gateway.commands.serving import tune_collector, uvicorn_options
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
        int | None, typer.Option(min=1, help="Processes to serve with.", show_default="1")
    ] = None,
) -> None:
    """Serve the dashboards of a configuration.

    Everything else comes from the environment: GATEWAY_REDIS_URL turns the shared cache on,
    GATEWAY_HOST, GATEWAY_PORT and GATEWAY_WORKERS stand in for the options, and so on.
    """
    settings = Settings.read()
    loaded = load(config)  # told here, once, and not by every worker
    given = {"host": host, "port": port, "workers": workers}
    settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    # Here with several workers too, which build their own: what cannot be built would end each of
    # them, and uvicorn would start another in its place for ever.
    app = create_app(loaded, settings)
    errors().print(
        f"{len(loaded.plans)} dashboards from {escape(loaded.file)} on "
        f"http://{escape(settings.host)}:{settings.port} "
        f"({'Redis cache' if settings.redis_url else 'cache in memory'})",
        highlight=False,
    )
    options = uvicorn_options(settings)
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
