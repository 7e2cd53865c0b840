"""`gateway purge`."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer
from rich.markup import escape

from gateway.commands.options import errors, output
from gateway.config.settings import Settings

__all__ = ["purge"]


def purge(
    dashboard: Annotated[str | None, typer.Option(help="Everything kept for a dashboard.")] = None,
    upstream: Annotated[str | None, typer.Option(help="Everything kept of an upstream.")] = None,
    tag: Annotated[str | None, typer.Option(help="Everything kept under a tag.")] = None,
    everything: Annotated[  # noqa: FBT002 - a switch of the command line
        bool, typer.Option("--everything", help="Everything.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="A running gateway.", show_default="from GATEWAY_*"),
    ] = None,
) -> None:
    """Declare kept answers outdated, in all replicas.

    Asks one running gateway, which tells the others by Redis. Without Redis nobody is told: ask
    each of them, and run one worker. GATEWAY_ADMIN_TOKEN holds the token
    that the gateways were started with.
    """
    settings = Settings.read()
    if settings.admin_token is None:
        errors().print("[red]GATEWAY_ADMIN_TOKEN is not set[/red]")
        raise typer.Exit(1)
    what = {"dashboard": dashboard, "upstream": upstream, "tag": tag}
    body = {key: value for key, value in what.items() if value} | (
        {"everything": True} if everything else {}
    )
    try:
        answer = httpx.post(
            f"{url or f'http://{settings.host}:{settings.port}'}/admin/purge",
            json=body,
            headers={"authorization": f"Bearer {settings.admin_token.get_secret_value()}"},
            trust_env=False,
            timeout=5,
        )
    except (httpx.TransportError, httpx.InvalidURL) as error:
        errors().print(f"[red]no gateway answers[/red] ({escape(str(error))})")
        raise typer.Exit(1) from None
    try:
        document = answer.json()
        if answer.status_code == httpx.codes.OK:
            output().print(f"{document['processes']} processes were told")
            return
        said = document["detail"]
    except (ValueError, KeyError, TypeError):  # whoever answers there is no gateway
        said = f"no gateway answers, but something with status {answer.status_code}"
    errors().print(f"[red]{escape(str(said))}[/red]")
    raise typer.Exit(1)
