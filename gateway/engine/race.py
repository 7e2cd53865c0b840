"""A race: several sources asked at once, the first fresh answer wins, the others are cancelled.

A stale answer is good, but not as good as a fresh one that may still arrive: it is held in reserve,
and used at once when no other source can answer any longer or the deadline has come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.aio.tasks import cancel_and_wait
from gateway.engine.outcome import Fault, Outcome, State
from gateway.errors import CallError, UpstreamPayload
from gateway.values.restrictions import UNRESTRICTED

if TYPE_CHECKING:
    from gateway.engine.execution import Walk
    from gateway.plan.model import Section, Source

__all__ = ["run"]


async def run(walk: Walk, section: Section) -> Outcome:
    """Return the first fresh outcome, else the newest stale one, else one with every fault.

    An answer that was refused has had its part in the choice, so what it forbids holds for the
    outcome.
    """
    runners = [walk.loop.create_task(_runner(walk, section, source)) for source in section.sources]
    running = set(runners)
    reserve: Outcome | None = None
    refused = UNRESTRICTED
    try:
        while running:
            patience = None if reserve is None else walk.deadline.remaining(walk.clock())
            landed, running = await asyncio.wait(
                running, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if not landed and reserve is not None:
                break  # the deadline has come
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


async def _runner(walk: Walk, section: Section, source: Source) -> Outcome:
    restrictions = UNRESTRICTED
    try:
        response = await walk.fetch(section, source, walk.scope)
        restrictions = response.restrictions
        outcome = walk.good(section, source, response)
        if source.select is not None and outcome.value is None:
            raise UpstreamPayload("its select found nothing", upstream=source.upstream)
    except CallError as error:
        return Outcome(State.FAILED, faults=(Fault(error),), restrictions=restrictions)
    return outcome
