"""References to other values: `{parameter}`, `{section.path}` or `{element.path}`.

The path of a reference is a subset of JMESPath: `name.name[0].name`, with `[*]` or `[]` for a list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jmespath

from gateway.errors import DependencyFailed
from gateway.expressions.evaluation import compile_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ABSENT", "CutList", "Glimpse", "Reference", "Scope", "TemplateError", "parse_reference"]

Scope = dict[str, Any]
"""The values that references read: parameters, unshaped sections, the current element, by name."""


class _Absent:
    """The value of an optional parameter that the client omitted; it is falsy."""

    def __bool__(self) -> bool:
        return False


ABSENT = _Absent()
"""The value in a scope of an optional parameter that the client omitted."""


class CutList(list[Any]):
    """The first elements of a list.

    Attributes:
        total: number of elements in the whole list.
    """

    def __init__(self, elements: list[Any], total: int) -> None:
        super().__init__(elements)
        self.total = total


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The parts of a value that references read, where the value was not decoded in this process.

    Attributes:
        found: the values by the text of the reference.
        beyond: references that read more than can be decoded here, with the reason.
    """

    found: Mapping[str, Any]
    beyond: Mapping[str, str] = field(default_factory=dict)

    def read(self, text: str) -> Any:
        """Return the value of the reference with that text.

        Raises:
            DependencyFailed: the value is too large.
        """
        if text in self.beyond:
            raise DependencyFailed(f"{{{text}}} {self.beyond[text]}")
        return self.found.get(text)


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[(?:-?[0-9]{1,9}|\*)?\])*")
_LISTS = re.compile(r"\[\*?\]")
_MOST_LISTS = 64
_STEP = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)|\[(-?[0-9]+)\]")


class TemplateError(ValueError):
    """A template or reference is malformed; `offset` counts characters from its start."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Reference:
    """A compiled reference to another value.

    Attributes:
        text: the source text, without the braces.
        root: the parameter, section or element that it starts from.
        find: reads the value from a scope, `None` where there is none.
        offset: its position in the template, for messages.
        bare: it is only a name, without a path.
    """

    text: str
    root: str
    find: Callable[[Scope], Any]
    offset: int
    bare: bool


def parse_reference(text: str, offset: int = 0) -> Reference:
    """Compile the inside of one `{...}`.

    Raises:
        TemplateError: it is not a name with an optional path, or the path goes through too many
            lists.
    """
    if not _PATH.fullmatch(text):
        raise TemplateError(
            f"{{{text}}} is not a reference; write {{parameter}} or {{section.path.to[0].value}}",
            offset,
        )
    name = _NAME.match(text)
    assert name is not None  # noqa: S101 - _PATH begins with _NAME
    root = name[0]
    rest = text[len(root) :]
    if not rest:
        return Reference(text, root, _whole(root), offset, bare=True)
    lists = len(_LISTS.findall(rest))
    if lists > _MOST_LISTS:
        raise TemplateError(f"a reference goes through more than {_MOST_LISTS} lists", offset)
    if lists:
        return Reference(text, root, _projected(root, text), offset, bare=False)
    steps = tuple(m[1] or int(m[2]) for m in _STEP.finditer(rest))
    return Reference(text, root, _walk(root, steps, text), offset, bare=False)


def _whole(root: str) -> Callable[[Scope], Any]:
    def find(scope: Scope) -> Any:
        value = scope.get(root)
        return value.read(root) if type(value) is Glimpse else value

    return find


def _projected(root: str, text: str) -> Callable[[Scope], Any]:
    search = compile_tree(jmespath.compile(text).parsed)

    def find(scope: Scope) -> Any:
        value = scope.get(root)
        return value.read(text) if type(value) is Glimpse else search(scope)

    return find


def _walk(root: str, steps: tuple[str | int, ...], text: str) -> Callable[[Scope], Any]:
    def find(scope: Scope) -> Any:
        value = scope.get(root)
        for step in steps:
            if isinstance(step, str):
                if type(value) is not dict:
                    return value.read(text) if type(value) is Glimpse else None
                value = value.get(step)
            else:
                if type(value) is not list or not -len(value) <= step < len(value):
                    return value.read(text) if type(value) is Glimpse else None
                value = value[step]
        return value

    return find
