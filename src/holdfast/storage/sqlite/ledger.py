"""The store's own counts, taken in one read transaction in a thread: it scans, and the event loop must not wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.kit.clock import Clock
from holdfast.model.ledger import Ledger
from holdfast.storage.tally import LedgerCounts

from .connection import Connection
from .threaded import ThreadedConnection


class SqliteLedgerReader:
    """`LedgerReader` on one file."""

    def __init__(self, thread: ThreadedConnection, sql: Mapping[str, str], clock: Clock) -> None:
        self._thread = thread
        self._sql = sql
        self._clock = clock

    async def ledger(self) -> Ledger:
        return await self._thread.run(self._count)

    def _count(self, connection: Connection) -> Ledger:
        counts = LedgerCounts()
        connection.execute("BEGIN")  # all counts come from one snapshot
        try:
            counts.live_jobs(self._rows(connection, "ledger_live_jobs", self._clock.now_us()))
            counts.archived_jobs(self._rows(connection, "ledger_archived_jobs"))
            counts.messages(self._rows(connection, "ledger_messages"))
            counts.counted_by(self._rows(connection, "ledger_counted_by"))
            counts.tallies(self._rows(connection, "ledger_tallies"))
            ((entities, inbox),) = self._rows(connection, "ledger_sizes")
        finally:
            connection.execute("ROLLBACK")
        return counts.ledger(entities, inbox)

    def _rows(self, connection: Connection, name: str, now: int | None = None) -> list[Any]:
        return connection.execute(self._sql[name], {} if now is None else {"now": now}).fetchall()
