"""Reads on a read-only connection: it sees what is committed, and never what an open transaction holds.

They take microseconds, so they run inline.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import apsw

from holdfast.errors import PersistenceError
from holdfast.model.address import Address
from holdfast.model.job import ArchivedJob, GroupPlace, JobRow, StartRecord
from holdfast.model.ledger import DeadJobs, LiveJobs
from holdfast.model.message import DeadMessageRow, DoneRow, InboxRow, MessageRow
from holdfast.ports.reads import StoredState

from .connection import Connection
from .faults import translated
from .threaded import ThreadedConnection

R = TypeVar("R")


class Reader:
    """Named statements on one connection. Raises PersistenceError."""

    __slots__ = ("connection", "sql")

    def __init__(self, connection: Connection, sql: Mapping[str, str]) -> None:
        self.connection = connection
        self.sql = sql

    def rows(self, name: str, bindings: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        try:
            return self.connection.execute(self.sql[name], bindings).fetchall()
        except apsw.ConnectionClosedError as error:
            raise PersistenceError("the store is closed") from error
        except apsw.Error as error:
            raise translated(error) from error


def listed(shards: Collection[int] | None) -> str | None:
    """Numbers as JSON text, which is how a statement takes a list."""
    return None if shards is None else str(list(shards))


def _one(make: type[R], rows: Iterable[Sequence[Any]]) -> R | None:
    for row in rows:
        return make(*row)
    return None


class SqliteMessageReader:
    """`MessageReader` on one file."""

    __slots__ = ("_read",)

    def __init__(self, reader: Reader) -> None:
        self._read = reader.rows

    async def state(self, address: Address) -> StoredState | None:
        return _one(StoredState, self._read("state", address))

    async def states_of(self, entity_type: str, *, after: str, limit: int) -> Sequence[tuple[str, StoredState]]:
        rows = self._read("states_of", (entity_type, after, limit))
        return [(entity_id, StoredState(*state)) for entity_id, *state in rows]

    async def pending(
        self, *, after: int, limit: int, due_before: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        wanted = {"after": after, "limit": limit, "due_before": due_before, "shards": listed(shards)}
        return [MessageRow(*row) for row in self._read("messages_pending", wanted)]

    async def pending_of(self, address: Address, *, after: int, limit: int, due_before: int) -> Sequence[MessageRow]:
        wanted = {**address._asdict(), "after": after, "limit": limit, "due_before": due_before}
        return [MessageRow(*row) for row in self._read("messages_pending_of", wanted)]

    async def upcoming(
        self, *, due_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        wanted = {"due_after": due_after, "limit": limit, "shards": listed(shards)}
        return [MessageRow(*row) for row in self._read("messages_upcoming", wanted)]

    async def timer(self, address: Address, name: str) -> MessageRow | None:
        return _one(MessageRow, self._read("message_timer", (*address, name)))

    async def by_id(self, message_id: int) -> MessageRow | None:
        return _one(MessageRow, self._read("message_by_id", (message_id,)))

    async def by_key(self, address: Address, method: str, key: str) -> MessageRow | None:
        return _one(MessageRow, self._read("message_by_key", (*address, method, key)))

    async def done(self, message_id: int) -> DoneRow | None:
        return _one(DoneRow, self._read("done_by_id", (message_id,)))

    async def done_by_key(self, address: Address, method: str, key: str) -> DoneRow | None:
        return _one(DoneRow, self._read("done_by_key", (*address, method, key)))

    async def dead(self, *, after: int, limit: int, entity_type: str | None = None) -> Sequence[DeadMessageRow]:
        wanted = {"after": after, "limit": limit, "entity_type": entity_type}
        return [DeadMessageRow(*row) for row in self._read("messages_dead", wanted)]


class SqliteJobReader:
    """`JobReader` on one file."""

    __slots__ = ("_counting", "_read", "_sql")

    def __init__(self, reader: Reader, counting: ThreadedConnection) -> None:
        self._read = reader.rows
        self._sql = reader.sql
        self._counting = counting

    async def available(
        self, *, shard: int, priority: int, after: int, limit: int, due_before: int
    ) -> Sequence[JobRow]:
        wanted = {"shard": shard, "priority": priority, "after": after, "limit": limit, "due_before": due_before}
        return [JobRow(*row) for row in self._read("jobs_available", wanted)]

    async def filled(
        self, windows: Collection[tuple[int, int, int]], *, due_before: int
    ) -> Collection[tuple[int, int]]:
        wanted = {"windows": str([list(window) for window in windows]), "due_before": due_before}
        return [(shard, priority) for shard, priority in self._read("jobs_filled", wanted)]

    async def upcoming(
        self, *, due_after: int, id_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[JobRow]:
        wanted = {"due_after": due_after, "id_after": id_after, "limit": limit, "shards": listed(shards)}
        return [JobRow(*row) for row in self._read("jobs_upcoming", wanted)]

    async def live(self, job: int) -> JobRow | None:
        return _one(JobRow, self._read("job_by_id", (job,)))

    async def live_of(self, jobs: Collection[int]) -> Sequence[JobRow]:
        return [JobRow(*row) for row in self._read("jobs_by_id", {"jobs": listed(jobs)})]

    async def live_by_key(self, job_type: str, group: str | None, key: str) -> JobRow | None:
        return _one(JobRow, self._read("job_by_key", (job_type, group, key)))

    async def archived(self, job: int) -> ArchivedJob | None:
        return _one(ArchivedJob, self._read("archived_by_id", (job,)))

    async def archived_by_key(self, job_type: str, group: str | None, key: str) -> ArchivedJob | None:
        return _one(ArchivedJob, self._read("archived_by_key", (job_type, group, key)))

    async def dead(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[ArchivedJob]:
        wanted = {"after": after, "limit": limit, "job_type": job_type}
        return [ArchivedJob(*row) for row in self._read("jobs_dead", wanted)]

    async def live_page(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[JobRow]:
        wanted = {"after": after, "limit": limit, "job_type": job_type}
        return [JobRow(*row) for row in await self._count("jobs_live_page", wanted)]

    async def archived_page(
        self, *, after: int, limit: int, state: str, job_type: str | None = None
    ) -> Sequence[ArchivedJob]:
        wanted = {"after": after, "limit": limit, "state": state, "job_type": job_type}
        return [ArchivedJob(*row) for row in await self._count("jobs_archived_page", wanted)]

    async def starts(self, *, shards: Collection[int] | None = None) -> Sequence[StartRecord]:
        return [StartRecord(*row) for row in self._read("starts", {"shards": listed(shards)})]

    async def lent(self, executor: int) -> Sequence[StartRecord]:
        return [StartRecord(*row) for row in self._read("starts_lent", (executor,))]

    async def group_places(self, *, shards: Collection[int] | None = None) -> Sequence[GroupPlace]:
        return [GroupPlace(*row) for row in await self._count("group_places", {"shards": listed(shards)})]

    async def live_counts(self, *, due_before: int, shards: Collection[int] | None = None) -> Sequence[LiveJobs]:
        wanted = {"due_before": due_before, "shards": listed(shards)}
        return [LiveJobs(*row) for row in await self._count("jobs_live_counts", wanted)]

    async def dead_counts(self, *, shards: Collection[int] | None = None) -> Sequence[DeadJobs]:
        return [DeadJobs(*row) for row in await self._count("jobs_dead_counts", {"shards": listed(shards)})]

    async def _count(self, name: str, bindings: Mapping[str, Any]) -> list[Any]:
        """In the counting thread: a scan would hold the event loop up."""
        return await self._counting.run(lambda connection: connection.execute(self._sql[name], bindings).fetchall())


class SqliteInboxReader:
    """`InboxReader` on one file."""

    __slots__ = ("_read",)

    def __init__(self, reader: Reader) -> None:
        self._read = reader.rows

    async def inbox(self, *, limit: int, shards: Collection[int] | None = None) -> Sequence[InboxRow]:
        return [InboxRow(*row) for row in self._read("inbox", {"limit": limit, "shards": listed(shards)})]

    async def entry(self, number: int) -> InboxRow | None:
        rows = self._read("inbox_by_id", (number,))
        return InboxRow(*rows[0]) if rows else None
