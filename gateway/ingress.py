"""Ingress: what an upstream answered becomes a value, or a typed failure.

An upstream is not trusted: nothing gets past here but strict JSON (RFC 8259) in UTF-8 (no NaN, no
lone surrogates, no numbers out of range), of bounded size and depth, of the right content type and,
where one is configured, of the declared schema.

What passes is written anew, once and for all: compact, and of duplicate keys only the last one, so
that no two readers can take different ones for the truth. Whoever changes nothing in a value passes
these bytes on.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import orjson

from gateway.cache_control import restrictions
from gateway.call import Response
from gateway.errors import UpstreamPayload, UpstreamStatus
from gateway.json_schema import complaint
from gateway.nesting import Frame
from gateway.redirects import redirected_to
from gateway.retry_after import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.call import Clock
    from gateway.json_schema import Validator
    from gateway.transport import RawAnswer

__all__ = ["Ingress"]

_RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_CONTENT = frozenset({204, 205})
# Above this the checks leave the event loop. orjson itself keeps the interpreter lock while it
# parses (about 2 ms a MiB), but the schema's walk over the value that follows does not.
_LARGE = 256 * 1024
_SMALL = 1024


class Ingress:
    """Judges the answers of one upstream.

    Args:
        upstream: its name, for errors.
        max_depth: levels of nesting that are let in.
        schema: what every payload must meet.
        now: POSIX seconds, to read a Retry-After date.
    """

    __slots__ = ("_frame", "_max_depth", "_now", "_schema", "_upstream")

    def __init__(
        self,
        upstream: str,
        *,
        max_depth: int,
        schema: Validator | None = None,
        now: Clock = time.time,
    ) -> None:
        self._upstream = upstream
        self._max_depth = max_depth
        self._frame = Frame(max_depth)
        self._schema = schema
        self._now = now

    async def admit(self, answer: RawAnswer) -> Response:
        """Return the good answer that `answer` is.

        Raises:
            UpstreamStatus: its status is no success. Redirects are none: they are not followed.
            UpstreamPayload: its payload is not let in.
        """
        status = answer.status
        if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
            raise self._refused(status, answer.headers)
        body = answer.body
        if status in _NO_CONTENT:
            value = None
            if self._schema is not None and (wrong := complaint(self._schema, value)):
                raise self._bad(wrong)
        else:
            self._check_type(answer.headers)
            if len(body) <= _LARGE:
                value, body = self._decode(body, self._frame)
            else:
                frame = Frame(self._max_depth)
                value, body = await asyncio.to_thread(self._decode, body, frame)
        headers = answer.headers
        return Response(
            value, status=status, headers=headers, body=body, restrictions=restrictions(headers)
        )

    def _refused(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> UpstreamStatus:
        retryable = status in _RETRYABLE
        retry_after = None
        if retryable:
            for name, value in headers:
                if name == b"retry-after":
                    retry_after = parse_retry_after(value, self._now())
        detail = f"answered with status {status}"
        if place := redirected_to(status, headers):
            detail += (
                f", a redirect to {place}; redirects are not followed: "
                "write that address into the configuration"
            )
        return UpstreamStatus(
            detail,
            upstream=self._upstream,
            status=status,
            retryable=retryable,
            retry_after=retry_after,
        )

    def _check_type(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        content_type = b""
        for name, value in headers:
            if name == b"content-type":
                content_type = value
                break
        if content_type == b"application/json":
            return
        media, _, parameters = content_type.partition(b";")
        media = media.strip().lower()
        if media and media != b"application/json" and not _is_json(media):
            raise self._bad(f"content type {_printable(media)} is not JSON")
        charset = _charset(parameters)
        if charset not in {b"", b"utf-8", b"utf8", b"us-ascii"}:
            raise self._bad(f"charset {_printable(charset)} is not UTF-8")

    def _decode(self, body: bytes, frame: Frame) -> tuple[Any, bytes]:
        if not body:
            raise self._bad("the answer is empty")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise self._bad(f"no strict JSON: {error.msg} at byte {error.pos}") from None
        limit = self._max_depth
        # Brackets count the nesting from above. In a small payload counting is quicker.
        flat = len(body) <= _SMALL and body.count(b"[") + body.count(b"{") <= limit
        # Cut out of something larger it is a copy of its own size: what orjson returns sits in a
        # kilobyte of which the rest stays unused, and kept answers are many.
        written = orjson.dumps([value])[1:-1] if flat else frame.write(value)
        if written is None:
            raise self._bad(f"more than {limit} levels deep")
        if self._schema is not None and (wrong := complaint(self._schema, value)):
            raise self._bad(wrong)
        return value, written

    def _bad(self, detail: str) -> UpstreamPayload:
        return UpstreamPayload(detail, upstream=self._upstream)


def _is_json(media: bytes) -> bool:
    # RFC 6839 section 3.1: a structured syntax suffix.
    return media.endswith(b"+json") or media == b"text/json"


def _charset(parameters: bytes) -> bytes:
    for parameter in parameters.split(b";"):
        name, _, value = parameter.partition(b"=")
        if name.strip().lower() == b"charset":
            return value.strip().strip(b'"').lower()
    return b""


def _printable(text: bytes) -> str:
    return ascii(text[:60].decode("latin-1"))[1:-1]
