"""The parameter `sections`: which sections of a dashboard a request asks for.

`?sections=profile,posts` runs a pruned plan. A pruned plan is compiled once for each set of names,
and each dashboard keeps those that were asked for last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.answers.document import DocumentTemplate
from gateway.answers.events import EventTemplate
from gateway.plan.prune import SECTIONS, UnknownSectionsError, named, pruned
from gateway.web.parameters import InvalidRequestError, values_of
from gateway.web.response_headers import ServerTiming

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.engine.execution import BoundPlan

__all__ = ["Selection", "Selections"]

_KEPT = 32
"""Pruned plans that a dashboard keeps; one of ten sections takes about 20 KB."""

_LONGEST = 256
"""Bytes of the longest query that is remembered."""


class Selection:
    """A plan, ready to run and to be written as a document.

    Attributes:
        bound: the plan, bound to its calls.
        plan: the plan.
        template: writes its document.
        events: writes the events of its stream.
        timing: writes its `Server-Timing`.
    """

    __slots__ = ("bound", "events", "plan", "template", "timing")

    def __init__(self, bound: BoundPlan) -> None:
        self.bound = bound
        self.plan = bound.plan
        self.template = DocumentTemplate(bound.plan)
        self.events = EventTemplate(bound.plan)
        self.timing = ServerTiming(bound.plan)


class Selections:
    """The selections of one dashboard.

    Args:
        bound: the whole plan, bound to its calls.

    Attributes:
        whole: the selection of a request without the parameter.
    """

    __slots__ = ("_by_query", "_latest", "_places", "whole")

    def __init__(self, bound: BoundPlan) -> None:
        self.whole = Selection(bound)
        self._places = {s.name: s.index for s in bound.plan.sections if not s.hidden}
        self._latest: dict[frozenset[int], Selection] = {}
        self._by_query: dict[bytes, Selection] = {}  # those of `_latest`, by queries as they came

    def asked(self, query: bytes) -> Selection:
        """Return the selection that a query asks for.

        Raises:
            InvalidRequestError: it names what is not a visible section of the dashboard.
        """
        known = self._by_query.get(query)
        if known is not None:
            return known
        texts = values_of(SECTIONS, query)
        if texts is None:
            return self.whole
        found = self.of(texts)
        if len(query) <= _LONGEST and b"&" not in query and len(self._by_query) < _KEPT:
            self._by_query[query] = found
        return found

    def of(self, texts: Iterable[str]) -> Selection:
        """Return the selection of the sections that `texts` name, separated by commas.

        Raises:
            InvalidRequestError: a name is empty, hidden or not of this dashboard.
        """
        try:
            wanted = named(texts, self._places)
        except UnknownSectionsError as error:
            raise InvalidRequestError([(SECTIONS, detail) for detail in error.details]) from None
        return self._selected(wanted)

    def _selected(self, wanted: frozenset[int]) -> Selection:
        """Return the selection of these sections, and keep it for the next request."""
        latest = self._latest
        found = latest.pop(wanted, None)
        if found is None:
            bound = self.whole.bound
            found = Selection(bound.part(pruned(bound.plan, wanted)))
            if len(latest) >= _KEPT:
                del latest[next(iter(latest))]
                self._by_query.clear()
        latest[wanted] = found  # reinserted as the one that was asked for last
        return found
