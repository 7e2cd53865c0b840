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

    Wherever not just any text may stand, `${NAME}` may stand too: the loader replaces it before
    anything is checked.
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
    told: dict[str, Any] = {}
    for key, child in node.items():
        if key in _LITERAL:
            told[key] = child
        elif key == "oneOf":
            told["anyOf"] = _with_variables(child)  # a variable meets more than one branch
        elif not _is_title(key, child):
            told[key] = _with_variables(child)
    if "patternProperties" in told:
        told.setdefault("additionalProperties", False)  # a name that does not match is none
    if "anyOf" in told:
        told["anyOf"] = _flat(told["anyOf"])
    elif _is_narrow(told):
        beside = {k: told.pop(k) for k in ("default", "description", "examples") if k in told}
        return {"anyOf": [told, _VARIABLE], **beside}
    return told


def _is_narrow(schema: dict[str, Any]) -> bool:
    """Whether a scalar has to be more than some text."""
    kind = schema.get("type")
    return kind in {"integer", "number", "boolean"} or (
        kind == "string" and not schema.keys().isdisjoint({"const", "enum", "format", "pattern"})
    )


def _flat(branches: list[Any]) -> list[Any]:
    """Return the branches with those of branches in their place, and none of them twice."""
    flat: list[Any] = []
    for branch in branches:
        for one in branch["anyOf"] if branch.keys() == {"anyOf"} else [branch]:
            if one not in flat:
                flat.append(one)
    return flat


def _is_title(key: str, child: Any) -> bool:
    # pydantic derives titles from names; editors show the names anyway.
    return key == "title" and isinstance(child, str)
