"""Excerpts of untrusted text, short and safe enough to log or to quote in an answer."""

from __future__ import annotations

__all__ = ["LONGEST", "SHORT", "excerpt", "one_line", "shortened"]

LONGEST = 512
"""Maximum characters of an excerpt."""

SHORT = 120
"""Maximum characters of a text that is quoted to a client."""

_GAP = " ... "

_WIDEST = 4  # maximum bytes of a character in UTF-8


def excerpt(body: bytes) -> str:
    """Return the beginning of `body` as one line of at most `LONGEST` characters.

    The text is decoded as UTF-8; bytes that are not UTF-8 become U+FFFD. Control characters, line
    separators and characters that change the text direction are escaped, so that an upstream can
    neither forge a log line nor hide a part of one. An ellipsis at the end marks a truncated text.
    """
    head = body[: LONGEST * _WIDEST]
    return one_line(head.decode("utf-8", "replace"), LONGEST, more=len(body) > len(head))


def one_line(text: str, longest: int = LONGEST, *, more: bool = False) -> str:
    """Return `text` with every unprintable character escaped, cut to `longest` characters.

    Args:
        text: the text.
        longest: maximum characters, including the ellipsis.
        more: `text` is already truncated.
    """
    if len(text) <= longest and not more and text.isprintable():
        return text
    parts: list[str] = []
    room = longest
    for character in text[: longest + 1]:
        shown = character if character.isprintable() else _escaped(character)
        room -= len(shown)
        if room < 0:
            more = True
            break
        parts.append(shown)
    line = "".join(parts)
    if more:
        while len(line) >= longest:
            line = line.removesuffix(parts.pop())
        line += "…"
    return line


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def shortened(text: str, longest: int = SHORT) -> str:
    """Return `text`, with its middle removed where it is longer than `longest` characters.

    A message often quotes a value and then says what is wrong with it: both ends matter.
    """
    if len(text) <= longest:
        return text
    room = longest - len(_GAP)
    end = room // 2
    return text[: room - end] + _GAP + text[-end:]
