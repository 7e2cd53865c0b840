"""The interface of a kind of upstream: compile its sources, open its calls, list what it needs."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from gateway.call import Call, Clock, Operation
    from gateway.config.models import UpstreamConfig
    from gateway.expressions.reference import Reference, Scope
    from gateway.offload import Offload
    from gateway.transport import Objections

__all__ = ["NOTHING_SENT", "Environment", "Kind", "Sent", "Template", "Wire"]


class Sent(NamedTuple):
    """The client's header fields for one upstream.

    Attributes:
        headers: forwarded fields; they are part of the identity of the call.
        propagated: propagated fields; they are not.
    """

    headers: Sequence[tuple[bytes, bytes]] = ()
    propagated: Sequence[tuple[bytes, bytes]] = ()


NOTHING_SENT = Sent()
"""No header field of the client is for the upstream: the usual case."""


class Template(Protocol):
    """A section's compiled source: a call of an upstream, with references in it."""

    @property
    def text(self) -> str:
        """The source text."""

    @property
    def upstream(self) -> str:
        """Name of the upstream."""

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every reference in it, in order."""

    def needed_references(self) -> tuple[Reference, ...]:
        """Return the references that must have a value for the call to be made."""

    def repeats(self, element: str) -> bool:
        """Whether one call can request many elements; `element` is then a list."""

    def operation(self, scope: Scope, sent: Sent) -> Operation:
        """Return the operation for the upstream.

        Raises:
            DependencyFailed: a reference has no value that fits its place.
        """

    def explain(self, scope: Scope) -> str:
        """Return the operation as text, for `gateway explain`."""


class Environment(NamedTuple):
    """The process's services that a wire may use.

    Attributes:
        clock: monotonic seconds, as deadlines use them.
        now: POSIX seconds.
        objections: records failed assertions of a test's mock; `None` outside tests.
        offload: decodes large answers; without it they are decoded on the event loop.
    """

    clock: Clock
    now: Clock
    objections: Objections | None = None
    offload: Offload | None = None


class Wire(NamedTuple):
    """The innermost Call of an upstream.

    Attributes:
        call: calls the upstream once.
        aclose: closes every connection.
        ping: the operation that checks whether the upstream is reachable.
        generation: changes with every change of the declaration that can change answers.
        forward: the client's header fields that are part of a call's identity, in lower case.
        propagate: the client's header fields that are sent but are not part of the identity.
        gauges: functions that return a value as it is now, by the name of its metric.
    """

    call: Call
    aclose: Callable[[], Awaitable[None]]
    ping: Operation
    generation: bytes
    forward: tuple[bytes, ...] = ()
    propagate: tuple[bytes, ...] = ()
    gauges: Mapping[str, Callable[[], float]] = MappingProxyType({})


class Kind(Protocol):
    """One kind of upstream: a folder of its own, and a line in `gateway.upstreams.kinds`."""

    @property
    def key(self) -> str:
        """The key of a declaration that identifies this kind, such as `base_url`."""

    @property
    def config(self) -> type[UpstreamConfig]:
        """The model of a declaration."""

    def parse(self, text: str) -> Template:
        """Compile `upstream:...`.

        Raises:
            TemplateError: it is malformed.
        """

    def open(self, name: str, config: Any, environment: Environment) -> Wire:
        """Return the wire of one upstream; does not connect yet."""

    def missing(self, config: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield the requirements that this machine does not meet: key path and message."""
