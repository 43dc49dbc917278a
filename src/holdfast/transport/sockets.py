"""The network of sockets: Unix sockets on one machine, TCP with or without TLS between several."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from holdfast.errors import ConfigurationError
from holdfast.ports.transport import Identity, Inbound
from holdfast.settings import TransportSettings

from .address import MemoryAddress, TcpAddress, UnixAddress, parse
from .client import connect
from .connection import Connection
from .server import Reception, SocketListener, listen_tcp, listen_unix


class SocketNetwork:
    """Implements the port `Network`. TLS contexts are used for TCP; with client certificates they prove both sides."""

    def __init__(
        self,
        settings: TransportSettings | None = None,
        *,
        server_tls: ssl.SSLContext | None = None,
        client_tls: ssl.SSLContext | None = None,
        tls_name: str | None = None,
    ) -> None:
        """`tls_name`: whom every peer's certificate must name, where that is not the host in its address."""
        self._settings = settings or TransportSettings()
        self._server_tls = server_tls
        self._client_tls = client_tls
        self._tls_name = tls_name

    async def listen(
        self,
        address: str,
        *,
        identity: Identity,
        inbound: Inbound,
        silenced: Callable[[], bool] | None = None,
    ) -> SocketListener:
        reception = Reception(identity=identity, inbound=inbound, settings=self._settings, silenced=silenced)
        parsed = parse(address)
        match parsed:
            case UnixAddress():
                return await listen_unix(parsed, reception)
            case TcpAddress():
                return await listen_tcp(parsed, reception, token=identity.token, tls=self._server_tls)
            case MemoryAddress():
                raise ConfigurationError(f"{address} is an address of the simulation, not of a socket")

    async def connect(self, address: str, *, identity: Identity, inbound: Inbound) -> Connection:
        parsed = parse(address)
        if isinstance(parsed, MemoryAddress):
            raise ConfigurationError(f"{address} is an address of the simulation, not of a socket")
        connection = Connection(identity=identity, inbound=inbound, settings=self._settings)
        timeout_s = self._settings.handshake_timeout
        await connect(parsed, connection, tls=self._client_tls, tls_name=self._tls_name, timeout_s=timeout_s)
        return connection
