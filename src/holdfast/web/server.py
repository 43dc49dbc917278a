"""An ASGI app served by a thread of its own, with an event loop of its own.

The user's event loop may be busy or blocked; what is asked over HTTP is whether that is so, hence the answer must not
come from there. `start` binds the socket in the calling thread, so that a port in use or a forbidden address is an
error there and then, and returns the address really bound (port 0 takes a free one). `stop` answers what is being
answered, at most for a moment, closes all connections and joins the thread. Both block their caller briefly.

The thread is a daemon: a process whose main thread ends is not kept alive by its health page.

Nothing of the process is touched on the way: no signal handlers, no logging set-up (a user's own server of the same
kind keeps its access log).
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from threading import Event, Thread
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from holdfast.errors import ConfigurationError

GRACE_S = 2
CONNECTIONS_MAX = 256
IDLE_CONNECTION_S = 20
HEAD_S = 20.0
"""From a connection, or the last answer on it, until a request's head must have come whole."""
START_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class HttpAddress(NamedTuple):
    """Where a server listens; `host` is numeric."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """For people and clients to open."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class HttpThread:
    """Serves one ASGI app at one address until stopped; may be started again after that."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        name: str,
        loopback_only: bool = True,
        tls: ssl.SSLContext | None = None,
        remedy: str = "give a token",
        listener: socket.socket | None = None,
    ) -> None:
        """`remedy` says what would allow an address beyond the loopback.

        A `listener` listens there already; it is served once and closed at the end.
        """
        self._app = app
        self._tls = tls
        self._remedy = remedy
        self._host = host
        self._port = port
        self._name = name
        self._loopback_only = loopback_only
        self._listener = listener
        self._server: _Server | None = None
        self._thread: Thread | None = None

    def start(self) -> HttpAddress:
        """Returns once requests are answered. Raises ConfigurationError if the address can't or may not be used."""
        if self._thread is not None:
            raise RuntimeError(f"{self._name} is already running")
        listener, self._listener = self._listener, None
        if listener is None:
            listener = listen(self._host, self._port, loopback_only=self._loopback_only, remedy=self._remedy)
        self._server = _Server(self._app, self._tls)
        self._thread = Thread(target=self._server.serve_on, args=(listener,), name=self._name, daemon=True)
        self._thread.start()
        if not self._server.begun.wait(START_TIMEOUT_S) or not self._server.started:
            failure = self._server.failure
            self.stop()
            raise RuntimeError(f"{self._name} did not start") from failure
        return HttpAddress(*listener.getsockname()[:2])

    def stop(self) -> None:
        """Returns when the thread has ended. Works twice and before `start`."""
        if self._listener is not None:
            self._listener.close()
        if self._thread is None or self._server is None:
            return
        self._server.ask_to_end()
        self._thread.join(GRACE_S + START_TIMEOUT_S)
        if self._thread.is_alive():
            log.warning("%s does not end; its thread is left behind", self._name)
        self._thread = self._server = None


class _Config(uvicorn.Config):
    def configure_logging(self) -> None:
        """Left alone: the loggers it would set up are shared by every uvicorn of the process."""


class _Patient(H11Protocol):
    """Hangs up on who has not said what it asks for in time: a few hundred of them would take every connection."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def _await_head(self) -> None:
        cycle: Any = self.cycle  # None before the first request, whatever its type says
        if cycle is not None and not cycle.response_complete:
            self._cancel()
        elif self._late is None:
            self._late = asyncio.get_running_loop().call_later(HEAD_S, self._hang_up)

    def _cancel(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> None:
        self._late = None
        if not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """Tells when it has begun, and ends when asked, not at the next look at a flag."""

    def __init__(self, app: ASGIApp, tls: ssl.SSLContext | None) -> None:
        config = _Config(
            app,
            http=_Patient,
            loop="asyncio",
            ws="none",
            lifespan="off",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_CONNECTION_S,
            timeout_graceful_shutdown=GRACE_S,
            limit_concurrency=CONNECTIONS_MAX,
        )
        config.load()
        config.ssl = tls
        super().__init__(config)
        self.begun = Event()
        self.failure: BaseException | None = None
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve_on(self, listener: socket.socket) -> None:
        """The thread's whole life."""
        try:
            with asyncio.Runner() as runner:
                runner.run(self.serve(sockets=[listener]))
        except BaseException as error:  # nobody is above a thread's target: kept for `start`, told to the log
            self.failure = error
            log.exception("the HTTP server ended with an error")
        finally:
            listener.close()
            self.begun.set()

    def ask_to_end(self) -> None:
        """From any thread."""
        self.should_exit = True
        if self._loop is not None and self._end is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._end.set)
            except RuntimeError:  # closed between the look and the call: it has ended
                return

    async def main_loop(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self.begun.set()
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 10  # tens are whole seconds to `on_tick`
            try:
                await asyncio.wait_for(self._end.wait(), 1.0)
            except TimeoutError:
                continue


def listen(host: str, port: int, *, loopback_only: bool, remedy: str) -> socket.socket:
    """Raises ConfigurationError for an address that can't or may not be used."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ConfigurationError(f"HTTP can't listen on {host!r}: {error.strerror}") from error
    family, _, _, _, address = found[0]
    if loopback_only and not ipaddress.ip_address(str(address[0])).is_loopback:
        where = host or "every address"
        raise ConfigurationError(f"HTTP on {where} could be reached from other machines: {remedy}, or use 127.0.0.1")
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        raise ConfigurationError(f"HTTP can't listen on {host} port {port}: {_remedy(error)}") from error


def _remedy(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use; choose another one, or 0 for any that is free"
        case errno.EACCES:
            return "the system does not allow this port; choose one above 1023"
        case _:
            return error.strerror or str(error)
