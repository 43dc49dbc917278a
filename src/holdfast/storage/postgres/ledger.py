"""The store's own counts, from one snapshot; they scan, so they run on a connection without a limit on statements."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.model.ledger import Ledger
from holdfast.storage.tally import LedgerCounts

from .connection import Connection, PostgresOptions
from .pool import Pool


class PostgresLedgerReader:
    """`LedgerReader` on one database."""

    def __init__(self, pool: Pool, sql: Mapping[str, str], options: PostgresOptions) -> None:
        self._pool = pool
        self._sql = sql
        self._options = options

    async def ledger(self) -> Ledger:
        return await self._pool.patiently(self._count)

    async def _count(self, connection: Connection) -> Ledger:
        counts, sql = LedgerCounts(), self._sql
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        counts.live_jobs(await connection.fetch(sql["ledger_live_jobs"], self._options.now_us()))
        counts.archived_jobs(await connection.fetch(sql["ledger_archived_jobs"]))
        counts.messages(await connection.fetch(sql["ledger_messages"]))
        counts.counted_by(await connection.fetch(sql["ledger_counted_by"]))
        counts.tallies(await connection.fetch(sql["ledger_tallies"]))
        ((entities, inbox),) = await connection.fetch(sql["ledger_sizes"])
        await connection.execute("COMMIT")
        return counts.ledger(entities, inbox)
