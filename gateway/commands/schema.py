"""`gateway schema`: prints the JSON Schema of the configuration, or its reference."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from gateway.config import markdown
from gateway.config.schema import json_schema
from gateway.plan.load import document_model

__all__ = ["schema"]


class Format(StrEnum):
    """What is printed."""

    JSON = "json"
    MARKDOWN = "markdown"
    SETTINGS = "settings"


def schema(
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="json: JSON Schema, for editors; markdown: every key of a configuration, to read; "
            "settings: every GATEWAY_* variable, to read.",
        ),
    ] = Format.JSON,
) -> None:
    """Print the JSON Schema of the configuration, or its reference.

    Editors complete and check your file with the schema. Put this line at the top of the file:

        # yaml-language-server: $schema=gateway.schema.json
    """
    write = {
        Format.JSON: _json,
        Format.MARKDOWN: lambda: markdown.configuration(document_model()),
        Format.SETTINGS: markdown.settings,
    }
    sys.stdout.write(write[form]())


def _json() -> str:
    return json.dumps(json_schema(document_model()), indent=2, ensure_ascii=False) + "\n"
