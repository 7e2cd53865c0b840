"""What every Policy is: frozen, validated, closed to unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Policy"]


class Policy(BaseModel):
    """The parameters of one layer, kept beside it; written as a mapping in the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
