"""Files that the gateway serves to browsers: pages, and the scripts and styles that they need.

They come with the package, so no page asks another host for anything, and each page has a content
security policy that would not let it.
"""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from xxhash import xxh3_128_hexdigest

from gateway.web.response_headers import matches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["FOREVER", "POLICY", "StaticFile", "static_files"]

FOREVER = "public, max-age=31536000, immutable"
"""For a file whose path changes with its content."""
_REVALIDATED = "no-cache"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class StaticFile:
    """One file.

    Args:
        content: its bytes; compressed by gzip if `compressed`.
        media_type: its media type.
        compressed: whether the content is sent as it is to clients that accept gzip.
        cache: its `Cache-Control`.
        policy: the content security policy of a page.
    """

    def __init__(
        self,
        content: bytes,
        media_type: str,
        *,
        compressed: bool = False,
        cache: str = _REVALIDATED,
        policy: str = POLICY,
    ) -> None:
        self._content = content
        self._compressed = compressed
        self._tag = b'W/"%b"' % xxh3_128_hexdigest(content).encode("ascii")
        self._fields = {
            "content-type": media_type,
            "cache-control": cache,
            "etag": self._tag.decode("ascii"),
            "content-security-policy": policy,
            "referrer-policy": "no-referrer",
        }
        if compressed:
            self._fields["vary"] = "Accept-Encoding"

    def response(self, request: Request) -> Response:
        """Return the answer to a GET or HEAD request."""
        known = request.headers.get("if-none-match", "").encode("latin-1")
        if known and matches(known, self._tag):
            fields = {name: self._fields[name] for name in self._fields if name != "content-type"}
            return Response(status_code=304, headers=fields)
        if not self._compressed:
            return Response(self._content, headers=self._fields)
        if _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(self._content, headers={**self._fields, "content-encoding": "gzip"})
        return Response(gzip.decompress(self._content), headers=self._fields)


def static_files(files: Mapping[str, StaticFile]) -> APIRouter:
    """Return the routes of files, by their paths."""
    routes = APIRouter(include_in_schema=False)
    for path, file in files.items():
        routes.add_api_route(path, _endpoint(file), methods=["GET", "HEAD"])
    return routes


def _endpoint(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        return file.response(request)

    return serve


def _accepts_gzip(field: str) -> bool:
    """Whether `Accept-Encoding` names gzip and does not refuse it (RFC 9110 section 12.5.3)."""
    for coding in field.split(","):
        name, *parameters = (part.strip().lower() for part in coding.split(";"))
        if name in {"gzip", "x-gzip", "*"}:
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", one) for one in parameters)
    return False
