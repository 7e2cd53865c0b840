"""References: places in other values, `{parameter}`, `{section.path}` or `{element.path}`.

The path of a reference is the plain part of JMESPath: `name.name[0].name`, with `[*]` or `[]` where
a list is wanted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jmespath

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ABSENT", "Reference", "Scope", "TemplateError", "parse_reference"]

Scope = dict[str, Any]
"""What references see: parameters, unshaped section values and the current element, by name."""


class _Absent:
    """The value of an optional parameter that was not given; false, and nothing else."""

    def __bool__(self) -> bool:
        return False


ABSENT = _Absent()
"""Stands in a scope for an optional parameter that the client left out."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[(?:-?[0-9]{1,9}|\*)?\])*")
_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)|\[(-?[0-9]+)\]")


class TemplateError(ValueError):
    """A template or reference is malformed; `offset` counts characters from its start."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in another value.

    Attributes:
        text: as written, without the braces.
        root: the parameter, section or element it starts from.
        find: reads the value out of a scope, `None` where there is none.
        offset: where it stands in the template, for messages.
        bare: it is a name alone, without a path into it.
    """

    text: str
    root: str
    find: Callable[[Scope], Any]
    offset: int
    bare: bool


def parse_reference(text: str, offset: int = 0) -> Reference:
    """Compile the inside of one `{...}`.

    Raises:
        TemplateError: when it is no name with an optional path.
    """
    if not _PATH.fullmatch(text):
        raise TemplateError(
            f"{{{text}}} is no reference; write {{parameter}} or {{section.path.to[0].value}}",
            offset,
        )
    name = _NAME.match(text)
    assert name is not None  # noqa: S101 - _PATH begins with _NAME
    root = name[0]
    rest = text[len(root) :]
    if not rest:
        return Reference(text, root, lambda scope: scope.get(root), offset, bare=True)
    if "[*]" in rest or "[]" in rest:
        expression = jmespath.compile(text)
        return Reference(text, root, expression.search, offset, bare=False)
    steps = tuple(m[1] or int(m[2]) for m in _STEP.finditer(rest))
    return Reference(text, root, _walk(root, steps), offset, bare=False)


def _walk(root: str, steps: tuple[str | int, ...]) -> Callable[[Scope], Any]:
    def find(scope: Scope) -> Any:
        value = scope.get(root)
        for step in steps:
            if isinstance(step, str):
                if type(value) is not dict:
                    return None
                value = value.get(step)
            else:
                if type(value) is not list or not -len(value) <= step < len(value):
                    return None
                value = value[step]
        return value

    return find
