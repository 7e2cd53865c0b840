"""What an execution came to, judged: a document, or the problem that takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.answers.document import compose, deciding
from gateway.web.load_shedding import in_vain
from gateway.web.problems import overloaded, problem, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from gateway.answers.document import Document
    from gateway.engine.outcome import Outcome
    from gateway.web.selection import Selection

__all__ = ["Verdict", "judge", "section_failed"]


class Verdict(NamedTuple):
    """The judgement of an execution.

    Attributes:
        document: the document; without content if there is a refusal.
        refusal: the problem that takes its place, if there is one.
        vain: no section arrived, and only because of the gateway's own limits.
    """

    document: Document
    refusal: Response | None
    vain: bool


def judge(selection: Selection, outcomes: Sequence[Outcome | None]) -> Verdict:
    """Judge what the sections came to."""
    document = compose(selection.plan, outcomes, selection.template)
    vain = bool(document.errors) and in_vain(selection.plan, outcomes)
    if document.required is not None:
        return Verdict(document, _required_failed(document, vain=vain), vain)
    return Verdict(document, overloaded(document.errors) if vain else None, vain)


def section_failed(name: str, outcome: Outcome, errors: Sequence[Mapping[str, Any]]) -> Response:
    """Return the problem of an answer that was to show one section, which failed."""
    error = deciding(outcome.faults).error
    return problem(
        status_of(error),
        f"section {name} failed: {error.detail}",
        retry_after=error.retry_after,
        code=error.code,
        errors=errors,
    )


def _required_failed(document: Document, *, vain: bool) -> Response:
    """Return the problem of an answer whose required section failed."""
    assert document.required is not None  # noqa: S101 - checked by the caller
    error = document.required.error
    status = 503 if vain else status_of(error)
    return problem(
        status,
        f"a required section failed: {error.detail}",
        retry_after=error.retry_after or (1 if status == 503 else None),  # noqa: PLR2004
        code=error.code,
        errors=document.errors,
    )
