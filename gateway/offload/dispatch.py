"""The dispatcher of large work: to a thread, to the quick lane or to the slow lane.

- Payloads with few values are decoded in a thread of this process, one at a time: orjson holds the
  interpreter lock, so several threads would only compete with the loop for it.
- Payloads that take milliseconds to shape go to the *quick* lane, a separate worker process.
- Payloads with many values go to the *slow* lane, within a budget of bytes. `UNDECODED` replaces
  the value in this process, except for a batched list, whose objects are decoded part by part.

Upstreams take turns in every queue, so that none can occupy it alone.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from gateway.aio.byte_budget import ByteBudget
from gateway.errors import ExpressionFailed, UpstreamPayload
from gateway.expressions.strict_json import NotStrictError, StrictJson
from gateway.offload.processes import Processes, WorkerLostError
from gateway.offload.weight import MANY, QUICK, values_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from gateway.aio.byte_budget import Hold
    from gateway.offload.processes import Reply

__all__ = ["UNDECODED", "Offload", "Shaped"]

_MEMORY = 32 * 1024 * 1024
_TURNS = 2 * 1024 * 1024
# Validation takes several times as long as decoding, and holds the interpreter lock too.
_CHECKED = MANY // 4


class _Undecoded:
    def __repr__(self) -> str:
        return "UNDECODED"


UNDECODED: Final = _Undecoded()
"""The value of a response whose payload is too large to decode here; use its `body`."""


class Shaped(NamedTuple):
    """The result of shaping a payload.

    Attributes:
        data: the shaped value as JSON, empty if there was no expression.
        whole: the value that references see, if requested and different from the payload.
        null: references see null.
        reads: the value of each reference, as JSON.
        totals: for each reference the length of the list that was truncated to its limit.
    """

    data: bytes
    whole: bytes
    null: bool
    reads: list[bytes]
    totals: list[int | None]


class Offload:
    """Decodes and shapes the large answers of one application.

    Args:
        memory: bytes of large answers that are decoded or shaped concurrently.
        slow: processes of the slow lane.
        quick: the process of the quick lane.

    Attributes:
        budget: the budget of `memory` bytes, shared by all upstreams.
        slow: processes of the slow lane.
        quick: the process of the quick lane.
    """

    def __init__(
        self,
        memory: int = _MEMORY,
        *,
        slow: Processes | None = None,
        quick: Processes | None = None,
    ) -> None:
        self.budget = ByteBudget(memory)
        self.slow = slow or Processes(1)
        self.quick = quick or Processes(1)
        self._turns = ByteBudget(_TURNS)
        self._thread: ThreadPoolExecutor | None = None

    async def admit(
        self,
        upstream: str,
        reader: StrictJson,
        body: bytes,
        codec: str,
        *,
        schema: Mapping[str, Any] | None,
        hold: Hold | None = None,
    ) -> tuple[Any, bytes]:
        """Return the value, or `UNDECODED`, and the payload that `reader` serializes.

        Args:
            upstream: name of the upstream, for errors and fair queueing.
            reader: the bounds.
            body: the payload.
            codec: the codec to transcode from, empty for UTF-8.
            schema: the JSON Schema that the reader has compiled.
            hold: memory that is already reserved for an inflated payload.

        Raises:
            UpstreamPayload: the payload is not accepted.
        """
        values = values_in(body)
        if not codec and values <= (MANY if schema is None else _CHECKED):
            try:
                value, written = await self._in_thread(upstream, reader.again().read, body)
            except NotStrictError as error:
                raise UpstreamPayload(str(error), upstream=upstream) from None
            return value, written
        job = {
            "job": "admit",
            "max_depth": reader.max_depth,
            "max_bytes": reader.max_bytes,
            "schema": schema,
            "codec": codec,
        }
        with await (hold or self.budget.hold(upstream)).fill(len(body)):
            (written,) = (await self._do(self.slow, upstream, job, body)).parts
        if values > MANY:
            return UNDECODED, written
        return await self._in_thread(upstream, orjson.loads, written), written

    async def shape(
        self,
        upstream: str,
        body: bytes,
        *,
        values: int,
        schema: Mapping[str, Any] | None,
        base: str | None,
        select: str | None,
        reads: Sequence[tuple[str, int | None]],
        whole: bool,
    ) -> Shaped:
        """Shape a payload that `admit` returned.

        Args:
            upstream: name of the upstream, for errors and fair queueing.
            body: the payload, as `admit` serialized it.
            values: the approximate number of values in it.
            schema: the JSON Schema that it must meet first.
            base: the expression for the value that references see; by default the payload itself.
            select: the expression for the answer, evaluated on the value that references see.
            reads: references, each with the maximum number of list elements to return.
            whole: return the value that references see.

        Raises:
            UpstreamPayload: it does not meet the schema, or is too large.
            ExpressionFailed: an expression cannot process it.
        """
        job = {
            "job": "shape",
            "schema": schema,
            "base": base,
            "select": select,
            "reads": reads,
            "whole": whole,
        }
        said, (data, seen, *found) = await self._lane(upstream, job, body, values)
        return Shaped(data, seen, said["null"], found, said["totals"])

    async def is_true(self, expression: str, scope: bytes) -> bool:
        """Return whether the expression of a `when` is true in a scope, given as JSON.

        Raises:
            UpstreamPayload: the scope is too large.
            ExpressionFailed: the expression cannot process it.
        """
        job = {"job": "judge", "expression": expression}
        reply = await self._lane("", job, scope, values_in(scope))
        return bool(reply.said["true"])

    async def elements(self, upstream: str, body: bytes) -> AsyncIterator[list[Any]]:
        """Yield the elements of a list in batches, and let other tasks run in between.

        Raises:
            UpstreamPayload: it is not a list, or one of its elements is too large.
        """
        reply = await self._lane(upstream, {"job": "split"}, body, MANY + 1)
        for part in reply.parts:
            if values_in(part) > MANY:
                raise UpstreamPayload(
                    f"an element of the answer has more than {MANY} values", upstream=upstream
                )
            yield orjson.loads(part)
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """End every process."""
        thread, self._thread = self._thread, None
        if thread is not None:
            # What waits for the thread is decoded; a cancellation would reach its caller.
            thread.shutdown(wait=False)
        await self.quick.aclose()
        await self.slow.aclose()

    async def _lane(self, upstream: str, job: Mapping[str, Any], body: bytes, values: int) -> Reply:
        if values <= QUICK:
            with await self._turns.hold(upstream).fill(len(body)):
                return await self._do(self.quick, upstream, job, body)
        with await self.budget.hold(upstream, first=True).fill(len(body)):
            return await self._do(self.slow, upstream, job, body)

    @staticmethod
    async def _do(lane: Processes, upstream: str, job: Mapping[str, Any], body: bytes) -> Reply:
        try:
            reply = await lane.do(job, body)
        except WorkerLostError as error:
            raise UpstreamPayload(
                f"the answer is large and its worker process failed: {error}",
                upstream=upstream or None,
            ) from error
        if "refused" in reply.said:
            raise UpstreamPayload(reply.said["refused"], upstream=upstream or None)
        if "failed" in reply.said:
            raise ExpressionFailed(reply.said["failed"], upstream=upstream or None)
        return reply

    async def _in_thread(self, upstream: str, read: Callable[[bytes], Any], body: bytes) -> Any:
        with await self._turns.hold(upstream).fill(len(body)):
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "gateway-decode")
            return await asyncio.get_running_loop().run_in_executor(self._thread, read, body)
