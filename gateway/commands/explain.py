"""`gateway explain`: prints the plan of one request."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape
from rich.table import Table

from gateway.commands.check import Format
from gateway.commands.options import DEFAULT_CONFIG, ConfigFile, errors, output
from gateway.plan.explain import NoSuchPathError
from gateway.plan.explain import explain as explained
from gateway.plan.load import load

if TYPE_CHECKING:
    from gateway.plan.explain import Explanation

__all__ = ["explain"]


def explain(
    path: Annotated[
        str, typer.Argument(help="A path, such as /dashboard/1 or '/weather?city=Oslo'.")
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    form: Annotated[Format, typer.Option("--format", help="text or json.")] = Format.TEXT,
) -> None:
    """Show what one request would do, without calling an upstream.

    Shows what runs at once, what waits for what, which calls are made, how many at worst, how long
    they can take by their timeouts, and what is cached.
    """
    try:
        found = explained(load(config), urlsplit(path))
    except (NoSuchPathError, ValueError) as error:  # urlsplit raises for text that is not a URL
        errors().print(f"[red]{escape(str(error))}[/red]")
        raise typer.Exit(1) from None
    if form is Format.JSON:
        document = asdict(found) | {"most_calls": found.most_calls}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    _print(found)


def _print(found: Explanation) -> None:
    console = output()
    console.print(f"[bold]{found.dashboard}[/bold]  GET {escape(found.path)}", highlight=False)
    for name, value in found.parameters.items():
        console.print(escape(f"  {name} = {value!r}"), highlight=False)
    console.print(
        f"deadline {found.deadline:g} s, at most {found.most_calls} upstream calls", highlight=False
    )
    console.print()
    for number, wave in enumerate(found.waves):
        console.print(
            f"  {'  ' * number}{'└ ' if number else ''}{', '.join(wave)}", highlight=False
        )
    console.print()
    table = Table(box=None, pad_edge=False)
    for column in ("section", "starts", "calls", "at worst", "cache", ""):
        table.add_column(column, overflow="fold")
    for step in found.steps:
        table.add_row(
            step.name,
            escape(step.starts),
            escape("\n".join(step.calls)),
            f"{step.most_calls} calls, {step.slowest:g} s",
            escape(step.cache),
            escape(", ".join(step.notes)),
        )
    console.print(table)
    for warning in found.warnings:
        console.print(f"[yellow]note:[/yellow] {escape(warning)}", highlight=False)
