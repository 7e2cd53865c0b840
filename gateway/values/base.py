"""The base model of every policy: frozen, validated, without unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Policy"]


class Policy(BaseModel):
    """The parameters of one layer, a mapping in the configuration; defined next to the layer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
