"""The listening side: an address, and the connections that come in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

from holdfast.errors import ConfigurationError
from holdfast.ports.transport import Identity, Inbound
from holdfast.settings import TransportSettings

from .address import TcpAddress, UnixAddress
from .connection import Connection
from .hello import Refusal, RefusalKind
from .line import Line
from .unix import SocketFile

CERTIFICATES = "TLS (HOLDFAST_TLS_CERT, HOLDFAST_TLS_KEY)"
A_TOKEN = "a token (HOLDFAST_CLUSTER_TOKEN)"


class Reception:
    """Makes connections for whoever comes, keeps them, and turns away who is too many or too late.

    Knows nothing of sockets, so that the memory network receives its peers in the same way.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        inbound: Inbound,
        settings: TransportSettings,
        silenced: Callable[[], bool] | None = None,
    ) -> None:
        self._identity = identity
        self._silenced = silenced
        self._inbound = inbound
        self.settings = settings
        self._connections: dict[Connection, None] = {}
        self._going: str | None = None

    @property
    def peers(self) -> Sequence[Connection]:
        return [connection for connection in self._connections if connection.open]

    def receive(self) -> Connection:
        return Connection(
            identity=self._identity,
            inbound=self._inbound,
            settings=self.settings,
            gate=self._gate,
            silenced=self._silenced,
            register=self._connections,
        )

    def receive_line(self) -> Line:
        """The same for asyncio, which talks to the line."""
        return self.receive().line

    def go_away(self, message: str) -> None:
        self._going = message
        for connection in self._connections:
            connection.go_away(message)

    async def close(self) -> None:
        """Ends all connections; returns when they are gone."""
        self._going = self._going or "closing"
        connections = list(self._connections)
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.closed()

    def _gate(self) -> Refusal | None:
        if self._going is not None:
            return Refusal(RefusalKind.BUSY, f"this side is going away: {self._going}")
        if len(self._connections) > self.settings.connections_max:
            return Refusal(
                RefusalKind.BUSY, f"{self.settings.connections_max} connections are open, which is the limit"
            )
        return None


class SocketListener:
    """A listening socket; implements the port `Listener`."""

    def __init__(
        self, address: str, reception: Reception, server: asyncio.Server, socket_file: SocketFile | None
    ) -> None:
        self.address = address
        self._reception = reception
        self._server = server
        self._socket_file = socket_file

    @property
    def peers(self) -> Sequence[Connection]:
        return self._reception.peers

    def go_away(self, message: str) -> None:
        self._reception.go_away(message)

    async def close(self) -> None:
        self._server.close()
        await self._reception.close()
        if self._socket_file is not None:
            self._socket_file.close()


async def listen_unix(address: UnixAddress, reception: Reception) -> SocketListener:
    """Listens on a socket file that only this user may use. Raises ConfigurationError where it can't be had."""
    socket_file = SocketFile(address.path)
    try:
        server = await asyncio.get_running_loop().create_unix_server(reception.receive_line, sock=socket_file.socket)
    except BaseException:
        socket_file.close()
        raise
    return SocketListener(str(UnixAddress(socket_file.path)), reception, server, socket_file)


async def listen_tcp(
    address: TcpAddress, reception: Reception, *, token: str, tls: ssl.SSLContext | None
) -> SocketListener:
    """Listens on a port; 0 lets the system choose one.

    Raises ConfigurationError where it can't be had, or could be reached from elsewhere without TLS and a token.
    """
    if not address.loopback and (tls is None or not token):
        missing = [what for what, there in ((CERTIFICATES, tls), (A_TOKEN, token)) if not there]
        raise ConfigurationError(f"{address} can be reached from other machines: give it {' and '.join(missing)}")
    try:
        server = await asyncio.get_running_loop().create_server(
            reception.receive_line,
            address.host,
            address.port,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else reception.settings.handshake_timeout,
        )
    except OSError as error:
        raise ConfigurationError(f"can't listen on {address}: {error}") from error
    port = server.sockets[0].getsockname()[1]
    return SocketListener(str(TcpAddress(address.host, port)), reception, server, None)
