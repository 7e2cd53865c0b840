"""The decoder of upstream answers: an answer becomes a value or a typed failure.

An upstream is not trusted: the decoder accepts only strict JSON of bounded size and depth, with an
accepted content type and, if configured, valid against the schema.

It serializes each accepted payload again in compact form, with only the last of duplicate keys, so
that all parsers read the same value. Code that does not change a value passes these bytes on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.cache.cache_control import restrictions
from gateway.call import Response
from gateway.errors import UpstreamPayload, UpstreamStatus, meaning_of
from gateway.expressions.json_schema import compile_schema
from gateway.expressions.strict_json import NotStrictError, StrictJson
from gateway.offload import LARGE
from gateway.upstreams.http.redirects import redirected_to
from gateway.upstreams.http.retry_after import parse_retry_after
from gateway.values.content_type import ContentTypeError, ContentTypes
from gateway.values.header_fields import HeaderFields, start_of, values_of
from gateway.values.provenance import FETCHED, Provenance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Literal

    from gateway.call import Clock
    from gateway.offload import Offload
    from gateway.transport import RawAnswer

__all__ = ["Decoder"]

_NO_CONTENT = frozenset({204, 205})
_TYPE, _JSON = start_of(b"content-type"), b" application/json\r\n"


class Decoder:
    """Decodes the answers of one upstream.

    Args:
        upstream: its name, for errors.
        max_depth: levels of nesting at most.
        max_body: bytes of a payload at most, after transcoding.
        schema: the JSON Schema that every payload must meet.
        content_types: accepted media types in addition to those of JSON, or `any`.
        offload: decodes large answers; without it they are decoded on the event loop.
        now: POSIX seconds, to read a Retry-After date.
    """

    __slots__ = ("_content_types", "_json", "_now", "_offload", "_schema", "_upstream")

    def __init__(
        self,
        upstream: str,
        *,
        max_depth: int,
        max_body: int = 8 * 1024 * 1024,
        schema: dict[str, Any] | None = None,
        content_types: Iterable[str] | Literal["any"] = (),
        offload: Offload | None = None,
        now: Clock = time.time,
    ) -> None:
        self._upstream = upstream
        self._schema = schema
        compiled = compile_schema(schema) if schema is not None else None
        self._json = StrictJson(max_depth, max_body, compiled)
        self._offload = offload
        self._content_types = ContentTypes(content_types)
        self._now = now

    def is_quick(self, answer: RawAnswer) -> bool:
        """Whether `read` may decode it: it is small, or nothing else can."""
        return answer.hold is None and (len(answer.body) <= LARGE or self._offload is None)

    def read(self, answer: RawAnswer) -> Response:
        """Return the decoded answer at once.

        Raises:
            UpstreamStatus: its status is not successful; redirects are not followed.
            UpstreamPayload: its payload is not accepted.
        """
        codec = self._admissible(answer)
        value: Any = None
        body = answer.body
        try:
            if answer.status in _NO_CONTENT:
                self._json.check(value)
            else:
                value, body = self._json.read(body, codec)
        except NotStrictError as error:
            raise UpstreamPayload(str(error), upstream=self._upstream) from None
        return _response(answer, value, body)

    async def admit(self, answer: RawAnswer) -> Response:
        """Return the decoded answer; a large one is decoded elsewhere. Raises as `read` does."""
        offload = self._offload
        if offload is None or len(answer.body) <= LARGE or answer.status in _NO_CONTENT:
            return self.read(answer)
        codec = self._admissible(answer)
        try:
            value, body = await offload.admit(
                self._upstream,
                self._json,
                answer.body,
                codec,
                schema=self._schema,
                hold=answer.hold,
            )
        except NotStrictError as error:
            raise UpstreamPayload(str(error), upstream=self._upstream) from None
        return _response(answer, value, body)

    def _admissible(self, answer: RawAnswer) -> str:
        """Return the codec to transcode the payload from, empty for UTF-8."""
        status = answer.status
        if not 200 <= status < 300:  # noqa: PLR2004 - RFC 9110 section 15.3
            raise self._refused(status, answer.headers)
        if status in _NO_CONTENT:
            return ""
        headers = answer.headers
        if type(headers) is HeaderFields and headers.is_usual(_TYPE, _JSON):
            return ""
        types = values_of(headers, b"content-type")
        return self._codec(types[0]) if types else ""

    def _refused(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> UpstreamStatus:
        retry_after = None
        if meaning_of(status).retryable:
            for value in values_of(headers, b"retry-after"):
                retry_after = parse_retry_after(value, self._now())
        detail = f"answered with status {status}"
        if place := redirected_to(status, headers):
            detail += (
                f", a redirect to {place}; redirects are not followed: "
                "write that address in the configuration"
            )
        return UpstreamStatus(
            detail,
            upstream=self._upstream,
            status=status,
            retry_after=retry_after,
        )

    def _codec(self, content_type: bytes) -> str:
        """Return the codec to transcode the payload from, empty for UTF-8."""
        try:
            return self._content_types.codec(content_type)
        except ContentTypeError as error:
            raise UpstreamPayload(str(error), upstream=self._upstream) from None


def _response(answer: RawAnswer, value: Any, body: bytes) -> Response:
    headers = answer.headers
    forbidden = restrictions(headers)
    provenance = Provenance(restrictions=forbidden) if forbidden else FETCHED
    return Response(value, answer.status, headers, body, provenance)
