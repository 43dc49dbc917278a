"""Reads, each one statement on a connection of the readers' pool; they are tried again while the server is away."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from holdfast.model.address import Address
from holdfast.model.job import ArchivedJob, GroupPlace, JobRow, StartRecord
from holdfast.model.ledger import DeadJobs, LiveJobs
from holdfast.model.message import DeadMessageRow, DoneRow, InboxRow, MessageRow
from holdfast.ports.reads import StoredState

from .connection import Record
from .pool import Pool

R = TypeVar("R")


class Reader:
    """Named statements on one pool. Raises PersistenceError."""

    __slots__ = ("_pool", "_sql")

    def __init__(self, pool: Pool, sql: Mapping[str, str]) -> None:
        self._pool = pool
        self._sql = sql

    async def rows(self, name: str, *args: Any) -> list[Record]:
        return await self._pool.fetch(self._sql[name], *args)


def _one(make: type[R], rows: Iterable[Record]) -> R | None:
    for row in rows:
        return make(*row)
    return None


class PostgresMessageReader:
    """`MessageReader` on one database."""

    __slots__ = ("_read",)

    def __init__(self, reader: Reader) -> None:
        self._read = reader.rows

    async def state(self, address: Address) -> StoredState | None:
        return _one(StoredState, await self._read("state", *address))

    async def states_of(self, entity_type: str, *, after: str, limit: int) -> Sequence[tuple[str, StoredState]]:
        rows = await self._read("states_of", entity_type, after, limit)
        return [(entity_id, StoredState(*state)) for entity_id, *state in rows]

    async def pending(
        self, *, after: int, limit: int, due_before: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        rows = await self._read("messages_pending", after, due_before, limit, shards)
        return [MessageRow(*row) for row in rows]

    async def pending_of(self, address: Address, *, after: int, limit: int, due_before: int) -> Sequence[MessageRow]:
        rows = await self._read("messages_pending_of", *address, after, due_before, limit)
        return [MessageRow(*row) for row in rows]

    async def upcoming(
        self, *, due_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        return [MessageRow(*row) for row in await self._read("messages_upcoming", due_after, limit, shards)]

    async def timer(self, address: Address, name: str) -> MessageRow | None:
        return _one(MessageRow, await self._read("message_timer", *address, name))

    async def by_id(self, message_id: int) -> MessageRow | None:
        return _one(MessageRow, await self._read("message_by_id", message_id))

    async def by_key(self, address: Address, method: str, key: str) -> MessageRow | None:
        return _one(MessageRow, await self._read("message_by_key", *address, method, key))

    async def done(self, message_id: int) -> DoneRow | None:
        return _one(DoneRow, await self._read("done_by_id", message_id))

    async def done_by_key(self, address: Address, method: str, key: str) -> DoneRow | None:
        return _one(DoneRow, await self._read("done_by_key", *address, method, key))

    async def dead(self, *, after: int, limit: int, entity_type: str | None = None) -> Sequence[DeadMessageRow]:
        return [DeadMessageRow(*row) for row in await self._read("messages_dead", after, entity_type, limit)]


class PostgresJobReader:
    """`JobReader` on one database."""

    __slots__ = ("_count", "_read")

    def __init__(self, reader: Reader, counting: Reader) -> None:
        self._read = reader.rows
        self._count = counting.rows

    async def available(
        self, *, shard: int, priority: int, after: int, limit: int, due_before: int
    ) -> Sequence[JobRow]:
        rows = await self._read("jobs_available", shard, priority, after, limit, due_before)
        return [JobRow(*row) for row in rows]

    async def filled(
        self, windows: Collection[tuple[int, int, int]], *, due_before: int
    ) -> Collection[tuple[int, int]]:
        shards, priorities, after = zip(*windows, strict=True) if windows else ((), (), ())
        return [(row[0], row[1]) for row in await self._read("jobs_filled", shards, priorities, after, due_before)]

    async def upcoming(
        self, *, due_after: int, id_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[JobRow]:
        return [JobRow(*row) for row in await self._read("jobs_upcoming", due_after, id_after, limit, shards)]

    async def live(self, job: int) -> JobRow | None:
        return _one(JobRow, await self._read("job_by_id", job))

    async def live_of(self, jobs: Collection[int]) -> Sequence[JobRow]:
        return [JobRow(*row) for row in await self._read("jobs_by_id", list(jobs))]

    async def live_by_key(self, job_type: str, group: str | None, key: str) -> JobRow | None:
        return _one(JobRow, await self._read("job_by_key", job_type, group, key))

    async def archived(self, job: int) -> ArchivedJob | None:
        return _one(ArchivedJob, await self._read("archived_by_id", job))

    async def archived_by_key(self, job_type: str, group: str | None, key: str) -> ArchivedJob | None:
        return _one(ArchivedJob, await self._read("archived_by_key", job_type, group, key))

    async def dead(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[ArchivedJob]:
        return [ArchivedJob(*row) for row in await self._read("jobs_dead", after, job_type, limit)]

    async def live_page(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[JobRow]:
        return [JobRow(*row) for row in await self._count("jobs_live_page", after, job_type, limit)]

    async def archived_page(
        self, *, after: int, limit: int, state: str, job_type: str | None = None
    ) -> Sequence[ArchivedJob]:
        return [ArchivedJob(*row) for row in await self._count("jobs_archived_page", after, state, job_type, limit)]

    async def starts(self, *, shards: Collection[int] | None = None) -> Sequence[StartRecord]:
        return [StartRecord(*row) for row in await self._read("starts", shards)]

    async def lent(self, executor: int) -> Sequence[StartRecord]:
        return [StartRecord(*row) for row in await self._read("starts_lent", executor)]

    async def group_places(self, *, shards: Collection[int] | None = None) -> Sequence[GroupPlace]:
        return [GroupPlace(*row) for row in await self._count("group_places", shards)]

    async def live_counts(self, *, due_before: int, shards: Collection[int] | None = None) -> Sequence[LiveJobs]:
        return [LiveJobs(*row) for row in await self._count("jobs_live_counts", due_before, shards)]

    async def dead_counts(self, *, shards: Collection[int] | None = None) -> Sequence[DeadJobs]:
        return [DeadJobs(*row) for row in await self._count("jobs_dead_counts", shards)]


class PostgresInboxReader:
    """`InboxReader` on one database."""

    __slots__ = ("_read",)

    def __init__(self, reader: Reader) -> None:
        self._read = reader.rows

    async def inbox(self, *, limit: int, shards: Collection[int] | None = None) -> Sequence[InboxRow]:
        return [InboxRow(*row) for row in await self._read("inbox", limit, shards)]

    async def entry(self, number: int) -> InboxRow | None:
        rows = await self._read("inbox_by_id", number)
        return InboxRow(*rows[0]) if rows else None
