"""Reads the parameters of a dashboard from a request's path and query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from gateway.expressions.parameter import InvalidParameterError
from gateway.expressions.reference import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.expressions.parameter import Parameter

__all__ = ["InvalidRequestError", "RequestParameters", "values_of"]


_NO_UTF_8 = "is not UTF-8"


class InvalidRequestError(ValueError):
    """The request does not meet the dashboard's parameters; `problems` lists each mistake."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{name} {detail}" for name, detail in problems))
        self.problems = problems


class RequestParameters:
    """Reads the parameters of one dashboard. Query parameters that it does not declare are ignored.

    Args:
        parameters: compiled declarations.
    """

    __slots__ = ("_defaults", "_parameters", "_path", "_query", "_required")

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._path = {p.name: p for p in parameters if p.in_path}
        self._query = {p.name: p for p in parameters if not p.in_path}
        self._required = [p.name for p in self._query.values() if p.required]
        self._defaults = {
            p.name: ABSENT if p.default is None and "default" not in p.schema else p.default
            for p in self._query.values()
        }

    def read(self, path: Iterable[tuple[str, str]], query: bytes) -> dict[str, Any]:
        """Return every parameter's value by name; `ABSENT` for an optional one left out.

        Raises:
            InvalidRequestError: parameters are invalid; the error lists every mistake.
        """
        values: dict[str, Any] = dict(self._defaults)
        wrong: list[tuple[str, str]] = []
        for name, text in path:
            self._one(self._path[name], [text], values, wrong)
        given = self._given(query, wrong) if query and self._query else {}
        for name, texts in given.items():
            self._one(self._query[name], texts, values, wrong)
        if self._required:
            refused = {name for name, _ in wrong}
            wrong += [
                (name, "is required")
                for name in self._required
                if name not in given and name not in refused
            ]
        if wrong:
            raise InvalidRequestError(wrong)
        return values

    @staticmethod
    def _one(
        parameter: Parameter, texts: list[str], values: dict[str, Any], wrong: list[tuple[str, str]]
    ) -> None:
        try:
            values[parameter.name] = parameter.read(texts)
        except InvalidParameterError as error:
            wrong.append((error.parameter, str(error)))

    def _given(self, query: bytes, wrong: list[tuple[str, str]]) -> dict[str, list[str]]:
        """Return the texts of declared query parameters (WHATWG form decoding, strict UTF-8)."""
        given: dict[str, list[str]] = {}
        for pair in query.split(b"&"):
            raw_name, _, raw_value = pair.partition(b"=")
            name = _decode(raw_name)
            if name not in self._query:
                continue
            value = _decode(raw_value)
            if value is None:
                if (str(name), _NO_UTF_8) not in wrong:
                    wrong.append((str(name), _NO_UTF_8))
            else:
                given.setdefault(str(name), []).append(value)
        return given


def values_of(name: str, query: bytes) -> list[str] | None:
    """Return the texts of one parameter of a query, or `None` if the query does not have it.

    Args:
        name: its name, in ASCII.
        query: the query as it came.

    Raises:
        InvalidRequestError: a text is not UTF-8.
    """
    if not query or (name.encode("ascii") not in query and b"%" not in query):
        return None
    texts = []
    for pair in query.split(b"&"):
        raw_name, _, raw_text = pair.partition(b"=")
        if _decode(raw_name) == name:
            text = _decode(raw_text)
            if text is None:
                raise InvalidRequestError([(name, _NO_UTF_8)])
            texts.append(text)
    return texts or None


def _decode(raw: bytes) -> str | None:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
