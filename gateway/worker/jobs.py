"""The jobs of a worker process: pure functions from bytes to bytes."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from gateway.expressions.jmes import compile_expression, is_true, search
from gateway.expressions.json_schema import compile_schema, violation
from gateway.expressions.reference import parse_reference
from gateway.expressions.strict_json import NotStrictError, StrictJson

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.expressions.json_schema import Validator

__all__ = ["RefusedError", "run"]

_PIECE = 64 * 1024


class RefusedError(Exception):
    """The payload is not accepted; the message says why."""


def run(head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Run the job that `head` names; return metadata and the parts of the result.

    Raises:
        RefusedError: the payload is not accepted.
        ExpressionFailed: an expression cannot process its value.
    """
    try:
        return _JOBS[head["job"]](head, body)
    except NotStrictError as error:
        raise RefusedError(str(error)) from None


def _admit(head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Check a payload as the decoder does, and serialize it again."""
    schema = head["schema"]
    reader = StrictJson(
        head["max_depth"], head["max_bytes"], _validator(schema) if schema is not None else None
    )
    return {}, [reader.read(body, head["codec"])[1]]


def _shape(head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Shape a checked payload.

    The parts are the shaped value, the value that references see if it differs from the payload,
    and the value of each reference. Parts that the job does not request are empty.
    """
    value = orjson.loads(body)
    schema = head["schema"]
    if schema is not None and (wrong := violation(_validator(schema), value)):
        raise RefusedError(wrong)
    if head["base"] is not None:
        value = search(_expression(head["base"]), value, "select")
    data = b""
    if head["select"] is not None:
        data = _written(search(_expression(head["select"]), value, "select"))
    elif head["base"] is not None:
        data = _written(value)
    whole = _written(value) if head["whole"] and head["base"] is not None else b""
    reads = []
    totals = []
    for text, limit in head["reads"]:
        reference = parse_reference(text)
        found = reference.find({reference.root: value})
        total = None
        if limit is not None and isinstance(found, list):
            total = len(found)
            found = found[:limit]
        reads.append(_written(found))
        totals.append(total)
    return {"null": value is None, "totals": totals}, [data, whole, *reads]


def _judge(head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Evaluate the expression of a `when` in a scope."""
    found = search(_expression(head["expression"]), orjson.loads(body), "when")
    return {"true": is_true(found)}, []


def _split(head: Mapping[str, Any], body: bytes) -> tuple[dict[str, Any], list[bytes]]:  # noqa: ARG001
    """Split a list into lists of few elements."""
    value = orjson.loads(body)
    if not isinstance(value, list):
        raise RefusedError("the answer to a batched call must be a list")
    pieces: list[bytes] = []
    held: list[bytes] = []
    size = 0
    for element in value:
        written = orjson.dumps(element)
        held.append(written)
        size += len(written)
        if size >= _PIECE:
            pieces.append(b"[" + b",".join(held) + b"]")
            held.clear()
            size = 0
    return {}, [*pieces, b"[" + b",".join(held) + b"]"]


_JOBS: dict[str, Callable[[Mapping[str, Any], bytes], tuple[dict[str, Any], list[bytes]]]] = {
    "admit": _admit,
    "shape": _shape,
    "judge": _judge,
    "split": _split,
}


def _written(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError as error:  # such as an integer of more than 64 bits
        raise RefusedError(f"the shaped value is not JSON: {error}") from None


@lru_cache(256)
def _expression(text: str) -> Callable[[Any], Any]:
    return compile_expression(text)


@lru_cache(256)
def _compiled(schema: bytes) -> Validator:
    return compile_schema(orjson.loads(schema))


def _validator(schema: Any) -> Validator:
    return _compiled(orjson.dumps(schema))
