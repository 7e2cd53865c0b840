"""The command line, `gateway --help`: a composition root over `gateway.commands`."""

from __future__ import annotations

import gc
import sys
from importlib import import_module

import typer

from gateway.errors import ConfigError

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = ("demo", "run", "mock", "check", "explain", "probe", "purge", "schema", "openapi")
"""The commands, in the order of the help: each is a function in the module of its name."""


def app(*names: str) -> typer.Typer:
    """Return the command line application with the commands `names`, by default with all.

    Only their modules are imported: `gateway check` does not wait for a web framework.
    """
    commands = typer.Typer(
        name="gateway",
        help="An API aggregation gateway: one YAML file in, merged dashboards out.",
        epilog="Start with [bold]gateway demo[/bold]: everything offline, with real answers.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    commands.callback()(_several)
    # What is imported stays: there is no garbage, and looking for it takes an eighth of the start.
    gc.disable()
    try:
        for name in names or COMMANDS:
            commands.command()(getattr(import_module(f"gateway.commands.{name}"), name))
    finally:
        gc.enable()
    return commands


def _several() -> None:
    # Without a callback Typer would take a single command for the whole application.
    return


def main() -> None:
    """Run the command line; for an invalid configuration, print its mistakes and exit with 1."""
    try:
        app(*(name for name in sys.argv[1:2] if name in COMMANDS))()
    except ConfigError as error:
        for line in error.lines():
            print(line, file=sys.stderr)  # noqa: T201 - a command line prints
        raise SystemExit(1) from None
