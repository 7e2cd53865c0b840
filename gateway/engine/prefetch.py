"""Keeping named dashboards warm: they are asked for now and then, before a client does."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.call import Deadline
from gateway.engine.context import Inputs
from gateway.expressions.reference import ABSENT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.call import Clock, Sleep
    from gateway.engine.execution import BoundPlan

__all__ = ["Prefetch"]

_log = logging.getLogger("gateway")


class Prefetch:
    """Runs the plans that declare `prefetch`, each at its own pace, with their default parameters.

    Args:
        bound_plans: all of the application's; those that declare nothing are left alone.
        clock: monotonic seconds, that of the deadlines.
        sleep: waits from one time to the next.
    """

    def __init__(self, bound_plans: Sequence[BoundPlan], *, clock: Clock, sleep: Sleep) -> None:
        self._bound_plans = [f for f in bound_plans if f.plan.config.prefetch]
        self._clock = clock
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; in the background, the first time at once."""
        self._tasks = [asyncio.create_task(self._keep_warm(f)) for f in self._bound_plans]

    async def _keep_warm(self, bound: BoundPlan) -> None:
        plan = bound.plan
        defaults = {
            p.name: ABSENT if p.default is None and "default" not in p.schema else p.default
            for p in plan.parameters
        }
        assert plan.config.prefetch is not None  # noqa: S101 - these were chosen
        while True:
            try:
                # What would expire before the next time is asked for now: nobody waits for it then.
                await bound.execute(
                    Inputs(defaults, min_fresh=plan.config.prefetch),
                    Deadline(self._clock() + plan.deadline),
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
