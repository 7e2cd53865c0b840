"""One answer as a table: CSV of the one list that a request shows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from gateway.answers.table import TooLargeError, written
from gateway.engine.outcome import State
from gateway.offload import MANY, values_in
from gateway.web.accept import TABLE
from gateway.web.fields import Fields
from gateway.web.problems import NOSNIFF, problem
from gateway.web.verdict import section_failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from starlette.responses import Response

    from gateway.answers.document import Document
    from gateway.engine.outcome import Outcome
    from gateway.plan.model import Plan, Section
    from gateway.values.header_fields import Field
    from gateway.web.fields import Respond
    from gateway.web.streaming import Begin, Outlet

__all__ = ["MisfitError", "Table", "table_fields"]


def table_fields(vary: Sequence[Field]) -> Fields:
    """Return the header fields of a table."""
    return Fields(
        [
            (b"content-type", TABLE + b"; charset=utf-8; header=present"),
            (b"cache-control", b"no-store"),
            *vary,
            NOSNIFF,
        ]
    )


class MisfitError(ValueError):
    """An answer cannot be a table; the text says why."""


class Table:
    """The answer to one request for CSV.

    Args:
        head: the header fields.
        respond: answers in one piece.
        begin: begins an answer that is sent in parts.
        head_only: the request is a HEAD.
        insists: the client takes no document instead.
    """

    __slots__ = ("_begin", "_head", "_head_only", "_respond", "insists")

    def __init__(
        self, head: Fields, respond: Respond, begin: Begin, *, head_only: bool, insists: bool
    ) -> None:
        self._head = head
        self._respond = respond
        self._begin = begin
        self._head_only = head_only
        self.insists = insists

    @staticmethod
    def check(plan: Plan) -> None:
        """Check that a plan's answer may be a table.

        Raises:
            MisfitError: it shows no section, or more than one.
        """
        shown = sum(not section.hidden for section in plan.sections)
        if shown != 1:
            raise MisfitError(
                f"CSV takes exactly one section, and the answer has {shown}; "
                "choose one with ?sections="
            )

    @staticmethod
    def refusal(misfit: MisfitError) -> Response:
        """Return the problem of an answer that cannot be a table."""
        return problem(406, f"{misfit}; or accept application/json")

    def answer(
        self, plan: Plan, outcomes: Sequence[Outcome | None], document: Document
    ) -> tuple[bool, Response | None]:
        """Answer with the section that is shown, if its value can be a table.

        Returns:
            whether it is answered; if not, the problem that takes its place, or `None` where the
            document does.
        """
        try:
            failure = self._send(plan, outcomes, document)
        except MisfitError as misfit:
            return False, self.refusal(misfit) if self.insists else None
        return failure is None, failure

    def _send(
        self, plan: Plan, outcomes: Sequence[Outcome | None], document: Document
    ) -> Response | None:
        section, outcome = next(
            (section, outcome)
            for section, outcome in zip(plan.sections, outcomes, strict=True)
            if not section.hidden and outcome is not None
        )
        if outcome.state is State.FAILED:
            return section_failed(section.name, outcome, document.errors)
        if outcome.written and values_in(outcome.written) > MANY:
            raise MisfitError(
                f"section {section.name} has more than {MANY} values, too many for CSV"
            )
        value = orjson.loads(outcome.written) if outcome.written else outcome.data
        if not isinstance(value, list):
            raise MisfitError(f"CSV takes a list, and section {section.name} is not one")
        self._write(section, value)
        return None

    def _write(self, section: Section, rows: list[Any]) -> None:
        try:
            parts = written(section.name, rows)
        except TooLargeError as error:
            raise MisfitError(f"section {section.name} has {error}, too many for CSV") from None
        if self._head_only:
            self._respond(200, self._head, b"")
            return
        _Rest(self._begin(200, self._head, next(parts)), parts).go_on()


class _Rest:
    """The rest of a table, written a part in each turn of the loop while the client reads."""

    __slots__ = ("_outlet", "_parts")

    def __init__(self, outlet: Outlet, parts: Iterator[bytes]) -> None:
        self._outlet = outlet
        self._parts = parts
        outlet.resumed = self.go_on

    def go_on(self) -> None:
        """Write the next part."""
        if self._outlet.paused:
            return  # until it calls again
        part = next(self._parts, None)
        if part is None:
            self._outlet.resumed = None
            self._outlet.end()
        else:
            self._outlet.write(part)
            if not self._outlet.paused:
                asyncio.get_running_loop().call_soon(self.go_on)
