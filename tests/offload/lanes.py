"""Lanes under test: jobs are done where they are, after as much virtual time as is wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import ExpressionFailed
from gateway.offload import Offload, Processes, WorkerLostError
from gateway.offload.processes import Reply
from gateway.worker import jobs

if TYPE_CHECKING:
    from collections.abc import Mapping


class Inline(Processes):
    """Does every job at once in this process.

    Attributes:
        jobs: names of the jobs, in order.
        running: jobs under way.
        most: the most that were ever under way at once.
    """

    def __init__(self, takes: float = 0.0, *, lost: bool = False) -> None:
        super().__init__(1)
        self._takes = takes
        self._lost = lost
        self.jobs: list[str] = []
        self.running = 0
        self.most = 0

    async def do(self, head: Mapping[str, Any], body: bytes) -> Reply:
        self.jobs.append(head["job"])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self._takes)
            if self._lost:
                raise WorkerLostError("a worker process ended")
            said, parts = jobs.run(orjson.loads(orjson.dumps(head)), body)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        except jobs.RefusedError as refused:
            return Reply({"refused": str(refused)}, [])
        except ExpressionFailed as failed:
            return Reply({"failed": failed.detail}, [])
        finally:
            self.running -= 1
        self.done += 1
        return Reply(said, parts)


class Lanes:
    """An Offload with two lanes to look at."""

    def __init__(self, takes: float = 0.0, *, lost: bool = False, memory: int = 1 << 25) -> None:
        self.slow = Inline(takes, lost=lost)
        self.quick = Inline(takes, lost=lost)
        self.offload = Offload(memory, slow=self.slow, quick=self.quick)
