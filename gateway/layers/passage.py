"""The driver: takes a request through a stack of layers, without a task where nothing waits.

tower separates readiness from the call, and so does a `Gate`: `admit` says whether a call may go
on, and `succeeded`, `failed` or `abandoned` notes how it ended. A request that meets only gates and
a wire that calls back needs no task, no future and no coroutine. Where something has to wait, the
driver waits for it in a task: the wire of a test, a layer written as a coroutine, a retry.
"""

from __future__ import annotations

from asyncio import CancelledError, Future, Task, get_running_loop
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from gateway.aio.tasks import cancel_and_wait
from gateway.aio.timers import Alarm
from gateway.errors import CallError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.call import Call, Clock, Request, Response
    from gateway.layers.context import LayerContext

__all__ = ["PARKED", "Gate", "Passage", "Receiver", "Running", "Stack", "startable"]

PARKED: Final = object()
"""What `admit` returns when the gate keeps the call; it calls `Passage.resume` later."""


class Gate:
    """A layer that needs no task to let a good call through; it serves one stack.

    A hook that it does not override costs nothing. A gate for which all ends of a call are the same
    names one method `settled` and assigns it to `succeeded`, `failed` and `abandoned`.

    Args:
        context: what it has in common with the other layers of its upstream.
    """

    __slots__ = ("clock", "events", "upstream")

    def __init__(self, context: LayerContext) -> None:
        self.clock = context.clock
        self.events = context.events
        self.upstream = context.upstream

    def __call__(self, call: Call) -> Stack:
        """Wrap `call`; gates that stand directly around each other are one stack."""
        if isinstance(call, Stack):
            return Stack((self, *call.gates), call.wire, self.clock)
        return Stack((self,), call, self.clock)

    def bind(self, inner: Call) -> None:
        """Take the Call of the layers below; for a gate that calls them again."""

    def admit(self, passage: Passage) -> object:
        """Let a call pass: return `None`; or `PARKED` to keep it, and resume it later.

        Raises:
            CallError: the call is refused.
        """

    def succeeded(self, passage: Passage, response: Response, /) -> None:
        """Note a good answer to a call that was admitted."""

    def failed(
        self, passage: Passage, error: CallError, /
    ) -> CallError | Awaitable[Response] | None:
        """Note the failure of a call that was admitted.

        Returns:
            `None` to pass the error on; another error in its place; or an awaitable whose response
            or error replaces it.
        """

    def abandoned(self, passage: Passage, bug: BaseException | None, /) -> None:
        """Note that a call that was admitted has ended without a result.

        Args:
            passage: the call.
            bug: an error of the gateway itself; `None` if the call was cancelled.
        """

    def rang(self, passage: Passage) -> None:
        """Handle the alarm of a call that the gate has set."""


class Receiver(Protocol):
    """Takes the result of a call. `Any` is the context that was given to `Stack.start`."""

    def landed(self, context: Any, result: Response | BaseException) -> None:
        """Take a response, a `CallError`, or a bug."""


class Running(Protocol):
    """Something in flight that can be cancelled; afterwards it does not call back."""

    def cancel(self) -> object:
        """End it."""


