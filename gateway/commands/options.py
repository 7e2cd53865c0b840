"""Options that several commands share, and the consoles they write to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["DEFAULT_CONFIG", "ConfigFile", "errors", "output"]

DEFAULT_CONFIG = Path("config/gateway.yaml")

ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="GATEWAY_CONFIG",
        help="The configuration to use.",
    ),
]


def output() -> Console:
    """Return the console for a command's result (stdout)."""
    return _console(stderr=False)


def errors() -> Console:
    """Return the console for messages (stderr)."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    # A URL can contain `:100:`, which rich would replace with an emoji.
    return Console(stderr=stderr, soft_wrap=True, emoji=False)
