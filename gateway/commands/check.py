"""`gateway check`: reports every mistake in a configuration."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.options import DEFAULT_CONFIG
from gateway.errors import ConfigError
from gateway.plan.load import load

if TYPE_CHECKING:
    from gateway.errors import Diagnostic

__all__ = ["check"]


class Format(StrEnum):
    """How diagnostics are printed."""

    TEXT = "text"
    JSON = "json"


def check(
    file: Annotated[Path, typer.Argument(help="The configuration to check.")] = DEFAULT_CONFIG,
    form: Annotated[
        Format, typer.Option("--format", help="text: one line per mistake; json: for tools.")
    ] = Format.TEXT,
) -> None:
    """Report every mistake in a configuration at once, as file:line:col: message.

    Reads the file as strictly as the server does, and the PEM files that it names. Makes no
    upstream call. Exits with status 1 if there are mistakes, for use in a pre-commit hook or a
    pipeline.
    """
    try:
        loaded = load(file)
    except ConfigError as error:
        if form is Format.JSON:
            diagnostics = [_members(error.file, one) for one in error.diagnostics]
            sys.stdout.write(json.dumps({"ok": False, "diagnostics": diagnostics}, indent=2) + "\n")
        else:
            sys.stdout.write("\n".join(error.lines()) + "\n")
        raise typer.Exit(1) from None
    if form is Format.JSON:
        warnings = [_members(loaded.file, warning) for warning in loaded.warnings]
        document = {"ok": True, "diagnostics": [], "warnings": warnings}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    for warning in loaded.warnings:
        place = f"{loaded.file}:{warning.line}:{warning.column}"
        sys.stdout.write(f"{place}: warning: {warning.message}\n")
    sections = sum(len(plan.sections) for plan in loaded.plans)
    sys.stdout.write(
        f"{loaded.file}: ok, {len(loaded.config.upstreams)} upstreams, "
        f"{len(loaded.plans)} dashboards, {sections} sections\n"
    )


def _members(file: str, diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "file": file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "message": diagnostic.message,
    }
