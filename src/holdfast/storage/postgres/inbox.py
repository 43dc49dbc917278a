"""What anybody may write, owner or not: fresh ids and inbox rows; and how the owner hears of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic

from holdfast.errors import Conflict, PersistenceError
from holdfast.model.inbox import InboxKind

from .connection import Connection, PostgresOptions
from .faults import DRIVER_ERRORS
from .pool import Pool, end

CHANNEL = "holdfast_inbox"
_POLL_S = 1.0
"""How long a lost notification may go unnoticed."""
_POLL_UNHEARD_S = 0.25
"""The same where nothing can be heard at all: behind a pooler, or while the server is away."""

_AWAY: tuple[type[Exception], ...] = (PersistenceError, *DRIVER_ERRORS)

BLOCK = 65_536
"""Ids in a block of the sequence `holdfast_id`."""

InboxEntry = tuple[int, int, InboxKind, bytes]


class PostgresIds:
    """`Ids` from one counter of the database."""

    def __init__(self, pool: Pool, sql: Mapping[str, str]) -> None:
        self._pool = pool
        self._sql = sql

    async def allocate(self, count: int) -> int:
        assert 0 < count <= BLOCK, count
        rows = await self._pool.fetch(self._sql["ids_allocate"])
        return int(rows[0][0])


class PostgresInbox:
    """`InboxWriter` on one database."""

    def __init__(self, pool: Pool, sql: Mapping[str, str], options: PostgresOptions) -> None:
        self._pool = pool
        self._sql = sql
        self._options = options

    async def leave(self, rows: Sequence[InboxEntry]) -> None:
        """An answer that got lost is asked for again: ids are their writer's own, so one that is there now was left
        by the try before, and with it all the others."""
        columns = list(zip(*rows, strict=True)) if rows else [(), (), (), ()]
        tries: list[Connection] = []

        async def leave(connection: Connection) -> None:
            tries.append(connection)
            await connection.execute("BEGIN")
            await connection.fetch(self._sql["inbox_leave"], *columns, self._options.now_us())
            await connection.execute("COMMIT")

        try:
            await self._pool.patiently(leave)
        except Conflict:
            if len(tries) == 1:
                raise


class Wakeups:
    """Whether somebody may have left something, told by NOTIFY on a connection of its own, and by the clock."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]] | None, schema: str) -> None:
        """Without `connect` nothing is heard and the clock alone decides."""
        self._connect = connect
        self._schema = schema
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()
        self._told = True
        self._looked_at = self._tried_at = float("-inf")

    async def changed(self) -> bool:
        """Whether to look into the inbox: something was left there since the last call, or it may have been."""
        await self._listen()
        now = monotonic()
        patience_s = _POLL_S if self._heard else _POLL_UNHEARD_S
        if not self._told and now - self._looked_at < patience_s:
            return False
        self._told, self._looked_at = False, now
        return True

    async def close(self) -> None:
        self._connect = None
        connection, self._connection = self._connection, None
        if connection is not None:
            await end(connection)

    @property
    def _heard(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def _listen(self) -> None:
        """Opens the line where it is not, one try per poll; what was missed meanwhile counts as told."""
        if self._heard or self._connect is None or monotonic() - self._tried_at < _POLL_UNHEARD_S:
            return
        async with self._opening:
            self._tried_at = monotonic()
            try:
                connection = await self._connect()
                self._connection = connection
                await connection.add_listener(CHANNEL, self._hear)
            except _AWAY:
                return
            self._told = True

    def _hear(self, connection: object, pid: int, channel: str, payload: str) -> None:
        if payload == self._schema:
            self._told = True
