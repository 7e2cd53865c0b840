"""URL templates: `upstream:/path?query` with references in braces.

All characters of a referenced value but the unreserved ones (RFC 3986 section 2.3) are
percent-encoded, so it can end neither its path segment nor its query value: it can never change
host, path depth or other parameters. A path segment that renders as empty, `.` or `..` is refused,
since servers resolve these (RFC 3986 section 5.2.4).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gateway.errors import DependencyFailed
from gateway.expressions.reference import ABSENT, Reference, TemplateError, parse_reference
from gateway.upstreams.http.operation import HttpOperation
from gateway.upstreams.kind import NOTHING_SENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.expressions.reference import Scope
    from gateway.upstreams.kind import Sent

__all__ = ["Pair", "Template", "parse_template"]

_UPSTREAM = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*):(?=/)")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOTS = re.compile(r"(?:\.|%2e){0,2}", re.IGNORECASE)
# Characters that literals may contain unencoded: those of RFC 3986 pchar and query, and existing
# percent-encoding. An & in a path is encoded, so the first & of a target begins its query.
_PATH_SAFE = "!$'()*+,;=:@-._~%"
_QUERY_SAFE = _PATH_SAFE + "&/?"


@dataclass(frozen=True, slots=True)
class Pair:
    """One `name=value` of a query, its parts literal text or references."""

    name: tuple[str | Reference, ...]
    value: tuple[str | Reference, ...] | None


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled `upstream:/path?query`.

    Attributes:
        text: the source text.
        upstream: name of the upstream.
        references: every reference in it, in order.
        path: segments of the path, each a sequence of literal text and references.
        query: the pairs of the query.
        render: renders the request target for a scope.
        constant: the operation of every request, if there are no references.
    """

    text: str
    upstream: str
    references: tuple[Reference, ...]
    path: tuple[tuple[str | Reference, ...], ...]
    query: tuple[Pair, ...]
    render: Callable[[Scope], str]
    constant: HttpOperation | None

    def needed_references(self) -> tuple[Reference, ...]:
        """Return the references that must have a value for the call to be made.

        A reference that is a whole query value is not one of them: its pair is dropped.
        """
        whole = {
            id(pair.value[0])
            for pair in self.query
            if pair.value is not None and len(pair.value) == 1
            and all(isinstance(part, str) for part in pair.name)
        }  # fmt: skip
        return tuple(r for r in self.references if not (r.bare and id(r) in whole))

    def repeats(self, element: str) -> bool:
        """Whether one query pair `name={element}` can be repeated to request many elements."""
        pairs = [
            pair
            for pair in self.query
            for part in pair.value or ()
            if isinstance(part, Reference) and part.root == element
        ]
        references = [r for r in self.references if r.root == element]
        return (
            len(pairs) == 1
            and len(references) == 1
            and references[0].bare
            and len(pairs[0].value or ()) == 1
        )

    def operation(self, scope: Scope, sent: Sent) -> HttpOperation:
        """Return the operation for one request; references resolve in `scope`.

        Raises:
            DependencyFailed: a reference has no value that fits its place.
        """
        if self.constant is not None and sent is NOTHING_SENT:
            return self.constant
        return HttpOperation(self.render(scope), "GET", sent.headers, sent.propagated)

    def explain(self, scope: Scope) -> str:
        """Return the request target.

        Raises:
            DependencyFailed: a reference has no value yet.
        """
        return self.render(scope)


def _parts(text: str, offset: int, safe: str = _QUERY_SAFE) -> tuple[str | Reference, ...]:
    """Split `text` into literal runs and references; `{{` and `}}` are literal braces."""
    parts: list[str | Reference] = []
    literal: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if text.startswith(("{{", "}}"), at):
            literal.append(char)
            at += 2
        elif char == "{":
            end = text.find("}", at)
            if end < 0:
                raise TemplateError(
                    "this { is never closed; write {{ for a literal brace", offset + at
                )
            if literal:
                parts.append(quote("".join(literal), safe=safe))
                literal.clear()
            parts.append(parse_reference(text[at + 1 : end], offset + at))
            at = end + 1
        elif char == "}":
            raise TemplateError(
                "this } was never opened; write }} for a literal brace", offset + at
            )
        else:
            literal.append(char)
            at += 1
    if literal:
        parts.append(quote("".join(literal), safe=safe))
    return tuple(parts)


def _pieces(text: str, separator: str, offset: int) -> list[tuple[str, int]]:
    """Split at `separator` outside of references; return each piece with its offset."""
    pieces: list[tuple[str, int]] = []
    start = at = 0
    while at < len(text):
        if text.startswith(("{{", "}}"), at):
            at += 2
            continue
        if text[at] == "{":
            at = max(at, text.find("}", at))
        elif text[at] == separator:
            pieces.append((text[start:at], offset + start))
            start = at + 1
        at += 1
    pieces.append((text[start:], offset + start))
    return pieces


def _check_characters(text: str) -> None:
    for at, char in enumerate(text):
        if char.isspace() or ord(char) < 0x20 or char in "#\\\x7f":  # noqa: PLR2004 - C0 controls
            raise TemplateError(f"{char!r} cannot stand in a URL; percent-encode it", at)
    # A % without two hex digits would form an escape with the characters after it, even with
    # those of a referenced value.
    lone = _LONE_PERCENT.search(text)
    if lone is not None:
        raise TemplateError("write %25 for a literal %", lone.start())


