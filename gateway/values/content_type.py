"""Content types: which answers of an upstream are read as JSON, and in which charset.

JSON between systems is UTF-8 (RFC 8259 section 8.1), and only UTF-8 is accepted unless the
upstream's `content_types` allows more. The payload is then transcoded strictly from its declared
charset, by one of the codecs in `CHARSETS`. The table excludes charsets that have been used to
trick scanners and browsers (UTF-7, HZ, ISO-2022-KR) and codecs that are not charsets.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CHARSETS", "ContentTypeError", "ContentTypes", "parse_entry"]

_CODECS = frozenset({
    "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le",
    "latin_1", "iso8859_2", "iso8859_3", "iso8859_4", "iso8859_5", "iso8859_6", "iso8859_7",
    "iso8859_8", "iso8859_9", "iso8859_10", "iso8859_13", "iso8859_14", "iso8859_15", "iso8859_16",
    "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "koi8_r", "koi8_u", "shift_jis", "cp932", "euc_jp", "iso2022_jp", "euc_kr", "cp949",
    "gb2312", "gbk", "gb18030", "big5", "big5hkscs",
})  # fmt: skip

CHARSETS = {alias: codec for alias, codec in aliases.items() if codec in _CODECS} | {
    codec: codec for codec in _CODECS
}
"""Python's codec for each supported charset, by its name in lower case with `_` for `-`.

This is a table because `codecs.lookup` would cache every name that an upstream invents.
"""

_UTF_8 = frozenset({"", "utf_8", "utf8", "us_ascii"})
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - a token of RFC 9110
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}")
_LONGEST = 60


class ContentTypeError(ValueError):
    """An answer of this content type is rejected; the message says how to allow it."""


def parse_entry(text: str) -> tuple[str, str]:
    """Return media type and codec of one entry of `content_types`, such as `text/html`.

    The codec is empty for UTF-8, and `any` where the entry names no charset.

    Raises:
        ValueError: the entry is not a media type, or names an unsupported charset.
    """
    media, _, parameters = text.partition(";")
    media = media.strip().lower()
    if not _MEDIA_TYPE.fullmatch(media):
        raise ValueError(f"{text!r} is not a media type; write one such as text/html, or `any`")
    if not parameters.strip():
        return media, "any"
    name, _, charset = parameters.partition("=")
    charset = _normal(charset)
    if name.strip().lower() != "charset":
        raise ValueError(f"{text!r} has a parameter other than charset; remove it")
    if charset in _UTF_8:
        return media, ""
    if charset not in CHARSETS:
        raise ValueError(f"the charset of {text!r} is not supported; write one such as iso-8859-1")
    return media, CHARSETS[charset]


class ContentTypes:
    """Checks the Content-Type fields of one upstream.

    Args:
        allowed: entries in addition to the media types of JSON, or `any`.
    """

    __slots__ = ("_any", "_codecs")

    def __init__(self, allowed: Iterable[str] | Literal["any"] = ()) -> None:
        self._any = allowed == "any"
        self._codecs: dict[str, set[str]] = {}
        if allowed != "any":
            for entry in allowed:
                media, codec = parse_entry(entry)
                self._codecs.setdefault(media, set()).add(codec)

    def codec(self, field: bytes) -> str:
        """Return the codec for a payload of this Content-Type, empty for UTF-8.

        Raises:
            ContentTypeError: the content type is not allowed.
        """
        head, _, parameters = field.decode("latin-1").partition(";")
        media = head.strip().lower()
        allowed = self._codecs.get(media, set())
        if media and not (self._any or allowed or _is_json(media)):
            raise ContentTypeError(
                f"the content type is {_printable(media)}; {_advice(media)} to the upstream to "
                "allow it"
            )
        charset = _charset(parameters)
        if charset in _UTF_8:
            return ""
        codec = CHARSETS.get(charset)
        if codec is None:
            raise ContentTypeError(
                f"the charset {_printable(charset.replace('_', '-'))} is not supported"
            )
        if not (self._any or codec in allowed or "any" in allowed):
            media = media or "application/json"
            raise ContentTypeError(
                f"the charset is {_printable(charset.replace('_', '-'))}, not UTF-8; "
                f"{_advice(media, charset)} to the upstream to allow it"
            )
        return codec


def _is_json(media: str) -> bool:
    # RFC 6839 section 3.1: a structured syntax suffix.
    return media in {"application/json", "text/json"} or media.endswith("+json")


def _advice(media: str, charset: str = "") -> str:
    if len(media) > _LONGEST or not _MEDIA_TYPE.fullmatch(media):
        return "add `content_types: any`"
    if charset:
        return f'add `content_types: ["{media}; charset={charset.replace("_", "-")}"]`'
    return f"add `content_types: [{media}]`"


def _charset(parameters: str) -> str:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return _normal(value)
    return ""


def _normal(charset: str) -> str:
    return charset.strip().strip('"').lower().replace("-", "_")


def _printable(text: str) -> str:
    return ascii(text[:_LONGEST])[1:-1]
