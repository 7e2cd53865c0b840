"""`gateway schema`."""

from __future__ import annotations

import json
import sys

from gateway.config.schema import json_schema

__all__ = ["schema"]


def schema() -> None:
    """Print the JSON Schema of the configuration.

    Editors complete and check your file with it. Put this line on top of the file:

        # yaml-language-server: $schema=gateway.schema.json
    """
    sys.stdout.write(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n")
