"""The JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import Any

from gateway.config.models import Config

__all__ = ["json_schema"]

_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}


def json_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12).

    Where a number or a switch is asked for, `${NAME}` may stand too: the loader replaces it before
    anything is checked.
    """
    schema = _with_variables(Config.model_json_schema(by_alias=True))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the aggregation gateway",
        **{key: value for key, value in schema.items() if key != "title"},
    }


def _with_variables(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_variables(child) for child in node]
    if not isinstance(node, dict):
        return node
    told = {key: _with_variables(child) for key, child in node.items() if not _is_title(key, child)}
    if told.get("type") in {"integer", "number", "boolean"}:
        beside = {k: told.pop(k) for k in ("default", "description") if k in told}
        return {"anyOf": [told, _VARIABLE], **beside}
    return told


def _is_title(key: str, child: Any) -> bool:
    # pydantic derives titles from names; editors show the names anyway.
    return key == "title" and isinstance(child, str)
