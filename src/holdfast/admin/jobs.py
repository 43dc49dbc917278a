"""Jobs as operators look at them: read page by page, in plain words, without the App that declares them."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast.jobs.lookup import left_job, missing_job
from holdfast.jobs.statuses import live_state
from holdfast.model.job import PRIORITIES, ArchivedJob, JobRow, StartRecord, unpack_attempts
from holdfast.ports.store import ClientStore

from .paging import paged

Shown = Literal["live", "completed", "cancelled", "dead"]

Running = dict[tuple[int, int], int]
"""Executors by (job, number of the attempt)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """One job; moments are microseconds since the epoch, `executor` the runner on which an attempt runs."""

    id: int
    shard: int
    job_type: str
    priority: str
    state: str
    attempts: int
    max_attempts: int
    crashes: int | None
    key: str | None
    group: str | None
    created_at: int
    due_at: int | None
    finished_at: int | None
    executor: int | None
    reason: str | None
    error: str | None
    replay_of: int | None
    replayed_at: int | None
    discarded_at: int | None


async def jobs(
    store: ClientStore, shown: Shown, *, limit: int, after: int = 0, job_type: str | None = None
) -> list[JobFacts]:
    """By ascending id above `after`. Raises PersistenceError."""
    if shown == "live":
        return await _live_jobs(store, limit=limit, after=after, job_type=job_type)

    def ended(after: int, limit: int) -> Awaitable[Sequence[ArchivedJob]]:
        return store.jobs.archived_page(after=after, limit=limit, state=shown, job_type=job_type)

    return [_ended(row) async for row in paged(ended, after=after, limit=limit)]


async def _live_jobs(store: ClientStore, *, limit: int, after: int, job_type: str | None) -> list[JobFacts]:
    def live(after: int, limit: int) -> Awaitable[Sequence[JobRow]]:
        return store.jobs.live_page(after=after, limit=limit, job_type=job_type)

    now_us, running = await store.membership.now_us(), attempts(await store.jobs.starts())
    return [_live(row, running, now_us) async for row in paged(live, after=after, limit=limit)]


async def job(store: ClientStore, number: int) -> JobFacts:
    """Raises JobNotFound."""
    left = await left_job(store.inbox_reader, number)  # first: what is taken from there is live in the same commit
    row = await store.jobs.live(number)
    if row is not None:
        return _live(row, attempts(await store.jobs.starts(shards=(row.shard,))), await store.membership.now_us())
    archived = await store.jobs.archived(number)
    if archived is not None:
        return _ended(archived)
    if left is not None:
        return _live(left.row, {}, await store.membership.now_us())
    raise missing_job(number)


def attempts(records: Sequence[StartRecord]) -> Running:
    """Who runs what, as the start records have it."""
    return {pair: record.executor for record in records for pair in unpack_attempts(record.attempts)}


def _live(row: JobRow, running: Running, now_us: int) -> JobFacts:
    executor = running.get((row.id, row.attempt + 1))
    return JobFacts(
        id=row.id,
        shard=row.shard,
        job_type=row.job_type,
        priority=PRIORITIES[row.priority],
        state=live_state(row, running=executor is not None, now_us=now_us),
        attempts=row.attempt + (executor is not None),
        max_attempts=row.max_attempts,
        crashes=row.crashes,
        key=row.key,
        group=row.group,
        created_at=row.created_at,
        due_at=row.due_at or None,
        finished_at=None,
        executor=executor,
        reason=None,
        error=row.last_error,
        replay_of=row.replay_of,
        replayed_at=None,
        discarded_at=None,
    )


def _ended(row: ArchivedJob) -> JobFacts:
    return JobFacts(
        id=row.id,
        shard=row.shard,
        job_type=row.job_type,
        priority=PRIORITIES[row.priority],
        state=row.state,
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        crashes=None,
        key=row.key,
        group=row.group,
        created_at=row.created_at,
        due_at=None,
        finished_at=row.finished_at,
        executor=None,
        reason=row.reason,
        error=row.error,
        replay_of=row.replay_of,
        replayed_at=row.replayed_at,
        discarded_at=row.discarded_at,
    )
