"""Compresses what FastAPI's routes answer, such as the OpenAPI document."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.web.compression import VARY
from gateway.web.cors import with_vary

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from gateway.web.compression import Coding, Compression

__all__ = ["compressing"]

_TEXT = (b"application/json", b"text/", b"application/javascript", b"image/svg+xml")


def compressing(compression: Compression | None, scope: Scope, send: Send) -> Send:
    """Return an ASGI `send` that compresses an answer that comes in one piece."""
    if compression is None:
        return send
    one = compression
    head: Message | None = None

    async def sending(message: Message) -> None:
        nonlocal head
        if message["type"] == "http.response.start" and _may_be_compressed(message):
            head = message
            return
        if head is not None:
            message, begun = await _form(one, scope, head, message)
            head = None
            await send(begun)
        await send(message)

    return sending


def _may_be_compressed(head: Message) -> bool:
    fields = dict(head.get("headers", ()))
    known = fields.get(b"content-type", b"")
    as_it_is = b"content-encoding" in fields or b"no-transform" in fields.get(b"cache-control", b"")
    return head["status"] == 200 and known.startswith(_TEXT) and not as_it_is  # noqa: PLR2004 - the status


async def _compressed(compression: Compression, coding: Coding, body: bytes) -> bytes:
    """Return a body compressed; empty if there is no time for it."""
    made: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def done(compressed: bytes) -> None:
        if not made.done():
            made.set_result(compressed)

    compression.make(coding, body, done)
    return await made


async def _form(
    compression: Compression, scope: Scope, head: Message, content: Message
) -> tuple[Message, Message]:
    """Return the content and the head of an answer in the form that the client takes."""
    body = content.get("body", b"")
    if content.get("more_body") or len(body) < compression.min_size:
        return content, head
    fields = with_vary(head["headers"], VARY)
    asked = [value for name, value in scope["headers"] if name == b"accept-encoding"]
    coding = compression.chosen(b", ".join(asked)) if asked else None
    if coding is not None and (small := await _compressed(compression, coding, body)):
        fields = [field for field in fields if field[0] != b"content-length"]
        length = (b"content-length", b"%d" % len(small))
        fields += [(b"content-encoding", coding.name), length]
        content = {**content, "body": small}
    return content, {**head, "headers": fields}
