"""What a kind of upstream has to answer: read a source, ask the upstream, say what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from gateway.call import Call, Clock, Operation
    from gateway.config.models import UpstreamConfig
    from gateway.expressions.reference import Reference, Scope
    from gateway.offload import Offload
    from gateway.transport import Objections

__all__ = ["Environment", "Kind", "Sent", "Template", "Wire"]


class Sent(NamedTuple):
    """The client's header fields for one upstream.

    Attributes:
        headers: to forward; they are part of the identity of what is asked.
        propagated: to pass on; they are not.
    """

    headers: Sequence[tuple[bytes, bytes]] = ()
    propagated: Sequence[tuple[bytes, bytes]] = ()


class Template(Protocol):
    """A source of a section, compiled: what an upstream is asked, with references in it."""

    @property
    def text(self) -> str:
        """The source as it was written."""

    @property
    def upstream(self) -> str:
        """Name of the upstream."""

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every reference in it, in order."""

    def needed_references(self) -> tuple[Reference, ...]:
        """Return the references without whose value there is no call."""

    def repeats(self, element: str) -> bool:
        """Whether one call can ask for many elements: `element` stands for a list then."""

    def operation(self, scope: Scope, sent: Sent) -> Operation:
        """Return what the upstream is asked.

        Raises:
            DependencyFailed: a reference has no value that can stand where it stands.
        """

    def explain(self, scope: Scope) -> str:
        """Return the same in words, for `gateway explain`."""


class Environment(NamedTuple):
    """What a wire may use of its process.

    Attributes:
        clock: monotonic seconds, that of the deadlines.
        now: POSIX seconds.
        objections: what a test's mock objects to; `None` where no test asks.
        offload: where large answers are decoded; on the event loop without it.
    """

    clock: Clock
    now: Clock
    objections: Objections | None = None
    offload: Offload | None = None


class Wire(NamedTuple):
    """The innermost Call of an upstream.

    Attributes:
        call: asks the upstream once.
        aclose: closes every connection.
        ping: the operation that shows whether the upstream is there.
        generation: changes whenever the declaration changes what the upstream answers.
        forward: header fields of the client's request that are part of its calls, in lower case.
        propagate: those that are passed on with its calls and are not part of their identity.
    """

    call: Call
    aclose: Callable[[], Awaitable[None]]
    ping: Operation
    generation: bytes
    forward: tuple[bytes, ...] = ()
    propagate: tuple[bytes, ...] = ()


class Kind(Protocol):
    """One kind of upstream: a folder of its own, and a line in `gateway.upstreams.kinds`."""

    @property
    def key(self) -> str:
        """The key of a declaration that says it is of this kind, such as `base_url`."""

    @property
    def config(self) -> type[UpstreamConfig]:
        """The model of its declaration."""

    def parse(self, text: str) -> Template:
        """Compile `upstream:...`.

        Raises:
            TemplateError: when it is malformed.
        """

    def open(self, name: str, config: Any, environment: Environment) -> Wire:
        """Return the wire of one upstream; connects to nothing yet."""

    def missing(self, config: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield what the declaration needs and this machine lacks: where in it, and a message."""
