"""The command line, `gateway --help`: a composition root over `gateway.commands`."""

from __future__ import annotations

import sys

import typer

from gateway.commands import check, demo, explain, mock, openapi, probe, purge, run, schema
from gateway.errors import ConfigError

__all__ = ["app", "main"]


def app() -> typer.Typer:
    """Return the command line application."""
    commands = typer.Typer(
        name="gateway",
        help="An API aggregation gateway: one YAML file in, merged dashboards out.",
        epilog="Start with [bold]gateway demo[/bold]: everything offline, with real answers.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    commands.command()(demo.demo)
    commands.command()(run.run)
    commands.command()(mock.mock)
    commands.command()(check.check)
    commands.command()(explain.explain)
    commands.command()(probe.probe)
    commands.command()(purge.purge)
    commands.command()(schema.schema)
    commands.command()(openapi.openapi)
    return commands


def main() -> None:
    """Run the command line; for an invalid configuration, print its mistakes and exit with 1."""
    try:
        app()()
    except ConfigError as error:
        for line in error.lines():
            print(line, file=sys.stderr)  # noqa: T201 - a command line prints
        raise SystemExit(1) from None
