"""Reads from the tables: each a filter and an order, written as the port words it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol, TypeVar

from holdfast.model.address import Address
from holdfast.model.job import ArchivedJob, GroupPlace, JobRow, StartRecord, unpack_attempts
from holdfast.model.ledger import DeadJobs, LiveJobs
from holdfast.model.message import DeadMessageRow, DoneRow, InboxRow, MessageRow, OutcomeKind
from holdfast.ports.reads import StoredState

from .tables import Tables
from .writes import is_undealt, job_name


class _Numbered(Protocol):
    @property
    def id(self) -> int: ...


class _Placed(_Numbered, Protocol):
    @property
    def shard(self) -> int: ...


class _Due(_Numbered, Protocol):
    @property
    def due_at(self) -> int: ...


R = TypeVar("R", bound=_Numbered)
D = TypeVar("D", bound=_Due)
S = TypeVar("S", bound=_Placed)


def _within(rows: Iterable[S], shards: Collection[int] | None) -> list[S]:
    return [row for row in rows if shards is None or row.shard in shards]


def _page(rows: Iterable[R], limit: int) -> list[R]:
    return sorted(rows, key=lambda row: row.id)[:limit]


def _soonest(rows: Iterable[D], due_after: int, limit: int) -> list[D]:
    later = [row for row in rows if row.due_at > max(due_after, 0)]
    return sorted(later, key=lambda row: (row.due_at, row.id))[:limit]


def _newest(rows: Iterable[R]) -> R | None:
    return max(rows, key=lambda row: row.id, default=None)


class MemoryMessageReader:
    """`MessageReader` in memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def state(self, address: Address) -> StoredState | None:
        row = self._tables.states.rows.get(address)
        return StoredState(row.version, row.schema, row.state) if row is not None else None

    async def states_of(self, entity_type: str, *, after: str, limit: int) -> Sequence[tuple[str, StoredState]]:
        rows = (row for row in self._tables.states.rows.values() if row.entity_type == entity_type)
        found = sorted((row for row in rows if row.entity_id > after), key=lambda row: row.entity_id)
        return [(row.entity_id, StoredState(row.version, row.schema, row.state)) for row in found[:limit]]

    async def pending(
        self, *, after: int, limit: int, due_before: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        stored = _within(self._stored(), shards)
        return _page((row for row in stored if row.id > after and row.due_at <= due_before), limit)

    async def pending_of(self, address: Address, *, after: int, limit: int, due_before: int) -> Sequence[MessageRow]:
        due = (row for row in self._stored() if row.id > after and row.due_at <= due_before)
        return _page((row for row in due if row.address == address), limit)

    async def upcoming(
        self, *, due_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[MessageRow]:
        return _soonest(_within(self._stored(), shards), due_after, limit)

    async def timer(self, address: Address, name: str) -> MessageRow | None:
        return self._stored_at(self._tables.timer_names.rows.get((address.entity_type, address.entity_id, name)))

    async def by_id(self, message_id: int) -> MessageRow | None:
        return self._stored_at(message_id)

    async def by_key(self, address: Address, method: str, key: str) -> MessageRow | None:
        return self._stored_at(
            self._tables.message_keys.rows.get((address.entity_type, address.entity_id, method, key))
        )

    async def done(self, message_id: int) -> DoneRow | None:
        return self._tables.done.rows.get(message_id)

    async def done_by_key(self, address: Address, method: str, key: str) -> DoneRow | None:
        wanted = (*address, method, key)
        return _newest(
            row
            for row in self._tables.done.rows.values()
            if (row.entity_type, row.entity_id, row.method, row.key) == wanted and row.kind != OutcomeKind.KEY_CONFLICT
        )

    async def dead(self, *, after: int, limit: int, entity_type: str | None = None) -> Sequence[DeadMessageRow]:
        letters = (row for row in self._tables.dead_messages.rows.values() if row.id > after)
        return _page((row for row in letters if entity_type in (None, row.entity_type)), limit)

    def _stored(self) -> Iterable[MessageRow]:
        return self._tables.messages.rows.values()

    def _stored_at(self, message_id: int | None) -> MessageRow | None:
        return self._tables.messages.rows.get(message_id) if message_id is not None else None


class MemoryJobReader:
    """`JobReader` in memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def available(
        self, *, shard: int, priority: int, after: int, limit: int, due_before: int
    ) -> Sequence[JobRow]:
        due = (row for row in self._tables.jobs.rows.values() if row.id > after and row.due_at <= due_before)
        return _page((row for row in due if (row.shard, row.priority) == (shard, priority)), limit)

    async def filled(
        self, windows: Collection[tuple[int, int, int]], *, due_before: int
    ) -> Collection[tuple[int, int]]:
        ids: dict[tuple[int, int], int] = {}
        for row in self._tables.jobs.rows.values():
            if row.due_at <= due_before:
                place = (row.shard, row.priority)
                ids[place] = max(row.id, ids.get(place, row.id))
        return [(shard, priority) for shard, priority, after in windows if ids.get((shard, priority), after) > after]

    async def upcoming(
        self, *, due_after: int, id_after: int, limit: int, shards: Collection[int] | None = None
    ) -> Sequence[JobRow]:
        after, jobs = (due_after, id_after), _within(self._tables.jobs.rows.values(), shards)
        found = [row for row in jobs if row.due_at and (row.due_at, row.id) > after]
        return sorted(found, key=lambda row: (row.due_at, row.id))[:limit]

    async def live(self, job: int) -> JobRow | None:
        return self._tables.jobs.rows.get(job)

    async def live_of(self, jobs: Collection[int]) -> Sequence[JobRow]:
        rows = self._tables.jobs.rows
        return [rows[job] for job in sorted(set(jobs)) if job in rows]

    async def live_by_key(self, job_type: str, group: str | None, key: str) -> JobRow | None:
        job = self._tables.job_keys.rows.get((job_type, group or "", key))
        return self._tables.jobs.rows[job] if job is not None else None

    async def archived(self, job: int) -> ArchivedJob | None:
        return self._tables.archive.rows.get(job)

    async def archived_by_key(self, job_type: str, group: str | None, key: str) -> ArchivedJob | None:
        wanted = (job_type, group or "", key)
        finished = self._tables.archive.rows.values()
        return _newest(row for row in finished if job_name(row) == wanted)

    async def dead(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[ArchivedJob]:
        letters = (row for row in self._tables.archive.rows.values() if row.id > after and is_undealt(row))
        return _page((row for row in letters if job_type in (None, row.job_type)), limit)

    async def live_page(self, *, after: int, limit: int, job_type: str | None = None) -> Sequence[JobRow]:
        live = (row for row in self._tables.jobs.rows.values() if row.id > after)
        return _page((row for row in live if job_type in (None, row.job_type)), limit)

    async def archived_page(
        self, *, after: int, limit: int, state: str, job_type: str | None = None
    ) -> Sequence[ArchivedJob]:
        ended = (row for row in self._tables.archive.rows.values() if row.id > after and row.state == state)
        return _page((row for row in ended if job_type in (None, row.job_type)), limit)

    async def starts(self, *, shards: Collection[int] | None = None) -> Sequence[StartRecord]:
        live = {row.id for row in _within(self._tables.jobs.rows.values(), shards)}
        found = [
            record
            for record in self._tables.starts.rows.values()
            if shards is None or any(job in live for job, _ in unpack_attempts(record.attempts))
        ]
        return _page(found, len(found))

    async def lent(self, executor: int) -> Sequence[StartRecord]:
        records = self._tables.starts.rows.values()
        found = [record for record in records if record.executor == executor and record.owner != executor]
        return _page(found, len(found))

    async def group_places(self, *, shards: Collection[int] | None = None) -> Sequence[GroupPlace]:
        return [
            GroupPlace(row.id, row.shard, row.job_type, row.group)
            for row in _within(self._tables.jobs.rows.values(), shards)
            if row.group is not None and (row.attempt or row.crashes)
        ]

    async def live_counts(self, *, due_before: int, shards: Collection[int] | None = None) -> Sequence[LiveJobs]:
        jobs = _within(self._tables.jobs.rows.values(), shards)
        due = Counter((row.shard, row.job_type, row.priority, row.due_at <= due_before) for row in jobs)
        kinds = sorted({(row.shard, row.job_type, row.priority) for row in jobs})
        return [LiveJobs(*kind, due[*kind, True], due[*kind, False]) for kind in kinds]

    async def dead_counts(self, *, shards: Collection[int] | None = None) -> Sequence[DeadJobs]:
        undealt = [row for row in _within(self._tables.archive.rows.values(), shards) if is_undealt(row)]
        died_at: defaultdict[str, list[int]] = defaultdict(list)
        for row in undealt:
            died_at[row.job_type].append(row.finished_at)
        return [DeadJobs(name, len(times), min(times)) for name, times in sorted(died_at.items())]


class MemoryInboxReader:
    """`InboxReader` in memory."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def inbox(self, *, limit: int, shards: Collection[int] | None = None) -> Sequence[InboxRow]:
        return _page(_within(self._tables.inbox.rows.values(), shards), limit)

    async def entry(self, number: int) -> InboxRow | None:
        return self._tables.inbox.rows.get(number)
