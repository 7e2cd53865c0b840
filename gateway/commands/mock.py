"""`gateway mock`: serves the mock upstreams."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer
import uvloop
from rich.markup import escape

from gateway.commands.options import output
from gateway.mock import Knobs, MockServer, create_mock_app

__all__ = ["mock"]


def mock(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 selects a free one.")] = 9000,
    latency: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=50ms", help="Delay the answers of one upstream. Repeatable."),
    ] = None,
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=0.2", help="Fail this share of an upstream's calls. Repeatable."
        ),
    ] = None,
) -> None:
    """Serve only the mock upstreams: every API that the shipped configuration names.

    NAME is users, posts or weather. Point the upstreams of a configuration at it, then break them
    one by one: [bold]gateway mock --fail weather=1.0 --latency users=200ms[/bold]
    """
    try:
        knobs = Knobs.parse(latency or [], fail or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        uvloop.run(_serve(knobs, host, port))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        where, why = escape(f"{host}:{port}"), escape(error.strerror or str(error))
        output().print(f"[red]cannot listen on {where}[/red] ({why})")
        raise typer.Exit(1) from None


async def _serve(knobs: Knobs, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with MockServer(create_mock_app(knobs), host=host, port=port) as server:
        console = output()
        url = escape(server.url)
        console.print(f"mock upstreams on [bold]{url}[/bold] (press Ctrl+C to stop)")
        for path in ("/users/1", "/posts?userId=1", "/comments?postId=1",
                     "/v1/forecast?latitude=52.5&longitude=13.4&current=temperature_2m",
                     "/v1/search?name=London&count=1"):  # fmt: skip
            console.print(f"  {url}{path}", highlight=False)
        await stop.wait()
