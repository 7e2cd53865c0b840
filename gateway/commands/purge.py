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
        typer.Option(
            help="URL of a running gateway's admin port.", show_default="from GATEWAY_ADMIN_*"
        ),
    ] = None,
) -> None:
    """Purge cached answers in all replicas.

    Sends the purge to one running gateway, which notifies the others through Redis. Without Redis,
    send it to each gateway, and run each with one worker. If the gateways were started with
    GATEWAY_ADMIN_TOKEN, the command needs it too.
    """
    settings = Settings.read()
    token = settings.admin_token.get_secret_value() if settings.admin_token else ""
    what = {"dashboard": dashboard, "upstream": upstream, "tag": tag}
    body = {key: value for key, value in what.items() if value} | (
        {"everything": True} if everything else {}
    )
    try:
        answer = httpx.post(
            f"{url or f'http://{settings.admin_host}:{settings.admin_port}'}/admin/purge",
            json=body,
            headers={"authorization": f"Bearer {token}"} if token else {},
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
