"""The interface through which the runner of a section sees its execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.call import Deadline
    from gateway.engine.outcome import Outcome
    from gateway.expressions.reference import Scope
    from gateway.layers.passage import Passage
    from gateway.plan.model import Section
    from gateway.upstreams.kind import Sent

__all__ = ["Context", "Elements", "Inputs", "Runner"]


class Inputs(NamedTuple):
    """The inputs of one request to a plan.

    Attributes:
        parameters: values by name; `ABSENT` for an optional one that was left out.
        sent: the client's header fields for each upstream; upstreams that get none are left out.
        min_fresh: seconds for which cached answers should stay fresh, see `Request.min_fresh`.
    """

    parameters: Mapping[str, Any]
    sent: Mapping[str, Sent] = {}
    min_fresh: float = 0.0


class Elements(NamedTuple):
    """The elements of a running `for_each` section, for the sections that follow it.

    Attributes:
        keys: key of each element, or its index.
        landing: a future for the outcome of each element.
        keyed: the section's result is an object.
        beyond: number of elements that the limits have cut off so far.
    """

    keys: list[str | int]
    landing: list[asyncio.Future[Outcome]]
    keyed: bool
    beyond: int


class Context(Protocol):
    """One execution, as its runners see it."""

    @property
    def inputs(self) -> Inputs:
        """The inputs of the request."""

    @property
    def scope(self) -> Scope:
        """What references see: parameters, and the values of sections that have landed."""

    @property
    def deadline(self) -> Deadline:
        """The deadline of the whole answer."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the execution."""

    @property
    def outcomes(self) -> Sequence[Outcome | None]:
        """The outcomes that have landed so far, by the index of the section."""

    @property
    def calls(self) -> list[Passage]:
        """The calls that were started without a task; they are cancelled when it ends."""

    @property
    def elements(self) -> Mapping[int, Elements]:
        """The elements of `for_each` sections that others follow, by the index of the section."""

    def opened(self, section: Section, elements: Elements) -> None:
        """Record the elements of a `for_each` section and start its followers."""

    def element_landed(self, section: Section, key: str | int, outcome: Outcome) -> None:
        """Publish an element that has a place in the result of a `for_each` section."""

    def spawn(
        self, section: Section, run: Callable[[Context], Awaitable[Outcome | None]]
    ) -> asyncio.Task[None]:
        """Run a section as a task of the execution; it lands with the outcome of `run`, if any.

        A `CallError` becomes an outcome. Any other exception ends the execution.
        """

    def broke(self, bug: BaseException) -> None:
        """End the execution because of an error of the gateway itself."""

    def landed(self, section: Section, outcome: Outcome) -> None:
        """Take the outcome of a section that was started."""


class Runner(Protocol):
    """Runs one section of a plan. It is made once and started for every request."""

    def start(self, context: Context) -> None:
        """Start the section. Calls `context.landed` once, now or later, or `context.spawn`."""
