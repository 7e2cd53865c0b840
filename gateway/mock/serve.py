"""The server of the mock upstreams, which runs in an existing event loop."""

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class _QuietProtocol(HttpToolsProtocol):
    """Writes no access log, even where the host process has configured one for its own server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False


class MockServer:
    """Serves an application while the context is entered.

    It starts in the running event loop and returns at once. It installs no signal handler and
    configures no logger: both belong to the host, which is a command, a demo or a test.

        async with MockServer(create_mock_app(), port=0) as server:
            print(server.url)
    """

    def __init__(
        self, app: ASGIApp, *, host: str = "127.0.0.1", port: int = 9000, grace: float = 1.0
    ) -> None:
        """Prepare to serve `app`.

        Args:
            app: the application.
            host: an address or name of this machine.
            port: 0 lets the system choose a free one.
            grace: seconds for requests in flight to finish when the context is left.
        """
        self._host = host
        self._port = port
        self._grace = grace
        config = uvicorn.Config(
            _ending_quietly(app),
            http=_QuietProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._clock: asyncio.Task[None]

    @property
    def url(self) -> str:
        """Its URL, such as `http://127.0.0.1:9000`, with the actual port once it has started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def __aenter__(self) -> Self:
        """Listen and serve.

        Raises OSError if the address is in use or does not belong to this machine.
        """
        listener = _listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        server = self._server
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup(sockets=[listener])
        # uvicorn's loop only updates the Date header; serve() would also handle signals.
        self._clock = asyncio.create_task(server.main_loop(), name="mock-server-clock")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening, let requests in flight finish within the grace, then cancel them."""
        self._clock.cancel()
        await asyncio.wait([self._clock])
        for listener in self._server.servers:
            listener.close()
        state = self._server.server_state
        for connection in list(state.connections):
            connection.shutdown()
        requests = set(state.tasks)
        if requests:
            _, late = await asyncio.wait(requests, timeout=self._grace)
            for connection in list(state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # uvicorn notices the disconnected clients
            for request in late:
                request.cancel()
            await asyncio.gather(*late)
        await asyncio.sleep(0)  # the transports close


def _ending_quietly(app: ASGIApp) -> ASGIApp:
    # uvicorn logs a cancelled request as an error of the application, with its traceback.
    async def ending_quietly(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return ending_quietly


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
