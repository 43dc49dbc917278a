"""Keeping a lease: one statement every few seconds, on a connection that does nothing else.

It may live on another event loop than the rest of the store, in a thread of its own, so it shares nothing with it. A
connection that broke is replaced within the same renewal: sending one twice does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from time import monotonic

from holdfast.errors import PersistenceError
from holdfast.ports.membership import Renewal
from holdfast.storage.rows import runner_row

from .connection import Connection, PostgresOptions, Record
from .faults import DRIVER_ERRORS, translated
from .pool import end


class PostgresLeaseLine:
    """`LeaseLine` on one database."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        sql: Mapping[str, str],
        options: PostgresOptions,
        *,
        pinned: bool,
    ) -> None:
        """`pinned`: behind a pooler, where both halves of a statement meet one session only inside a transaction."""
        self._connect = connect
        self._renew = sql["runner_renew"]
        self._options = options
        self._pinned = pinned
        self._connection: Connection | None = None
        self._closed = False

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> Renewal | None:
        args = (runner_id, lease_ttl_us, state, self._options.now_us())
        gives_up_at = monotonic() + lease_ttl_us / 3e6
        kept = self._connection is not None
        try:
            rows = await self._fetch(args, gives_up_at)
        except PersistenceError:
            if not kept or self._connection is not None or monotonic() >= gives_up_at:
                raise
            rows = await self._fetch(args, gives_up_at)
        runners = tuple(runner_row(tuple(row)[1:]) for row in rows)
        return Renewal(rows[0][0], runners) if rows else None

    async def close(self) -> None:
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            await end(connection)

    async def _fetch(self, args: tuple[object, ...], gives_up_at: float) -> list[Record]:
        """Raises PersistenceError; the connection is kept only where the server has answered."""
        if self._closed:
            raise PersistenceError("the store is closed")
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            connection = await self._connect()
        left_s = max(0.1, gives_up_at - monotonic())
        try:
            if self._pinned:
                await connection.execute("BEGIN", timeout=left_s)
            rows = await connection.fetch(self._renew, *args, timeout=left_s)
            if self._pinned:
                await connection.execute("COMMIT", timeout=left_s)
        except DRIVER_ERRORS as error:
            connection.terminate()
            raise translated(error, False) from error
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        return rows
