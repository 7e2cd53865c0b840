"""The plan that a live dashboard polls with: every section has a cache, so replicas share calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.layers.cache import CachePolicy

if TYPE_CHECKING:
    from collections.abc import Container

    from gateway.plan.model import Plan, Section

__all__ = ["polled"]

_SHARE = 0.5
"""Lifetime of an answer that is cached for polls only, as a share of the time between two polls.

A poll must not find what the same process fetched at its last poll, a call's duration after it
began. So all replicas together make two calls in that time at most.
"""


def polled(plan: Plan, every: float, cached: Container[str]) -> Plan:
    """Return the plan in which sections without a cache have one that lasts for one poll.

    Args:
        plan: the plan of a live dashboard.
        every: seconds between two polls.
        cached: the names of the upstreams that have a cache.
    """
    policy = CachePolicy(ttl=every * _SHARE, jitter=0, early_refresh=0)

    def shared(section: Section) -> Section:
        has_one = any(source.upstream in cached for source in section.sources)
        return section if section.cache or has_one else replace(section, cache=policy)

    return replace(plan, sections=tuple(shared(section) for section in plan.sections))
