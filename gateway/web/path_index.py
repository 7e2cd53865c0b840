"""Finds a dashboard by path in a tree of segments; a thousand dashboards cost no more than one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Found", "PathIndex"]

T = TypeVar("T")

Found = tuple[T, tuple[tuple[str, str], ...]]
"""A target, and the names and texts of its path parameters."""


class _Node(Generic[T]):
    __slots__ = ("literal", "names", "parameter", "target")

    def __init__(self) -> None:
        self.literal: dict[bytes, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.target: T | None = None
        self.names: tuple[str, ...] = ()


class PathIndex(Generic[T]):
    """Maps paths with `{parameter}` segments to targets; a literal segment beats a parameter.

    It takes paths as they came over the wire and decodes each segment by itself, so an encoded
    slash is part of a value and never a separator (RFC 3986 section 2.2). A path that finds
    nothing is looked up again without the one slash at its end.
    """

    __slots__ = ("_root", "_static")

    def __init__(self, routes: Iterable[tuple[str, T]]) -> None:
        self._static: dict[bytes, Found[T]] = {}
        self._root: _Node[T] = _Node()
        for path, target in routes:
            self._add(path, target)

    def _add(self, path: str, target: T) -> None:
        node = self._root
        names = []
        for segment in path[1:].split("/"):
            if segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literal.setdefault(segment.encode("ascii"), _Node())
        node.target = target
        node.names = tuple(names)
        if not names:
            self._static[path.encode("ascii")] = (target, ())

    def find(self, raw_path: bytes) -> Found[T] | None:
        """Return the target and its parameters' texts, or `None`.

        Raises:
            UnicodeDecodeError: a parameter is not UTF-8.
        """
        found = self._static.get(raw_path)
        if found is not None:
            return found
        if raw_path[:1] != b"/":
            return None
        found = self._look(raw_path)
        if found is None and raw_path[-1:] == b"/" and raw_path[-2:] not in (b"/", b"//"):
            found = self._look(raw_path[:-1])
        return found

    def _look(self, raw_path: bytes) -> Found[T] | None:
        """Return the target of exactly this path."""
        values: list[bytes] = []
        node = _descend(self._root, raw_path[1:].split(b"/"), 0, values)
        if node is None or node.target is None:
            return None
        return node.target, tuple(zip(node.names, map(_decode, values), strict=True))


def _descend(
    node: _Node[T], segments: list[bytes], at: int, values: list[bytes]
) -> _Node[T] | None:
    """Follow `segments` down, no deeper than the declared paths."""
    if at == len(segments):
        return node if node.target is not None else None
    segment = segments[at]
    child = node.literal.get(segment)
    if child is None and b"%" in segment:
        child = node.literal.get(unquote_to_bytes(segment))
    if child is not None:
        found = _descend(child, segments, at + 1, values)
        if found is not None:
            return found
    if node.parameter is not None:
        values.append(segment)
        found = _descend(node.parameter, segments, at + 1, values)
        if found is not None:
            return found
        values.pop()
    return None


def _decode(segment: bytes) -> str:
    return (unquote_to_bytes(segment) if b"%" in segment else segment).decode("utf-8")
