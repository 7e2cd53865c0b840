"""Detects valid expressions that cannot mean what their author intended, at load time.

JMESPath reads a bare `null` as the field of that name, and a reference in braces as text.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jmespath.exceptions import LexerError, ParseError
from jmespath.lexer import Lexer

from gateway.expressions.reference import Reference, TemplateError, parse_reference

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["bare_word", "references_in", "syntax_hint"]

_WORDS = frozenset({"null", "true", "false"})
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BRACES = re.compile(r"\{([^{}]*)\}")
_MOST = 40


def bare_word(text: str) -> tuple[str, int] | None:
    """Return a message about the first `null`, `true` or `false` without backticks, and its offset.

    `text` is a valid expression, in which such a word is the name of a field. After a dot and
    before a colon or parenthesis it is meant to be a name.
    """
    before = ""
    tokens: Iterator[Any] = Lexer().tokenize(text)
    for token, following in pairwise(tokens):
        word = token["value"]
        if (
            token["type"] == "unquoted_identifier"
            and word in _WORDS
            and before != "dot"
            and following["type"] not in {"colon", "lparen"}
        ):
            message = (
                f"{word} is the name of a field here; write `{word}` in backticks for the value, "
                f'or "{word}" in quotes for the field'
            )
            return message, token["start"]
        before = token["type"]
    return None


def syntax_hint(text: str, error: Exception) -> tuple[str, int]:
    """Return a hint how to fix a syntax error, if there is one, and the error's offset."""
    if isinstance(error, LexerError):
        at = error.lexer_position or 0
        return "; write == to compare" if text[at : at + 1] == "=" else "", at
    if not isinstance(error, ParseError):
        return "", 0
    at = error.lex_position or 0
    number = _NUMBER.match(text, at)
    if number is None or len(number[0]) > _MOST:
        return "", at
    if text[:at].rstrip().endswith("."):
        return f"; write [{number[0]}] for an element of a list", at
    return f"; write `{number[0]}` in backticks for the number", at


def references_in(text: str, known: Collection[str]) -> Iterator[tuple[Reference, int]]:
    """Yield each reference in braces to a known name, and its offset; double braces are text.

    In JMESPath braces contain `name: expression`, never only a name: that is text or a mistake.
    """
    for match in _BRACES.finditer(text):
        start, end = match.span()
        if text[max(0, start - 1) : start] == "{" and text[end : end + 1] == "}":
            continue
        try:
            reference = parse_reference(match[1], start)
        except TemplateError:
            continue
        if reference.root in known:
            yield reference, start