def parse_template(text: str) -> Template:
    """Compile `upstream:/path?query`.

    Raises:
        TemplateError: it is malformed.
    """
    match = _UPSTREAM.match(text)
    if match is None:
        raise TemplateError("write upstream:/path?query, starting with the name of an upstream")
    start = match.end()
    _check_characters(text)
    path_text, _, query_text = text[start:].partition("?")
    segments = _pieces(path_text[1:], "/", start + 1)
    for piece, at in segments:
        if piece and _DOTS.fullmatch(piece):
            raise TemplateError("a path cannot contain . or .. segments", at)
    path = tuple(_parts(piece, at, _PATH_SAFE) for piece, at in segments)
    query = []
    if query_text:
        for piece, at in _pieces(query_text, "&", start + len(path_text) + 1):
            (name, name_at), *values = _pieces(piece, "=", at)
            if not values:
                query.append(Pair(_parts(name, name_at), None))
            else:
                value_at = values[0][1]
                value = piece[value_at - at :]
                query.append(Pair(_parts(name, name_at), _parts(value, value_at)))
    references = [p for segment in path for p in segment if isinstance(p, Reference)]
    for pair in query:
        references += [p for p in (*pair.name, *(pair.value or ())) if isinstance(p, Reference)]
    render = _renderer(path, tuple(query))
    constant = None if references else HttpOperation(render({}))
    return Template(text, match[1], tuple(references), path, tuple(query), render, constant)


def _encode(value: Any, reference: Reference) -> str:
    """Percent-encode one referenced scalar."""
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is str:
        if value.isalnum() and value.isascii():
            return str(value)
        try:
            return quote(value, safe="")
        except UnicodeEncodeError:
            raise DependencyFailed(f"{{{reference.text}}} is not valid Unicode text") from None
    if kind is float:
        return quote(repr(value), safe="")
    if kind is bool:
        return "true" if value else "false"
    if value is None or value is ABSENT:
        raise DependencyFailed(f"{{{reference.text}}} has no value")
    raise DependencyFailed(
        f"{{{reference.text}}} is {'a list' if kind is list else 'an object'}, not a single value"
    )


def _renderer(
    path: tuple[tuple[str | Reference, ...], ...], query: tuple[Pair, ...]
) -> Callable[[Scope], str]:
    """Compile a template once, so that rendering only joins strings."""
    steps: list[Callable[[Scope], str] | str] = []
    for segment in path:
        steps.append("/")
        dynamic = any(isinstance(p, Reference) for p in segment)
        steps.append(_segment(segment) if dynamic else "".join(map(str, segment)))
    for pair in query:
        references = [p for p in (*pair.name, *(pair.value or ())) if isinstance(p, Reference)]
        if references:
            steps.append(_pair(pair))
        else:
            name = "".join(map(str, pair.name))
            steps.append(
                f"&{name}" if pair.value is None else f"&{name}={''.join(map(str, pair.value))}"
            )
    # Adjacent constants are merged, so that rendering joins as few strings as possible.
    merged: list[Callable[[Scope], str] | str] = []
    for step in steps:
        if merged and isinstance(step, str) and isinstance(merged[-1], str):
            merged[-1] += step
        else:
            merged.append(step)
    if all(isinstance(step, str) for step in merged):
        constant = _question("".join(map(str, merged)))
        return lambda scope: constant  # noqa: ARG005 - a target without references
    plan = tuple(merged)

    def render(scope: Scope) -> str:
        return _question(
            "".join([step if type(step) is str else step(scope) for step in plan])  # type: ignore[operator]
        )

    return render


def _question(target: str) -> str:
    return target.replace("&", "?", 1)


def _segment(segment: tuple[str | Reference, ...]) -> Callable[[Scope], str]:
    def render(scope: Scope) -> str:
        text = "".join(
            [
                part if type(part) is str else _encode(part.find(scope), part)  # type: ignore[arg-type]
                for part in segment
            ]
        )
        if len(text) <= 6 and _DOTS.fullmatch(text):  # noqa: PLR2004 - the length of %2e%2e
            names = ", ".join(f"{{{p.text}}}" for p in segment if isinstance(p, Reference))
            raise DependencyFailed(f"{names} makes an empty or dot path segment")
        return text

    return render


def _pair(pair: Pair) -> Callable[[Scope], str]:
    value = pair.value
    lone = value[0] if value is not None and len(value) == 1 else None
    if isinstance(lone, Reference) and all(isinstance(p, str) for p in pair.name):
        return _single(f"&{''.join(map(str, pair.name))}=", lone)
    parts: tuple[str | Reference, ...] = ("&", *pair.name)
    if value is not None:
        parts = (*parts, "=", *value)

    def render(scope: Scope) -> str:
        return "".join(
            [
                part if type(part) is str else _encode(part.find(scope), part)  # type: ignore[arg-type]
                for part in parts
            ]
        )

    return render


def _single(prefix: str, reference: Reference) -> Callable[[Scope], str]:
    """Render `name={reference}`: a list repeats the pair, an absent optional parameter drops it."""
    find = reference.find

    def render(scope: Scope) -> str:
        value = find(scope)
        if type(value) is list:
            if not value:  # without the pair the upstream would return everything, not nothing
                raise DependencyFailed(f"{{{reference.text}}} is an empty list")
            return "".join([prefix + _encode(v, reference) for v in value])
        if value is ABSENT:
            return ""
        return prefix + _encode(value, reference)

    return render
