"""`gateway purge`: purges cached answers."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer
from rich.markup import escape

from gateway.commands.options import errors, output
from gateway.config.settings import Settings

__all__ = ["purge"]


def purge(
    dashboard: Annotated[
        str | None, typer.Option(help="Everything cached for a dashboard.")
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(help="Everything cached from an upstream.")
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Everything cached under a tag.")] = None,
    everything: Annotated[  # noqa: FBT002 - a switch of the command line
        bool, typer.Option("--everything", help="Everything.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="URL of a running gateway.", show_default="from GATEWAY_*"),
    ] = None,
) -> None:
    """Purge cached answers in all replicas.

    Sends the purge to one running gateway, which notifies the others through Redis. Without Redis,
    send it to each gateway, and run each with one worker. GATEWAY_ADMIN_TOKEN must be the token
    that the gateways were started with.
    """
    settings = Settings.read()
    if settings.admin_token is None:
        errors().print("[red]GATEWAY_ADMIN_TOKEN is not set[/red]; set it to the gateway's token")
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
            output().print(f"{document['processes']} processes were notified")
            return
        said = document["detail"]
    except (ValueError, KeyError, TypeError):  # another server answers at this address
        said = f"another server answers there, with status {answer.status_code}"
    errors().print(f"[red]{escape(str(said))}[/red]")
    raise typer.Exit(1)