class Passage(Alarm):
    """One request on its way through a stack, and what the layers have noted about it.

    Attributes:
        request: the request.
        stack: the layers and the wire.
        now: monotonic seconds at which it was started or resumed. No time passes between the
            gates that admit it, so this is also when it was sent.
        running: what is in flight inside the innermost gate that admitted it, if anything.
        done: it has ended, or it was cancelled.
        epoch: for `breaker`: the epoch that admitted it.
        permitted_at: for `concurrency`: monotonic seconds at which it got its permit.
        alarmed: the gate that handles its alarm.
        ends: for `timeout`: monotonic seconds at which the attempt has had its whole time.
    """

    __slots__ = ("_context", "_depth", "_pending", "_receiver", "alarmed", "done", "ends", "epoch",
                 "now", "permitted_at", "request", "running", "stack")  # fmt: skip

    alarmed: Gate
    ends: float
    epoch: int
    permitted_at: float

    def __init__(
        self, stack: Stack, request: Request, receiver: Receiver, context: Any, now: float
    ) -> None:
        self.stack = stack
        self.request = request
        self.now = now
        self.running: Running | None = None
        self.done = False
        self._receiver = receiver
        self._context = context
        self._depth = 0
        self._pending: _Interruption | None = None

    # For the wire

    def succeed(self, response: Response) -> None:
        """Take a good answer outward through the gates."""
        self.running = None
        succeeded: Any = None
        try:
            for succeeded in self.stack.succeeded[self._depth]:
                succeeded(self, response)
        except BaseException as bug:
            self._depth = self.stack.place(succeeded.__self__)  # the others have ended the call
            self._break(bug)
            return
        self.done = True
        self._receiver.landed(self._context, response)

    def fail(self, error: BaseException) -> None:
        """Take a failure outward through the gates; anything but a `CallError` is a bug."""
        self.running = None
        if isinstance(error, CallError):
            self._fail(self._depth, error)
        else:
            self._break(error)

    def wait_for(self, awaitable: Awaitable[Response]) -> None:
        """Wait in a task for the answer."""
        self._await(awaitable, self._depth)

    # For gates

    def resume(self, gate: Gate) -> None:
        """Go on with a call that `gate` has parked."""
        self.running = None
        self.now = self.stack.clock()
        self.proceed(self.stack.admits_inside(gate))

    def refuse(self, gate: Gate, error: CallError) -> None:
        """Fail at `gate`, which has parked the call."""
        self.running = None
        self._fail(self.stack.place(gate), error)

    def interrupt(self, gate: Gate, error: CallError) -> None:
        """End what is in flight inside `gate`, and fail there with `error`."""
        if self.done:
            return
        place = self.stack.place(gate)
        if self._pending is not None:  # its task is ending: the outermost gate decides
            if place < self._pending.place:
                self._pending = _Interruption(place, error, self._pending.task)
            return
        running, self.running = self.running, None
        if isinstance(running, Task):
            running.cancel()
            self._pending = _Interruption(place, error, running)
            return
        if running is not None:
            running.cancel()
        self._interrupted(place, error)

    # For the caller

    def cancel(self) -> Task[Any] | None:
        """End the call; the receiver is not called. Return a task that has yet to end, if any."""
        if self.done:
            return None
        self.done = True
        if self._pending is not None:
            return self._pending.task
        running, self.running = self.running, None
        if isinstance(running, Task):
            running.cancel()
            self._pending = _Interruption(0, None, running)
            return running
        if running is not None:
            running.cancel()
        self._abandon(0, None)
        return None

    # Alarm

    def ring(self) -> None:
        """Let the gate that set the alarm handle it."""
        self.alarmed.rang(self)

    # Inner parts

    def proceed(self, admits: Iterable[Any]) -> None:
        """Ask the gates in turn, then send the request."""
        stack = self.stack
        admit: Any = None
        try:
            for admit in admits:
                if admit(self) is PARKED:
                    self._depth = stack.place(admit.__self__)
                    return
        except CallError as error:
            self._fail(stack.place(admit.__self__), error)
            return
        except BaseException as bug:
            self._depth = stack.place(admit.__self__)
            self._break(bug)
            return
        self._depth = stack.depth
        try:
            if stack.send is not None:
                stack.send(self)
            else:
                self._await(stack.wire(self.request), stack.depth)
        except BaseException as bug:
            if self.done:  # the error of a receiver to which the wire has landed at once
                raise
            self._break(bug)

    def _fail(self, depth: int, error: CallError) -> None:
        """Take an error outward through the first `depth` gates."""
        place = depth
        try:
            for place, failed in self.stack.failed[depth]:
                result = failed(self, error)
                if result is None:
                    continue
                if isinstance(result, CallError):
                    error = result
                    continue
                self._await(result, place)
                return
        except BaseException as bug:
            self._depth = place  # the gates inside have ended the call
            self._break(bug)
            return
        self.done = True
        self._receiver.landed(self._context, error)

    def _await(self, awaitable: Awaitable[Response], depth: int) -> None:
        """Wait in a task for a result, which then goes outward through the first `depth` gates."""
        self._depth = depth
        if not isinstance(awaitable, Coroutine):
            awaitable = _result_of(awaitable)
        task = get_running_loop().create_task(awaitable)
        self.running = task
        task.add_done_callback(self._awaited)

    def _awaited(self, task: Task[Response]) -> None:
        pending, self._pending = self._pending, None
        if task.cancelled():
            error: BaseException | None = CancelledError()
        else:
            error = task.exception()
        if pending is not None:
            bug = None if error is None or isinstance(error, (CallError, CancelledError)) else error
            if self.done or pending.error is None:
                self._abandon(0, bug)
                if bug is not None:  # no receiver would see it
                    what = {"message": "a cancelled call failed", "exception": bug}
                    task.get_loop().call_exception_handler(what)
            elif bug is not None:
                self._break(bug)
            else:
                self._interrupted(pending.place, pending.error)
        elif error is None:
            self.succeed(task.result())
        elif isinstance(error, CancelledError):
            name = self.request.section
            bug = RuntimeError(f"section {name} was cancelled, but not by its execution")
            bug.__cause__ = error
            self.fail(bug)
        else:
            self.fail(error)

    def _interrupted(self, place: int, error: CallError) -> None:
        try:
            self._abandon(place + 1, None)
        except BaseException as bug:
            self._break(bug)
            return
        self._fail(place, error)

    def _break(self, bug: BaseException) -> None:
        """End the call because of a bug."""
        if self.done:
            return
        self.done = True
        running, self.running = self.running, None
        if running is not None:
            running.cancel()
        try:
            self._abandon(0, bug)
        finally:
            self._receiver.landed(self._context, bug)

    def _abandon(self, place: int, bug: BaseException | None) -> None:
        """Tell the gates from the innermost that admitted the call to the one at `place`."""
        for at, abandoned in self.stack.abandoned[self._depth]:
            if at < place:
                break
            self._depth = at
            abandoned(self, bug)


