"""The JSON Schema of the configuration, for editors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.config.models import Config

__all__ = ["json_schema"]

_VARIABLE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}


# A variable cannot stand for a name, and values are not schemas.
_LITERAL = frozenset({"propertyNames", "default", "examples", "const", "enum"})


def json_schema(document: type[Config]) -> dict[str, Any]:
    """Return the schema (draft 2020-12) of the model of the whole document.

    `${NAME}` is allowed for every scalar that is more than free text: the loader replaces it
    before it checks anything.
    """
    schema = _with_variables(document.model_json_schema(by_alias=True))
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
    widened: dict[str, Any] = {}
    for key, child in node.items():
        if key in _LITERAL:
            widened[key] = child
        elif key == "oneOf":
            widened["anyOf"] = _with_variables(child)  # a variable matches more than one branch
        elif not _is_title(key, child):
            widened[key] = _with_variables(child)
    if "patternProperties" in widened:
        widened.setdefault("additionalProperties", False)  # a name that does not match is invalid
    if "anyOf" in widened:
        widened["anyOf"] = _flat(widened["anyOf"])
    elif _is_narrow(widened):
        annotations = {
            k: widened.pop(k) for k in ("default", "description", "examples") if k in widened
        }
        return {"anyOf": [widened, _VARIABLE], **annotations}
    return widened


def _is_narrow(schema: dict[str, Any]) -> bool:
    """Whether a scalar has to be more than free text."""
    kind = schema.get("type")
    return kind in {"integer", "number", "boolean"} or (
        kind == "string" and not schema.keys().isdisjoint({"const", "enum", "format", "pattern"})
    )


def _flat(branches: list[Any]) -> list[Any]:
    """Return the branches with nested ones flattened and duplicates removed."""
    flat: list[Any] = []
    for branch in branches:
        for one in branch["anyOf"] if branch.keys() == {"anyOf"} else [branch]:
            if one not in flat:
                flat.append(one)
    return flat


def _is_title(key: str, child: Any) -> bool:
    # pydantic derives titles from names; editors show the names anyway.
    return key == "title" and isinstance(child, str)
