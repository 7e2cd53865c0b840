"""A race: calls several sources at once; the first fresh answer wins, the others are cancelled.

A stale answer is held in reserve while a fresh one may still arrive. It is used as soon as no other
source can answer or the deadline passes.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.aio.tasks import cancel_and_wait
from gateway.engine.outcome import Fault, Outcome, State
from gateway.errors import CallError, UpstreamPayload
from gateway.values.provenance import FETCHED
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

        A rejected answer took part in the choice, so its restrictions hold for the outcome.
        """
        runners = [context.loop.create_task(_call(context, source)) for source in self._sources]
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
                for runner in runners:  # of two that end together, the one declared first wins
                    if runner in landed:
                        outcome = runner.result()
                        if outcome.state is State.OK:
                            outcome.provenance = outcome.provenance.restricted(refused)
                            return outcome
                        if not outcome.usable:
                            refused |= outcome.provenance.restrictions
                        elif _newer(outcome, reserve):
                            reserve = outcome
            if reserve is not None:
                reserve.provenance = reserve.provenance.restricted(refused)
                return reserve
            faults = tuple(fault for runner in runners for fault in runner.result().faults)
            return Outcome(State.FAILED, faults=faults)
        finally:
            await cancel_and_wait(runners)


def _newer(outcome: Outcome, reserve: Outcome | None) -> bool:
    """Whether a stale outcome is newer than the one in reserve."""
    return reserve is None or (
        (outcome.provenance.as_of or 0.0) > (reserve.provenance.as_of or 0.0)
    )


async def _call(context: Context, source: BoundSource) -> Outcome:
    declared = source.source
    provenance = FETCHED
    try:
        response = await source.fetch(context, context.scope)
        provenance = response.provenance
        outcome = (
            source.shape(response) if source.fits(response) else await source.shape_large(response)
        )
        if declared.select is not None and outcome.value is None:
            raise UpstreamPayload("its select found nothing", upstream=declared.upstream)
    except CallError as error:
        return Outcome(State.FAILED, faults=(Fault(error),), provenance=provenance)
    return outcome
