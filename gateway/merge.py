"""The merge: outcomes to one document. Pure, no await.

Sections keep the order of their declaration, and nothing in the document changes from one
identical answer to the next: how long it took, what the cache did and how old things are is for
header fields. So the same upstream answers always give the same bytes.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import ListTruncated, UpstreamPayload
from gateway.outcome import Fault, Outcome, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.plan import Plan, Section

__all__ = ["Merged", "Plain", "describe", "merge"]


class Merged:
    """One document and what its header fields are made of.

    Attributes:
        body: the document's bytes; empty when a required section failed.
        complete: every section is there and none is a stand-in.
        required: the fault of the first required section that failed.
        errors: the faults of all sections as the document tells them.
    """

    __slots__ = ("body", "complete", "errors", "required")

    def __init__(
        self, body: bytes, errors: list[dict[str, Any]], *, complete: bool, required: Fault | None
    ) -> None:
        self.body = body
        self.complete = complete
        self.errors = errors
        self.required = required


class Plain:
    """The document of a plan around its values, as it is when all of them are there and new.

    Made once; what is known before a request comes is not written again for each.
    """

    __slots__ = ("_end", "_leads")

    def __init__(self, plan: Plan) -> None:
        shown = [(i, section.name) for i, section in enumerate(plan.sections) if not section.hidden]
        self._leads: list[tuple[int, bytes]] = []
        lead = b'{"data":{'
        for index, name in shown:
            self._leads.append((index, lead + orjson.dumps(name) + b":"))
            lead = b","
        states = {name: {"state": State.OK} for _, name in shown}
        meta = orjson.dumps({"errors": [], "meta": {"complete": True, "sections": states}})
        self._end = (b"}," if shown else b'{"data":{},') + meta[1:]

    def write(self, outcomes: Sequence[Outcome | None]) -> bytes | None:
        """Return the document, `None` where an outcome has more to say than its value."""
        for outcome in outcomes:
            if (
                outcome is None
                or outcome.state is not State.OK
                or outcome.faults
                or outcome.as_of is not None
                or outcome.reason is not None
            ):
                return None
        parts: list[bytes] = []
        for index, lead in self._leads:
            outcome = outcomes[index]
            assert outcome is not None  # noqa: S101 - asked above
            parts += (lead, outcome.written or orjson.dumps(outcome.data))
        parts.append(self._end)
        return b"".join(parts)


def merge(plan: Plan, outcomes: Sequence[Outcome | None], plain: Plain | None = None) -> Merged:
    """Put the outcomes of a plan's sections together.

    Only when a required section failed may others be missing. `plain` is a short cut: the document
    is the same with it and without.
    """
    if plain is not None:
        try:
            body = plain.write(outcomes)
        except (TypeError, ValueError):
            body = None  # what cannot be written is told below
        if body is not None:
            return Merged(body, [], complete=True, required=None)
    errors = _errors(plan, outcomes)
    for section, outcome in zip(plan.sections, outcomes, strict=True):
        if section.required and outcome is not None and outcome.state is State.FAILED:
            return Merged(b"", errors, complete=False, required=_deciding(outcome.faults))
    landed = [outcome for outcome in outcomes if outcome is not None]
    try:
        body, complete = _document(plan, landed, errors)
    except (TypeError, ValueError):
        # Only a shaped value can hold what JSON cannot (an integer of more than 64 bits that an
        # expression made of text, say). Finding out which costs, so it is done only now.
        sound = [_sound(s, outcome) for s, outcome in zip(plan.sections, landed, strict=True)]
        if sound == landed:
            raise
        return merge(plan, sound)
    return Merged(body, errors, complete=complete, required=None)


def _deciding(faults: Sequence[Fault]) -> Fault:
    """Return the fault that stands for all of a section.

    That there is no such thing is certain only when every source says so; where one was merely
    down, a later request may well succeed. That a list was cut says nothing of its elements.
    """
    uncertain = [
        fault
        for fault in faults
        if fault.error.status != HTTPStatus.NOT_FOUND and not isinstance(fault.error, ListTruncated)
    ]
    retryable = (fault for fault in uncertain if fault.error.retryable)
    return next(retryable, (uncertain or faults)[0])


def _document(
    plan: Plan, outcomes: list[Outcome], errors: list[dict[str, Any]]
) -> tuple[bytes, bool]:
    data: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    complete = not errors
    for section, outcome in zip(plan.sections, outcomes, strict=True):
        if section.hidden:
            continue
        name = section.name
        data[name] = outcome.data
        told: dict[str, Any] = {"state": outcome.state}
        if outcome.as_of is not None:
            told["as_of"] = _timestamp(outcome.as_of)
        reason = getattr(outcome.reason, "code", None)
        if reason is not None:
            told["reason"] = reason
        sections[name] = told
    return orjson.dumps(
        {"data": data, "errors": errors, "meta": {"complete": complete, "sections": sections}}
    ), complete


def _errors(plan: Plan, outcomes: Sequence[Outcome | None]) -> list[dict[str, Any]]:
    return [
        describe(section.name, fault)
        for section, outcome in zip(plan.sections, outcomes, strict=True)
        if outcome is not None and outcome.faults
        for fault in outcome.faults
    ]


def describe(section: str, fault: Fault) -> dict[str, Any]:
    """Return one entry of the document's `errors`."""
    error = fault.error
    entry: dict[str, Any] = {
        "section": section,
        "code": error.code,
        "upstream": error.upstream,
        "status": error.status,
        "retryable": error.retryable,
        "detail": error.detail,
    }
    if fault.element is not None:
        entry["element"] = fault.element
    return entry


def _timestamp(posix: float) -> str:
    """Return RFC 3339 in UTC, to the second."""
    t = time.gmtime(posix)
    return f"{t[0]:04}-{t[1]:02}-{t[2]:02}T{t[3]:02}:{t[4]:02}:{t[5]:02}Z"


def _sound(section: Section, outcome: Outcome) -> Outcome:
    """Return the outcome, or a failed one where its value cannot be written as JSON."""
    if section.hidden:  # nor has it to be
        return outcome
    try:
        orjson.dumps({"data": {section.name: outcome.data}})  # as deep as in the document
    except (TypeError, ValueError) as error:
        failed = Outcome.failed(
            UpstreamPayload(
                f"the shaped value is no JSON: {error}", upstream=section.sources[0].upstream
            )
        )
        return failed.replaced(section.fallback) if section.has_fallback else failed
    return outcome
