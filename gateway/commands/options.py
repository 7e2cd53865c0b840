"""Options that several commands share, and the terminals they write to."""

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
    """Return the console for what was asked for."""
    return Console(soft_wrap=True)


def errors() -> Console:
    """Return the console for everything else."""
    return Console(stderr=True, soft_wrap=True)
