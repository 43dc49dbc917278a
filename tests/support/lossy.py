"""A line to PostgreSQL that breaks at a chosen moment: a proxy that counts the requests that go through it.

A request is what the client waits for an answer to: the start of a session, a simple Query, a Sync, each answered up to
ReadyForQuery, and the Flush with which the driver has a statement described. The proxy sees both sides, so it can lose
the one, the other, or the second half of the answer.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

_ASKS_FOR_A_PASSWORD = {3, 5, 10, 11}
_PORT = 5432
_FLUSH = b"H\0\0\0\4"
_READY, _DESCRIBED = (b"Z",), (b"T", b"n", b"E")


class Fault(enum.Enum):
    """What happens to a request; each of them ends the connection."""

    BEFORE = "the line breaks before the server hears of it"
    TORN = "it is done, and the line breaks in the middle of the answer"
    AFTER = "it is done, and the line breaks before the answer"


class Link(NamedTuple):
    """One client's connection, and the one to the server behind it."""

    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    server: asyncio.StreamReader
    to_server: asyncio.StreamWriter


class LossyLine:
    """Counts the requests of all its connections, and breaks a line at those it was told."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._faults: dict[int, Fault] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests = 0

    def break_at(self, faults: Mapping[int, Fault]) -> None:
        """Counts from 1 again, and strikes at these numbers."""
        self._faults, self.requests = dict(faults), 0

    @property
    def left(self) -> int:
        """Faults that have not struck."""
        return len(self._faults)

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server, to_server = await self._connect()
            try:
                await self._relay(Link(client, to_client, server, to_server))
            finally:
                to_server.transport.abort()
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # one side is gone, or the test is over
        finally:
            to_client.close()
            self._tasks.discard(task)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._host.startswith("/"):
            return await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        return await asyncio.open_connection(self._host, self._port)

    async def _relay(self, link: Link) -> None:
        request = await _message(link.client, named=False)
        while True:
            self.requests += 1
            fault = self._faults.pop(self.requests, None)
            if fault is Fault.BEFORE:
                return
            link.to_server.write(request)
            answer = await _answer(link, _DESCRIBED if _flushes(request) else _READY, passing=fault is None)
            if fault is Fault.TORN:
                link.to_client.write(answer[: len(answer) // 2])
            if fault is not None:
                return
            request = await _request(link.client)


@asynccontextmanager
async def lossy_line(url: str) -> AsyncGenerator[tuple[LossyLine, str], None]:
    """A line to the server of `url`, and the URL that leads there through it."""
    parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
    host = query.pop("host", [parts.hostname or "localhost"])[0]
    line = LossyLine(host, parts.port or _PORT)
    with TemporaryDirectory(prefix="holdfast-") as folder:
        listening = await asyncio.start_unix_server(line.serve, Path(folder) / f".s.PGSQL.{_PORT}")
        user = parts.netloc.rpartition("@")[0]
        through = urlencode(query | {"host": folder, "sslmode": "disable"}, doseq=True)
        try:
            yield line, urlunsplit(parts._replace(netloc=f"{user}@" if user else "", query=through))
        finally:
            listening.close()
            await line.close()


async def _request(client: asyncio.StreamReader) -> bytes:
    """Everything up to what the client waits for. Raises EOFError when it says goodbye."""
    request = b""
    while True:
        part = await _message(client)
        request += part
        match part[:1]:
            case b"X":
                raise EOFError
            case b"Q" | b"S" | b"H":
                return request
            case _:
                pass


def _flushes(request: bytes) -> bool:
    return request.endswith(_FLUSH)


async def _answer(link: Link, last: tuple[bytes, ...], *, passing: bool) -> bytes:
    """Everything up to a message of type `last`, passed on or kept back; talk about a password is always passed on."""
    answer = b""
    while True:
        part = await _message(link.server)
        asks = part[:1] == b"R" and int.from_bytes(part[5:9], "big") in _ASKS_FOR_A_PASSWORD
        if passing or asks:
            link.to_client.write(part)
        if not asks:
            answer += part
        else:
            link.to_server.write(await _message(link.client))
        if part[:1] in last:
            return answer


async def _message(reader: asyncio.StreamReader, *, named: bool = True) -> bytes:
    """One message of the protocol, with its type where it has one."""
    kind = await reader.readexactly(1) if named else b""
    length = await reader.readexactly(4)
    return kind + length + await reader.readexactly(int.from_bytes(length, "big") - 4)
