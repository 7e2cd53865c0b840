"""Keeping named dashboards warm: they are asked for now and then, before a client does."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.call import Deadline
from gateway.expressions.reference import ABSENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.call import Clock, Sleep
    from gateway.engine.execution import FanOut

__all__ = ["Prefetch"]

_log = logging.getLogger("gateway")


class Prefetch:
    """Runs the plans that declare `prefetch`, each at its own pace, with their default parameters.

    Args:
        fan_outs: all of the application's; those that declare nothing are left alone.
        clock: monotonic seconds, that of the deadlines.
        sleep: waits from one time to the next.
    """

    def __init__(self, fan_outs: Sequence[FanOut], *, clock: Clock, sleep: Sleep) -> None:
        self._fan_outs = [f for f in fan_outs if f.plan.config.prefetch]
        self._clock = clock
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; in the background, the first time at once."""
        self._tasks = [asyncio.create_task(self._keep_warm(f)) for f in self._fan_outs]

    async def _keep_warm(self, fan_out: FanOut) -> None:
        plan = fan_out.plan
        defaults = {
            p.name: ABSENT if p.default is None and "default" not in p.schema else p.default
            for p in plan.parameters
        }
        assert plan.config.prefetch is not None  # noqa: S101 - these were chosen
        while True:
            try:
                # What would expire before the next time is asked for now: nobody waits for it then.
                await fan_out.run(
                    defaults,
                    Deadline(self._clock() + plan.deadline),
                    ahead=plan.config.prefetch,
                )
            except Exception:
                _log.exception("prefetching dashboard %s failed", plan.name)
            await self._sleep(plan.config.prefetch)

    async def aclose(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
