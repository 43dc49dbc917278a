"""The store's own counts, taken in one read transaction in a thread: it scans, and the event loop must not wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from holdfast.kit.clock import Clock
from holdfast.model.ledger import JobCounts, Ledger, MessageCounts

from .connection import Connection
from .threaded import ThreadedConnection

LIVE = ("scheduled", "available", "running", "retrying", "enqueued")
ARCHIVED = ("completed", "cancelled", "dead", "replayed", "discarded", "enqueued")
MESSAGES = ("pending", "done", "dead", "deliveries", "delivered_once")

Counts = Counter[tuple[str, int, str]]


class SqliteLedgerReader:
    """`LedgerReader` on one file."""

    def __init__(self, thread: ThreadedConnection, sql: Mapping[str, str], clock: Clock) -> None:
        self._thread = thread
        self._sql = sql
        self._clock = clock

    async def ledger(self) -> Ledger:
        return await self._thread.run(self._count)

    def _count(self, connection: Connection) -> Ledger:
        jobs: Counts = Counter()
        messages: Counts = Counter()
        counted_by: Counter[int] = Counter()
        connection.execute("BEGIN")  # all counts come from one snapshot
        try:
            for job_type, priority, *counts in self._rows(connection, "ledger_live_jobs", self._clock.now_us()):
                _add(jobs, job_type, priority, LIVE, counts)
            for job_type, priority, *counts in self._rows(connection, "ledger_archived_jobs"):
                _add(jobs, job_type, priority, ARCHIVED, counts)
            for entity_type, *counts in self._rows(connection, "ledger_messages"):
                _add(messages, entity_type, 0, MESSAGES, counts)
            counted_by.update(dict(self._rows(connection, "ledger_counted_by")))
            for kind, name, priority, what, count in self._rows(connection, "ledger_tallies"):
                match kind:
                    case "job":
                        jobs[name, priority, what] += count
                    case "message":
                        messages[name, priority, what] += count
                    case _:
                        counted_by[int(name)] += count
            ((entities, inbox),) = self._rows(connection, "ledger_sizes")
        finally:
            connection.execute("ROLLBACK")
        return Ledger(_jobs(jobs), _messages(messages), entities, inbox, dict(counted_by))

    def _rows(self, connection: Connection, name: str, now: int | None = None) -> list[Any]:
        return connection.execute(self._sql[name], {} if now is None else {"now": now}).fetchall()


def _add(counts: Counts, name: str, priority: int, fields: tuple[str, ...], values: list[int]) -> None:
    for field, value in zip(fields, values, strict=True):
        counts[name, priority, field] += value


def _jobs(counts: Counts) -> tuple[JobCounts, ...]:
    kinds = sorted({(name, priority) for name, priority, _ in counts})
    fields = JobCounts._fields[2:]
    return tuple(
        JobCounts(name, priority, *(counts[name, priority, field] for field in fields)) for name, priority in kinds
    )


def _messages(counts: Counts) -> tuple[MessageCounts, ...]:
    fields = MessageCounts._fields[1:]
    return tuple(
        MessageCounts(name, *(counts[name, 0, field] for field in fields))
        for name in sorted({name for name, _, _ in counts})
    )
