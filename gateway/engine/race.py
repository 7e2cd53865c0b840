"""A race: several sources asked at once, the first fresh answer wins, the others are cancelled.

A stale answer is good, but not as good as a fresh one that may still arrive: it is held in reserve,
and used at once when no other source can answer any longer or the deadline has passed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.aio.tasks import cancel_and_wait
from gateway.engine.outcome import Fault, Outcome, State
from gateway.errors import CallError, UpstreamPayload
from gateway.values.restrictions import UNRESTRICTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.call import Clock
    from gateway.engine.call import BoundSource
    from gateway.engine.context import Context
    from gateway.plan.model import Section

__all__ = ["RaceRunner"]


class RaceRunner:
    """Runs a section that has several sources."""

    __slots__ = ("_clock", "_section", "_sources")

    def __init__(self, section: Section, sources: Sequence[BoundSource], clock: Clock) -> None:
        self._section = section
        self._sources = sources
        self._clock = clock

    def start(self, context: Context) -> None:
        """Start all sources."""
        context.spawn(self._section, self._run)

    async def _run(self, context: Context) -> Outcome:
        """Return the first fresh outcome, else the newest stale one, else one with every fault.

        An answer that was refused took part in the choice: what it forbids holds for the outcome.
        """
        runners = [context.loop.create_task(_ask(context, source)) for source in self._sources]
        running = set(runners)
        reserve: Outcome | None = None
        refused = UNRESTRICTED
        try:
            while running:
                left = None if reserve is None else context.deadline.remaining(self._clock())
                landed, running = await asyncio.wait(
                    running, timeout=left, return_when=asyncio.FIRST_COMPLETED
                )
                if not landed and reserve is not None:
                    break  # the deadline has passed
                for runner in runners:  # of two that end at once the one declared first wins
                    if runner in landed:
                        outcome = runner.result()
                        if outcome.state is State.OK:
                            outcome.restrictions |= refused
                            return outcome
                        if not outcome.usable:
                            refused |= outcome.restrictions
                        elif _newer(outcome, reserve):
                            reserve = outcome
            if reserve is not None:
                reserve.restrictions |= refused
                return reserve
            faults = tuple(fault for runner in runners for fault in runner.result().faults)
            return Outcome(State.FAILED, faults=faults)
        finally:
            await cancel_and_wait(runners)


def _newer(outcome: Outcome, reserve: Outcome | None) -> bool:
    """Whether a stale outcome is from a later moment than the one in reserve."""
    return reserve is None or (outcome.as_of or 0.0) > (reserve.as_of or 0.0)


async def _ask(context: Context, source: BoundSource) -> Outcome:
    declared = source.source
    restrictions = UNRESTRICTED
    try:
        response = await source.fetch(context, context.scope)
        restrictions = response.restrictions
        outcome = (
            source.shape(response) if source.fits(response) else await source.shape_large(response)
        )
        if declared.select is not None and outcome.value is None:
            raise UpstreamPayload("its select found nothing", upstream=declared.upstream)
    except CallError as error:
        return Outcome(State.FAILED, faults=(Fault(error),), restrictions=restrictions)
    return outcome
