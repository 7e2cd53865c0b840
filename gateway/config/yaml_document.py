"""A YAML document as plain JSON values, with the place of every key and value.

`yaml.compose` returns nodes with their line and column. This module makes values from them by the
core schema of YAML 1.2 (only true and false are booleans, dates are text), and replaces `${NAME}`
and `${NAME:-default}` from the environment. A replaced text is a value, never YAML.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from gateway.errors import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Document", "Place", "read"]

Location = tuple[str | int, ...]

_QUOTED = {"'", '"', "|", ">"}
_MAX_NODES = 500_000
_MAX_DEPTH = 64
_SECRET = 4
"""Fewest characters of a value that messages do not show."""

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None,
          "true": True, "True": True, "TRUE": True,
          "false": False, "False": False, "FALSE": False}  # fmt: skip
_PLAIN_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map", "!"}


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves plain scalars as text; `_scalar` gives them their types."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


class Place(NamedTuple):
    """The position of a value in the file; lines and columns count from 1.

    Attributes:
        key: where a member's key begins; for other values the value itself.
        value: where the value begins.
        inner: column of the text's first character, 0 where columns inside it cannot be counted.
    """

    key: tuple[int, int]
    value: tuple[int, int]
    inner: int


class Document:
    """A YAML document, read.

    Attributes:
        value: the document as JSON values.
        places: place of every value by its location.
        diagnostics: what is wrong with it as YAML.
        refused: values that already have a diagnostic; further diagnostics about the text in
            their place are dropped.
        variables: values of the variables that it uses, by name.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.places: dict[Location, Place] = {}
        self.diagnostics: list[Diagnostic] = []
        self.refused: set[Location] = set()
        self.variables: dict[str, str] = {}

    def explains(self, diagnostic: Diagnostic) -> bool:
        """Whether `diagnostic` is only a consequence of a refused value."""
        # A diagnostic about the key does not depend on the value.
        location = diagnostic.location[:-1] if diagnostic.at_key else diagnostic.location
        return any(location[:n] in self.refused for n in range(1, len(location) + 1))

    def without_values(self, message: str) -> str:
        """Return a message with `${NAME}` for each value of a variable: it may be a secret."""
        names = {
            form: name
            for name, value in self.variables.items()
            for form in (value, value.strip(), repr(value)[1:-1])
            if len(form) >= _SECRET
        }
        if not names:
            return message
        longest_first = sorted(names, key=len, reverse=True)
        values = re.compile("|".join(map(re.escape, longest_first)))
        return values.sub(lambda match: f"${{{names[match[0]]}}}", message)

    def place(self, diagnostic: Diagnostic) -> Diagnostic:
        """Return the diagnostic with line and column."""
        location = diagnostic.location
        exact = True
        while location not in self.places and location:
            location, exact = location[:-1], False
        place = self.places.get(location, Place((1, 1), (1, 1), 0))
        line, column = place.key if diagnostic.at_key or not exact else place.value
        if exact and diagnostic.offset and place.inner and not diagnostic.at_key:
            column = place.inner + diagnostic.offset
        return Diagnostic(
            diagnostic.message,
            diagnostic.location,
            diagnostic.at_key,
            diagnostic.offset,
            line,
            column,
        )


def read(text: str, environment: Mapping[str, str]) -> Document:
    """Read `text`; the document's diagnostics list what is wrong."""
    reader = _Reader(environment)
    try:
        deep = _too_deep(text)
        if deep is not None:
            reader.refuse_at(_mark(deep), f"nested too deeply, more than {_MAX_DEPTH} levels")
            return reader.document
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = _mark(mark) if mark else (1, 1)
        message = f"not valid YAML: {error.problem or error.context or 'cannot be read'}"
        if "${" in _up_to(text, at):
            message += '; write "${NAME}" in quotes between braces or brackets'
        reader.refuse_at(at, message)
        return reader.document
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or "nested too deeply"
        reader.refuse_at(_reader_position(error, text), f"not valid YAML: {reason}")
        return reader.document
    if node is None:
        reader.refuse_at((1, 1), "the file is empty")
        return reader.document
    reader.document.value = reader.make(node, (), None)
    return reader.document


def _too_deep(text: str) -> Any:
    """Return the mark where `text` is nested deeper than the limit.

    The composer of libyaml's binding recurses on the C stack without a limit, and an overflow ends
    the process before any handler runs. Its parser does not recurse.
    """
    loader = _Loader(text)
    try:
        depth = 0
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    return event.start_mark
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        return None
    finally:
        loader.dispose()


