"""`gateway openapi`: prints the OpenAPI document."""

from __future__ import annotations

import json
import sys

from gateway.app import create_app
from gateway.commands.options import DEFAULT_CONFIG, ConfigFile

__all__ = ["openapi"]


def openapi(config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Print the OpenAPI document of the dashboards.

    Feed it to a client generator: sections, states and error codes are typed.
    """
    sys.stdout.write(json.dumps(create_app(config).openapi(), indent=2, ensure_ascii=False) + "\n")