class _Interruption:
    """An error that replaces the result of a task, once the task has ended."""

    __slots__ = ("error", "place", "task")

    def __init__(self, place: int, error: CallError | None, task: Task[Any]) -> None:
        self.place = place
        self.error = error
        self.task = task


class Stack:
    """Gates around a wire. It is a Call, and can also be started with a receiver.

    Args:
        gates: the gates, outermost first.
        wire: the Call inside all of them. If it has a method `start(passage)`, that is called
            instead, and it calls `Passage.succeed` or `Passage.fail` later.
        clock: monotonic seconds, the clock of the deadlines.

    Attributes:
        gates, wire, clock: the arguments.
        admits: the hooks of the gates, outermost first.
        succeeded, failed, abandoned: for each depth the hooks of the gates outside it, innermost
            first; those of `failed` and `abandoned` with the place of their gate.
    """

    __slots__ = ("_places", "abandoned", "admits", "clock", "depth", "failed", "gates", "send",
                 "succeeded", "wire")  # fmt: skip

    def __init__(self, gates: Sequence[Gate], wire: Call, clock: Clock) -> None:
        self.gates = tuple(gates)
        self.wire = wire
        self.send = getattr(wire, "start", None)
        self.clock = clock
        self.depth = len(gates)
        depths = range(len(gates) + 1)
        self.admits = tuple(hook for _, hook in reversed([*_hooks(gates, "admit")]))
        self.succeeded = [tuple(h for _, h in _hooks(gates[:n], "succeeded")) for n in depths]
        self.failed = [tuple(_hooks(gates[:n], "failed")) for n in depths]
        self.abandoned = [tuple(_hooks(gates[:n], "abandoned")) for n in depths]
        self._places = {gate: place for place, gate in enumerate(gates)}
        for place, gate in enumerate(gates):
            if type(gate).bind is not Gate.bind:
                gate.bind(Stack(gates[place + 1 :], wire, clock))

    def start(self, request: Request, receiver: Receiver, context: Any) -> Passage:
        """Start a call; `receiver.landed(context, result)` is called once, now or later."""
        passage = Passage(self, request, receiver, context, self.clock())
        passage.proceed(self.admits)
        return passage

    async def __call__(self, request: Request) -> Response:
        """Return the good answer to `request`."""
        landing: Future[Response] = get_running_loop().create_future()
        passage = self.start(request, _LANDING, landing)
        try:
            return await landing
        except CancelledError:
            ending = passage.cancel()
            if ending is not None:
                await cancel_and_wait((ending,))
            raise
        finally:
            del landing, passage  # they hold an error whose traceback holds this frame: a cycle

    def place(self, gate: Gate) -> int:
        """Return the number of gates outside `gate`."""
        return self._places[gate]

    def admits_inside(self, gate: Gate) -> Sequence[Any]:
        """Return the hooks `admit` of the gates inside `gate`."""
        outside = self._places[gate]
        return [admit for admit in self.admits if self._places[admit.__self__] > outside]


def startable(call: Call, clock: Clock) -> Stack:
    """Return `call` in a form that can be started with a receiver."""
    return call if isinstance(call, Stack) else Stack((), call, clock)


class _Landing:
    """Puts a result into the future of a caller that awaits it."""

    __slots__ = ()

    def landed(self, future: Future[Response], result: Response | BaseException) -> None:
        if future.done():  # cancelled
            return
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


_LANDING = _Landing()


def _hooks(gates: Sequence[Gate], name: str) -> Iterator[tuple[int, Any]]:
    """Yield the place and the hook of each gate that overrides it, innermost first."""
    for place in reversed(range(len(gates))):
        if getattr(type(gates[place]), name) is not getattr(Gate, name):
            yield place, getattr(gates[place], name)


async def _result_of(awaitable: Awaitable[Response]) -> Response:
    return await awaitable
