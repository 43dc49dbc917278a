"""A whole store in memory. Its tables outlive it where the test holds them: closing and opening again is a restart."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import PersistenceError, StoreUnavailable
from holdfast.kit.clock import Clock
from holdfast.model.inbox import InboxKind
from holdfast.model.job import JobState
from holdfast.model.message import InboxRow, OutcomeKind
from holdfast.ports.membership import LeaseLine

from .journal import MemoryJournal, MemorySession, StorageFaults
from .ledger import MemoryLedgerReader
from .membership import MemoryLeaseLine, MemoryMembership
from .reads import MemoryInboxReader, MemoryJobReader, MemoryMessageReader
from .tables import Tables

CLUSTER_ID = "memory"


class MemoryStore:
    """`RunnerStore` in memory; on shared tables, one for each of the runners."""

    lease_on_thread = False

    def __init__(self, *, clock: Clock, tables: Tables | None = None, faults: StorageFaults | None = None) -> None:
        """Raises StoreUnavailable when another runner has these tables open, and they are not shared."""
        self.url = "memory:"
        self.tables = tables or Tables()
        if self.tables.runner_open and not self.tables.shared:
            raise StoreUnavailable("memory: another runner holds the store")
        self.tables.runner_open = True
        self._clock = clock
        self._seen = self.tables.inbox_changes
        self._session = MemorySession(self.tables)
        self._faults = faults or StorageFaults()
        self.journal = MemoryJournal(self._session, self._faults)
        self.messages = MemoryMessageReader(self.tables)
        self.jobs = MemoryJobReader(self.tables)
        self.inbox_reader = MemoryInboxReader(self.tables)
        self.ledger = MemoryLedgerReader(self.tables, clock)
        self.inbox = MemoryInboxWriter(self._session, clock)
        self.ids = MemoryIds(self._session)
        self.membership = MemoryMembership(self._session, clock)
        self.maintenance = MemoryMaintenance(self._session)

    @property
    def lanes(self) -> int:
        """Several where commits take their time, as on a store that others share."""
        return 1 if self._faults.latency_s is None else 2

    @property
    def alone(self) -> bool:
        return not self.tables.shared

    async def cluster_id(self) -> str:
        return CLUSTER_ID

    async def shard_count(self, group: str) -> int | None:
        row = self.tables.groups.rows.get(group)
        return row.shards if row is not None else None

    async def runner_address(self) -> str | None:
        addresses = [row.address for row in self.tables.runners.rows.values() if row.address]
        return addresses[-1] if addresses else None

    async def inbox_changed(self) -> bool:
        """Only a runner on the same tables can have written to this process's memory."""
        before, self._seen = self._seen, self.tables.inbox_changes
        return self.tables.shared and before != self._seen

    async def lease_line(self) -> LeaseLine:
        return MemoryLeaseLine(self._session, self._clock)

    def connections(self) -> tuple[int, int]:
        return 0, 0

    async def close(self) -> None:
        if not self._session.closed:
            self._session.closed = True
            self.tables.runner_open = False


class MemoryIds:
    """`Ids` in memory."""

    def __init__(self, session: MemorySession) -> None:
        self._session = session

    async def allocate(self, count: int) -> int:
        assert count > 0, count
        async with self._session.turn:
            first = self._session.tables.next_id
            self._session.tables.next_id = first + count
            return first


class MemoryInboxWriter:
    """`InboxWriter` in memory."""

    def __init__(self, session: MemorySession, clock: Clock) -> None:
        self._session = session
        self._clock = clock

    async def leave(self, rows: Sequence[tuple[int, int, InboxKind, bytes]]) -> None:
        async with self._session.turn:
            if self._session.closed:
                raise PersistenceError("the store is closed")
            with self._session.tables.transaction():
                for number, shard, kind, body in rows:
                    row = InboxRow(number, shard, kind, body, self._clock.now_us())
                    self._session.tables.inbox.insert(number, row)
                self._session.tables.inbox_changes += 1


class MemoryMaintenance:
    """`Maintenance` in memory."""

    def __init__(self, session: MemorySession) -> None:
        self._session = session

    async def prune(self, *, finished_before: int, limit: int) -> int:
        async with self._session.turn:
            with self._session.tables.transaction():
                return self._prune_done(finished_before, limit) + self._prune_archive(finished_before, limit)

    def _prune_done(self, before: int, limit: int) -> int:
        tables, tally = self._session.tables, self._session.tables.tally
        old = [row for row in sorted(tables.done.rows.values()) if row.finished_at < before]
        gone = [row for row in old if row.kind != OutcomeKind.DEAD or row.id not in tables.dead_messages.rows][:limit]
        for row in gone:
            tables.done.remove(row.id)
            tally["message", row.entity_type, 0, "dead" if row.kind == OutcomeKind.DEAD else "done"] += 1
            tally["message", row.entity_type, 0, "deliveries"] += row.deliveries
            tally["message", row.entity_type, 0, "delivered_once"] += row.deliveries > 0
            tally["counted_by", str(row.admitted_by), 0, "admitted"] += 1
        return len(gone)

    def _prune_archive(self, before: int, limit: int) -> int:
        tables, tally = self._session.tables, self._session.tables.tally
        old = [row for row in sorted(tables.archive.rows.values(), key=lambda row: row.id) if row.finished_at < before]
        dealt = [r for r in old if r.state != JobState.DEAD or r.replayed_at is not None or r.discarded_at is not None]
        for row in dealt[:limit]:
            tables.archive.remove(row.id)
            tally["job", row.job_type, row.priority, row.state] += 1
            tally["job", row.job_type, row.priority, "replayed"] += row.replayed_at is not None
            tally["job", row.job_type, row.priority, "discarded"] += row.discarded_at is not None
            tally["job", row.job_type, row.priority, "enqueued"] += row.replay_of is None
            tally["counted_by", str(row.admitted_by), 0, "admitted"] += row.replay_of is None
        return len(dealt[:limit])
