"""`gateway demo`: runs the gateway offline, with mock upstreams."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop
from rich.markup import escape

from gateway.app import create_admin, create_app
from gateway.commands import demo_page
from gateway.commands.options import output
from gateway.commands.serving import (
    open_admin_listeners,
    open_listeners,
    open_server,
    serving_admin,
)
from gateway.config.models import CorsConfig
from gateway.config.settings import Settings
from gateway.mock import Knobs, MockServer, create_mock_app
from gateway.plan.load import compile_config, load, shipped

if TYPE_CHECKING:
    from gateway.plan.load import Loaded
    from gateway.server import Server

__all__ = ["demo", "open_to_all_origins", "pointed_at"]

_TRY = (
    ("/", "all of it on one page, drawn as it arrives"),
    ("/dashboard/1", "a user, their posts, the weather where they live"),
    ("/dashboard/1?sections=profile,posts", "only these sections and what they need"),
    ("/dashboard", "counts of users, posts and comments"),
    ("/users/1/activity", "the comments of each post, fanned out"),
    ("/weather?city=London&city=Tokyo", "several cities, each of which can fail alone"),
    ("/weather/fastest", "a race, the first fresh answer wins"),
    ("/docs", "every dashboard, typed"),
)


def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the gateway.")] = 8000,
    latency: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=50ms", help="Delay the answers of one mock upstream. Repeatable."
        ),
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=0.2", help="Fail this share of an upstream's calls. Repeatable."
        ),
    ] = None,
) -> None:
    """Serve everything offline: the gateway, the shipped configuration and mock upstreams.

    Needs no network and no Redis. Break an upstream and see how the answers change:
    [bold]gateway demo --fail weather=1.0[/bold]
    """
    try:
        knobs = Knobs.parse(latency or [], fail or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with suppress(KeyboardInterrupt):
        uvloop.run(_serve(host, port, knobs))


def pointed_at(loaded: Loaded, url: str) -> Loaded:
    """Return the same configuration with every upstream's base URL at `url`."""
    config = loaded.config
    upstreams = {
        name: upstream.model_copy(update={"base_url": url})
        for name, upstream in config.upstreams.items()
    }
    return compile_config(config.model_copy(update={"upstreams": upstreams}))


def open_to_all_origins(loaded: Loaded) -> Loaded:
    """Return the same configuration, with answers that pages of any origin may read.

    What the demo serves is made up, and frontends under development have origins of their own.
    """
    config = loaded.config
    web = config.web.model_copy(update={"cors": CorsConfig(origins=["*"])})
    return compile_config(config.model_copy(update={"web": web}))


async def _serve(host: str, port: int, knobs: Knobs) -> None:
    # No load balancer is in front, so nothing has to wait for one.
    quiet = {"redis_url": None, "log_level": "warning", "drain_delay": 0}
    settings = Settings.read(quiet)
    listeners = open_listeners(host, port)
    admin_listeners = open_admin_listeners(settings)
    admin_url = f"http://{settings.admin_host}:{admin_listeners[0].getsockname()[1]}"
    async with MockServer(create_mock_app(knobs), port=0) as upstreams:
        loaded = pointed_at(open_to_all_origins(load(shipped())), upstreams.url)
        app = create_app(loaded, settings, routers=[demo_page.router()])
        server = open_server(app, settings)
        url = f"http://{host}:{port}"
        greeting = asyncio.create_task(_greet(server, url, admin_url, upstreams.url))
        try:
            async with serving_admin(create_admin(app, settings), settings, admin_listeners):
                await server.serve(listeners)
        finally:
            greeting.cancel()


async def _greet(server: Server, url: str, admin: str, upstreams: str) -> None:
    """Print the URLs to open, once the gateway accepts connections."""
    while not server.started:
        await asyncio.sleep(0.02)
    console = output()
    base = escape(url)
    console.print(f"\nThe gateway is on [bold]{base}[/bold], its mock upstreams on {upstreams}.")
    console.print("Open or curl:\n")
    for path, what in _TRY:
        console.print(f"  [cyan]{base}{path}[/cyan]", highlight=False)
        console.print(f"      {what}", style="dim", highlight=False)
    console.print(f"\nMetrics are on [cyan]{escape(admin)}/metrics[/cyan].", highlight=False)
    console.print("Press Ctrl+C to stop.")
