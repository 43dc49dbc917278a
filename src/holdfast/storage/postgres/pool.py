"""A few connections that come and go: opened when wanted, dropped when broken, opened again when the server is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar

from holdfast.errors import PersistenceError

from .connection import Connection, Record
from .faults import DRIVER_ERRORS, Broken, translated

T = TypeVar("T")

_FIRST_PAUSE_S = 0.02
_PAUSE_S_MAX = 0.5


class Pool:
    """At most `size` connections, each in one pair of hands at a time."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], *, size: int, wait_s: float, pinned: bool) -> None:
        """`pinned` reads run in transactions too: a pooler then keeps both halves of a statement on one session."""
        self._connect = connect
        self._idle: list[Connection] = []
        self._out: set[Connection] = set()
        self._free = asyncio.Semaphore(size)
        self._wait_s = wait_s
        self._pinned = pinned
        self.closed = False

    @asynccontextmanager
    async def take(self) -> AsyncGenerator[Connection, None]:
        """A connection outside of any transaction; the driver's errors inside come out translated.

        Raises Broken where the server does not answer and PersistenceError once the pool is closed.
        """
        async with self._free:
            connection = await self._open()
            self._out.add(connection)
            try:
                yield connection
            except DRIVER_ERRORS as error:
                raise self._judged(connection, error) from error
            except BaseException:
                connection.terminate()  # cancelled in the middle of something, perhaps
                raise
            finally:
                self._out.discard(connection)
                self._keep(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """The same inside a transaction that commits where the body ends well. Raises Broken where nobody knows."""
        async with self.take() as connection:
            await connection.execute("BEGIN")
            yield connection
            await connection.execute("COMMIT")

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        """Runs a statement that may run twice, again and again until the server is back or the time is up."""

        async def fetch(connection: Connection) -> list[Record]:
            if not self._pinned:
                return await connection.fetch(sql, *args)
            await connection.execute("BEGIN")
            rows = await connection.fetch(sql, *args)
            await connection.execute("COMMIT")
            return rows

        return await self.patiently(fetch)

    async def patiently(self, act: Callable[[Connection], Awaitable[T]]) -> T:
        """Calls `act` with a connection; where the connection breaks, again with another, for a bounded time."""
        gives_up_at = monotonic() + self._wait_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with self.take() as connection:
                    return await act(connection)
            except Broken:
                if self.closed or monotonic() + pause_s > gives_up_at:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(_PAUSE_S_MAX, pause_s * 2)

    def count(self) -> tuple[int, int]:
        """Connections in use, and idle."""
        return len(self._out), len(self._idle)

    async def close(self) -> None:
        """Ends all connections, those in use at once. Works twice."""
        self.closed = True
        for connection in self._out:
            connection.terminate()
        idle, self._idle = self._idle, []
        for connection in idle:
            await end(connection)

    async def _open(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        if self.closed:
            raise PersistenceError("the store is closed")
        # In a task: the driver's timeout needs one, and the first step of who is here may be taken without (kit.eager).
        return await asyncio.ensure_future(self._connect())

    def _keep(self, connection: Connection) -> None:
        if connection.is_closed():
            return
        if self.closed or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)

    def _judged(self, connection: Connection, error: Exception) -> PersistenceError:
        judged = translated(error, not connection.is_closed())
        if isinstance(judged, Broken):
            connection.terminate()
        return PersistenceError("the store is closed") if self.closed else judged


async def end(connection: Connection) -> None:
    """Says goodbye, or just leaves where nobody listens."""
    try:
        await connection.close(timeout=1.0)
    except DRIVER_ERRORS:
        connection.terminate()
