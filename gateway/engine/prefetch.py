"""Prefetch: runs declared dashboards at intervals, so that their answers stay cached."""

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
    """Runs the plans that declare `prefetch`, each at its own interval, with default parameters.

    Args:
        bound_plans: all plans of the application; those without `prefetch` are ignored.
        clock: monotonic seconds, the clock of the deadlines.
        sleep: waits from one run to the next.
    """

    def __init__(self, bound_plans: Sequence[BoundPlan], *, clock: Clock, sleep: Sleep) -> None:
        self._bound_plans = [f for f in bound_plans if f.plan.config.prefetch]
        self._clock = clock
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start in the background; the first run begins at once."""
        self._tasks = [asyncio.create_task(self._prefetch(f)) for f in self._bound_plans]

    async def _prefetch(self, bound: BoundPlan) -> None:
        plan = bound.plan
        defaults = {
            p.name: ABSENT if p.default is None and "default" not in p.schema else p.default
            for p in plan.parameters
        }
        assert plan.config.prefetch is not None  # noqa: S101 - only plans with `prefetch` are run
        while True:
            try:
                # Refresh what would expire before the next run now, so that no client waits for it.
                await bound.execute(
                    Inputs(defaults, min_fresh=plan.config.prefetch),
                    Deadline(self._clock() + plan.deadline),
                )
            except Exception:
                _log.exception("prefetch of dashboard %s failed", plan.name)
            await self._sleep(plan.config.prefetch)

    async def aclose(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