def _mark(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _up_to(text: str, at: tuple[int, int]) -> str:
    """Return the part of the line before a place."""
    lines = text.splitlines()[at[0] - 1 : at[0]]
    return lines[0][: at[1]] if lines else ""


def _reader_position(error: Exception, text: str) -> tuple[int, int]:
    at = getattr(error, "position", 0)
    before = text[:at] if isinstance(at, int) else ""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


class _Reader:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.document = Document()
        self._environment = environment
        self._nodes = 0
        self._open: list[int] = []

    def refuse_at(self, at: tuple[int, int], message: str, value: Location = ()) -> None:
        """Record a mistake; further mistakes at `value` are dropped."""
        self.document.diagnostics.append(Diagnostic(message, value, line=at[0], column=at[1]))
        if value:
            self.document.refused.add(value)

    def make(self, node: Any, location: Location, key: Any) -> Any:
        """Return the value of a node and record its place."""
        start = _mark(node.start_mark)
        self.document.places[location] = Place(
            _mark(key.start_mark) if key is not None else start, start, _inner(node)
        )
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            if self._nodes == _MAX_NODES + 1:
                self.refuse_at(start, f"more than {_MAX_NODES} values, aliases counted", location)
            return None
        if id(node) in self._open or len(self._open) >= _MAX_DEPTH:
            self.refuse_at(start, "nested too deeply, or inside itself", location)
            return None
        if node.tag not in _PLAIN_TAGS:
            self.refuse_at(start, f"tags such as {_tag(node.tag)} are not supported", location)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, location)
        self._open.append(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [
                    self.make(child, (*location, i), None) for i, child in enumerate(node.value)
                ]
            return self._mapping(node, location)
        finally:
            self._open.pop()

    def _mapping(self, node: Any, location: Location) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, child in node.value:
            at = _mark(key.start_mark)
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _PLAIN_TAGS:
                self.refuse_at(at, "a key should be text")
                continue
            name: str = key.value
            if name == "<<" and key.style not in _QUOTED:
                self.refuse_at(at, "merge keys (<<) are not YAML 1.2; use an alias for each value")
            elif name in members:
                before = self.document.places[(*location, name)].key[0]
                self.refuse_at(at, f"duplicate key {name}, first on line {before}")
            else:
                members[name] = self.make(child, (*location, name), key)
        return members

    def _scalar(self, node: Any, location: Location) -> Any:
        raw: str = node.value
        text = self._replaced(raw, location) if "${" in raw else raw
        if text != raw:
            place = self.document.places[location]
            self.document.places[location] = place._replace(inner=0)
        if any("\ud800" <= char <= "\udfff" for char in text):
            self.refuse_at(_mark(node.start_mark), "a lone surrogate is not valid text", location)
        if node.style in _QUOTED or location in self.document.refused:
            return text
        return self._plain(text, node, location)

    def _plain(self, text: str, node: Any, location: Location) -> Any:
        """Type a plain scalar by the core schema (YAML 1.2.2 section 10.3.2)."""
        if text in _WORDS:
            return _WORDS[text]
        value: int | float
        if _INTEGER.fullmatch(text):
            value = int(text, 0) if text[:2] in {"0o", "0x"} else int(text[:32])
            if len(text) > 20 or not -(2**63) <= value < 2**63:  # noqa: PLR2004 - digits of 64 bits
                message = "an integer has at most 64 bits"
                self.refuse_at(_mark(node.start_mark), message, location)
                return text
            return value
        if _FLOAT.fullmatch(text):
            value = float(text)
            if math.isfinite(value):
                return value
        if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            # Quotes the source text: the value of a variable may be a secret.
            message = f"{node.value[:40]} is not a finite number"
            self.refuse_at(_mark(node.start_mark), message, location)
        return text

    def _replaced(self, raw: str, location: Location) -> str:
        """Replace variables; a missing one gets a diagnostic at its own column."""

        def one(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            name, default = match[1], match[2]
            if name is None:
                message = "write ${NAME} or ${NAME:-default}; $${ stands for a plain ${"
            elif name in self._environment:
                value = self.document.variables[name] = self._environment[name]
                return value
            elif default is not None:
                return str(default)
            else:
                message = (
                    f"{name} is not set; set it in the environment, or write ${{{name}:-default}}"
                )
            diagnostic = Diagnostic(message, location, offset=match.start())
            self.document.diagnostics.append(self.document.place(diagnostic))
            self.document.refused.add(location)
            return match[0]

        return _VARIABLE.sub(one, raw)


def _inner(node: Any) -> int:
    """Return the column of a scalar's first character where its columns can be counted."""
    if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line:
        return 0
    quotes = 1 if node.style in _QUOTED else 0
    length: int = node.end_mark.column - node.start_mark.column
    plain = length == len(node.value) + 2 * quotes
    return node.start_mark.column + 1 + quotes if plain and node.style not in {"|", ">"} else 0


def _tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")
