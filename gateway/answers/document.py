"""Merges outcomes into one document. Pure, no await.

Sections stay in the order of declaration. Timings, cache results and ages go to header fields, so
the same upstream answers always give the same bytes.

The ETag covers what a frontend renders: `data`, `errors` and states. Two documents that differ only
in `as_of`, or only because a section was being revalidated, share an ETag.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from gateway.engine.outcome import Fault, Outcome, State
from gateway.errors import ListTruncated, UpstreamPayload
from gateway.values.provenance import FETCHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.plan.model import Plan, Section

__all__ = ["Document", "DocumentTemplate", "compose", "deciding", "describe", "entry_of", "sound"]

_OK, _STALE, _, _SKIPPED, _ = State


class Document:
    """One document and what its header fields are made of.

    Attributes:
        body: the document's bytes; empty when a required section failed.
        complete: no section failed and none is a fallback.
        required: the fault of the first required section that failed.
        errors: the faults of all sections as the document lists them.
        rendered: what a frontend renders, as parts of bytes. It is the same for two documents if
            and only if they have the same `data`, `errors` and states, where a `stale` section
            that is merely being revalidated counts as `ok`.
    """

    __slots__ = ("_data_ends", "body", "complete", "errors", "rendered", "required")

    def __init__(
        self,
        body: bytes,
        errors: list[dict[str, Any]],
        rendered: tuple[bytes | memoryview, ...],
        data_ends: int = 0,
        required: Fault | None = None,
        *,
        complete: bool = True,
    ) -> None:
        self.body = body
        self._data_ends = data_ends
        self.complete = complete
        self.errors = errors
        self.required = required
        self.rendered = rendered

    @property
    def closing(self) -> bytes:
        """The document's bytes after `data`: from `errors` to its end."""
        return self.body[self._data_ends :]


class DocumentTemplate:
    """The parts of a plan's document that do not depend on the request, if no section fails.

    Made once, so that these parts are not encoded for every request.

    Attributes:
        end: what follows the last value if every section is plainly `ok`.
    """

    __slots__ = ("_complete", "_data_end", "_leads", "_states", "end")

    def __init__(self, plan: Plan) -> None:
        shown = [(i, orjson.dumps(s.name)) for i, s in enumerate(plan.sections) if not s.hidden]
        self._leads: list[tuple[int, bytes]] = []
        self._states: list[tuple[int, bytes, bytes, bytes]] = []
        lead, comma = b'{"data":{', b""
        for index, name in shown:
            self._leads.append((index, lead + name + b":"))
            meta = comma + name + b':{"state":'
            ok, stale, skipped = [
                meta + orjson.dumps(state) for state in (State.OK, State.STALE, State.SKIPPED)
            ]
            self._states.append((index, ok, stale, skipped))
            lead = comma = b","
        self._data_end = b"}," if shown else b'{"data":{},'
        self._complete = self._data_end + b'"errors":[],"meta":{"complete":true,"sections":{'
        self.end = self._complete + b"".join([ok + b"}" for _, ok, _, _ in self._states]) + b"}}}"

    def write(self, outcomes: Sequence[Outcome | None]) -> Document | None:
        """Return the document, or `None` if an outcome has a fault to report."""
        new = True
        end = self.end
        for outcome in outcomes:
            if outcome is None or outcome.faults:
                return None
            provenance = outcome.provenance
            if provenance is not FETCHED:
                if provenance.reason is not None:
                    return None
                if provenance.as_of is not None:
                    new = False
            if outcome.state is not _OK:
                if outcome.state is _STALE:
                    new = False
                elif outcome.state is _SKIPPED:
                    end = b""  # another one
                else:
                    return None
        end = end or self._ending(outcomes, aged=False)
        if new:
            body = self.join(outcomes, end)
            return Document(body, [], (body,), self.data_ends(body, end))
        aged = self._ending(outcomes, aged=True)
        body = self.join(outcomes, aged)
        values = memoryview(body)[: len(body) - len(aged)]
        return Document(body, [], (values, end), self.data_ends(body, aged))

    def _ending(self, outcomes: Sequence[Outcome | None], *, aged: bool) -> bytes:
        """Return what follows the last value; if no value has an age, each is `ok` or `skipped`."""
        parts = [self._complete]
        said, written = None, b"}"
        for index, ok, stale, skipped in self._states:
            outcome = outcomes[index]
            assert outcome is not None  # noqa: S101 - checked by the caller
            if outcome.state is _SKIPPED:
                parts.append(skipped)
            else:
                parts.append(stale if aged and outcome.state is _STALE else ok)
            as_of = outcome.provenance.as_of
            if as_of is None or not aged:
                parts.append(b"}")
            else:
                if as_of != said:
                    said = as_of
                    written = b',"as_of":"%b"}' % _timestamp(said).encode("ascii")
                parts.append(written)
        parts.append(b"}}}")
        return b"".join(parts)

    def join(self, outcomes: Sequence[Outcome | None], end: bytes) -> bytes:
        """Return the document of these values, which ends with `end`."""
        parts: list[bytes] = []
        for index, lead in self._leads:
            outcome = outcomes[index]
            assert outcome is not None  # noqa: S101 - only where a required section failed
            parts += (lead, outcome.written or orjson.dumps(outcome.data))
        parts.append(end)
        return b"".join(parts)

    def data_ends(self, body: bytes, end: bytes) -> int:
        """Return where `data` ends in a document that ends with `end`."""
        return len(body) - len(end) + len(self._data_end)

    def ending(
        self, errors: list[dict[str, Any]], sections: dict[str, Any], *, complete: bool
    ) -> bytes:
        """Return what follows the last value, for any states and errors."""
        meta = orjson.dumps(
            {"errors": errors, "meta": {"complete": complete, "sections": sections}}
        )
        return self._data_end + meta[1:]


