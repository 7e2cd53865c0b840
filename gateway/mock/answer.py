"""A complete answer as two ASGI messages, which are built once and sent many times."""

from typing import Any, NamedTuple

import orjson
from starlette.types import Message


class Answer(NamedTuple):
    """One complete response."""

    start: Message
    body: Message


def json_answer(
    value: Any,
    *,
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    indent: bool = False,
) -> Answer:
    """Encode `value` as a JSON response with its length."""
    content = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indent else None)
    length = str(len(content)).encode()
    fixed = [(b"content-type", b"application/json; charset=utf-8"), (b"content-length", length)]
    return Answer(
        {"type": "http.response.start", "status": status, "headers": [*fixed, *headers]},
        {"type": "http.response.body", "body": content},
    )
