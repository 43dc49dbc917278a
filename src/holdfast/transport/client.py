"""The connecting side: one attempt, which ends with a peer or says why not."""

from __future__ import annotations

import asyncio
import ssl

from holdfast.errors import RunnerUnavailable

from .address import TcpAddress, UnixAddress
from .connection import Connection


async def connect(
    address: UnixAddress | TcpAddress,
    connection: Connection,
    *,
    tls: ssl.SSLContext | None,
    tls_name: str | None = None,
    timeout_s: float,
) -> None:
    """Connects this new connection; `tls_name` is whom the certificate must name, if not the address's host.
    Raises what `Network.connect` raises; nothing stays open then.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await _dial(address, connection, tls, tls_name)
    except TimeoutError as error:
        raise RunnerUnavailable(f"{address} did not answer within {timeout_s} s") from error
    except OSError as error:
        raise RunnerUnavailable(f"nobody answers at {address}: {error}") from error
    await introduce(connection)


async def introduce(connection: Connection) -> None:
    """Waits for the handshake; a connection that is not wanted any more is closed."""
    try:
        await connection.line.opened()
    except BaseException:
        connection.close()
        raise


async def _dial(
    address: UnixAddress | TcpAddress, connection: Connection, tls: ssl.SSLContext | None, tls_name: str | None
) -> None:
    loop = asyncio.get_running_loop()
    match address:
        case UnixAddress(path=path):
            await loop.create_unix_connection(lambda: connection.line, path)
        case TcpAddress(host=host, port=port):
            await loop.create_connection(
                lambda: connection.line, host, port, ssl=tls, server_hostname=None if tls is None else tls_name
            )
