"""Ending what others may still be holding: a runner's row, a session's fence.

Deleting either waits for the write under way. A session that is frozen in the middle of one would make it wait for
ever, so after a moment a second connection ends whoever the deletion waits for. The one reaped is dead by the
database's clock, or is this process's own lost session: there is nobody to be sorry for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from holdfast.errors import PersistenceError
from holdfast.model.job import CRASHED

from .connection import Connection, PostgresOptions, Record
from .pool import Pool

logger = logging.getLogger("holdfast.storage")

SLOT_PATIENCE_S = 0.25
REAP_PATIENCE_S = 0.1

_NO_END_S = 24 * 3600.0

Then = Callable[[Connection, list[Record]], Awaitable[None]]


class Endings:
    """Deletions that do not wait for ever."""

    def __init__(self, pool: Pool, bystanders: Pool, sql: Mapping[str, str], options: PostgresOptions) -> None:
        """`pool` is for the deletions alone: what ends the sessions they wait for must not wait for them."""
        self._pool = pool
        self._bystanders = bystanders
        self._sql = sql
        self._options = options

    async def slot_end(self, incarnation: int, slot: int) -> int | None:
        """Deletes a session's fence row and returns the number of its last batch; None where the runner was reaped.

        The number is kept in a row of its own, so that asking again after a lost answer gives the same one.
        """
        await self._insist("slot_end", (incarnation, slot), SLOT_PATIENCE_S)
        rows = await self._bystanders.fetch(self._sql["slot_outcome"], incarnation, slot)
        return int(rows[0][0]) if rows else None

    async def leave(self, incarnation: int) -> bool:
        """Ends an incarnation in order; False where that was done."""

        async def end_starts(connection: Connection, left: list[Record]) -> None:
            await connection.execute(self._sql["starts_leave"], incarnation)

        return bool(await self._insist("runner_leave", (incarnation,), REAP_PATIENCE_S, then=end_starts))

    async def reap_one(self, ended_by_us: int | None) -> int | None:
        """Ends one incarnation whose lease has run out, unless another reaper is at it; None where there is none."""
        now_us = self._options.now_us()

        async def count_crashes(connection: Connection, reaped: list[Record]) -> None:
            if reaped:
                # However much is stored there: a reap that gives up would never come to an end.
                await connection.execute("SET LOCAL statement_timeout = 0")
            for executor, shards in reaped:
                await connection.execute(self._sql["messages_crashed"], shards, now_us, executor, timeout=_NO_END_S)
                await connection.execute(self._sql["jobs_crashed"], executor, CRASHED, timeout=_NO_END_S)

        rows = await self._insist("runner_reap", (now_us, ended_by_us), REAP_PATIENCE_S, then=count_crashes)
        return int(rows[0][0]) if rows else None

    async def _insist(
        self, name: str, args: Sequence[Any], patience_s: float, *, then: Then | None = None
    ) -> list[Record]:
        async with self._pool.transaction() as connection:
            ((pid,),) = await connection.fetch(self._sql["session_pid"])
            deletion = asyncio.ensure_future(connection.fetch(self._sql[name], *args))
            try:
                while not (await asyncio.wait({deletion}, timeout=patience_s))[0]:
                    await self._evict(pid, name)
            except BaseException:
                await _cancelled(deletion, connection)
                raise
            rows = await deletion
            if then is not None:
                await then(connection, rows)
            return rows

    async def _evict(self, pid: int, name: str) -> None:
        try:
            ended = await self._bystanders.fetch(self._sql["session_evict"], pid)
        except PersistenceError as error:
            logger.warning("%s waits for a session that could not be ended: %s", name, error)
        else:
            if ended:
                logger.warning("%s waited too long: ended %d session(s) that held it up", name, len(ended))


async def _cancelled(deletion: asyncio.Future[list[Record]], connection: Connection) -> None:
    connection.terminate()
    deletion.cancel()
    await asyncio.gather(deletion, return_exceptions=True)