def compose(
    plan: Plan, outcomes: Sequence[Outcome | None], plain: DocumentTemplate | None = None
) -> Document:
    """Merge the outcomes of a plan's sections.

    Outcomes may be missing only if a required section failed. `plain` is an optimization: the
    document is the same without it.
    """
    if plain is not None:
        try:
            merged = plain.write(outcomes)
        except (TypeError, ValueError):
            merged = None  # values that cannot be encoded are reported below
        if merged is not None:
            return merged
    errors = _errors(plan, outcomes)
    for section, outcome in zip(plan.sections, outcomes, strict=True):
        if section.required and outcome is not None and outcome.state is State.FAILED:
            fault = deciding(outcome.faults)
            return Document(b"", errors, (), required=fault, complete=False)
    landed = [outcome for outcome in outcomes if outcome is not None]
    try:
        return _document(plan, landed, errors, plain or DocumentTemplate(plan))
    except (TypeError, ValueError):
        # Only a shaped value can hold what JSON cannot (such as an integer of more than 64 bits
        # that an expression made from text). Finding it is expensive, so it is done only now.
        written = [sound(s, outcome) for s, outcome in zip(plan.sections, landed, strict=True)]
        if written == landed:
            raise
        return compose(plan, written)


def deciding(faults: Sequence[Fault]) -> Fault:
    """Return the fault that represents a section.

    A 404 counts only if every source answered it: if one was merely down, a later request may
    succeed. A truncated list says nothing about its elements.
    """
    uncertain = [
        fault
        for fault in faults
        if fault.error.status != HTTPStatus.NOT_FOUND and not isinstance(fault.error, ListTruncated)
    ]
    retryable = (fault for fault in uncertain if fault.error.retryable)
    return next(retryable, (uncertain or faults)[0])


def _document(
    plan: Plan, outcomes: list[Outcome], errors: list[dict[str, Any]], plain: DocumentTemplate
) -> Document:
    sections: dict[str, Any] = {}
    rendered: dict[str, Any] = {}
    complete = not errors
    for section, outcome in zip(plan.sections, outcomes, strict=True):
        if section.hidden:
            continue
        state = outcome.state
        entry = entry_of(outcome)
        if state is State.STALE and "reason" not in entry:
            state = State.OK  # it is merely being revalidated
        sections[section.name] = entry
        rendered[section.name] = {"state": state}
    end = plain.ending(errors, sections, complete=complete)
    body = plain.join(outcomes, end)
    values = memoryview(body)[: len(body) - len(end)]
    as_rendered = plain.ending(errors, rendered, complete=complete)
    ends = plain.data_ends(body, end)
    return Document(body, errors, (values, as_rendered), ends, complete=complete)


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


def entry_of(outcome: Outcome) -> dict[str, Any]:
    """Return what `meta` says of a section: its state, its age, and why it is stale."""
    provenance = outcome.provenance
    entry: dict[str, Any] = {"state": outcome.state}
    if provenance.as_of is not None:
        entry["as_of"] = _timestamp(provenance.as_of)
    reason = getattr(provenance.reason, "code", None)
    if reason is not None:
        entry["reason"] = reason
    return entry


def _timestamp(posix: float) -> str:
    """Return RFC 3339 in UTC, to the second."""
    t = time.gmtime(posix)
    return f"{t[0]:04}-{t[1]:02}-{t[2]:02}T{t[3]:02}:{t[4]:02}:{t[5]:02}Z"


def sound(section: Section, outcome: Outcome) -> Outcome:
    """Return the outcome, or a failed one if its value cannot be written as JSON."""
    if section.hidden:  # it is not part of the document
        return outcome
    try:
        orjson.dumps(outcome.data)
    except (TypeError, ValueError) as error:
        failed = Outcome.failed(
            UpstreamPayload(
                f"the shaped value cannot be written as JSON: {error}",
                upstream=section.sources[0].upstream,
            )
        )
        return failed.replaced(section.fallback) if section.has_fallback else failed
    return outcome
