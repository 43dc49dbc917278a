"""Dead letters of both kinds, jobs and durable messages, as one list by id; ids come from one row of numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast.errors import MessageNotFound
from holdfast.model.job import ArchivedJob
from holdfast.model.message import DeadMessageRow
from holdfast.ports.store import ClientStore

from .paging import paged

Kind = Literal["job", "message"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFacts:
    """What died: a job's type, or a message's entity type and method, with its entity. Moments are microseconds."""

    id: int
    kind: Kind
    shard: int
    name: str
    entity_id: str | None
    key: str | None
    tries: int
    reason: str
    error: str
    created_at: int
    died_at: int


async def letters(
    store: ClientStore, *, limit: int, after: int = 0, kind: Kind | None = None, type_name: str | None = None
) -> list[LetterFacts]:
    """Those that nobody has dealt with, by ascending id above `after`. Raises PersistenceError."""

    def jobs(after: int, limit: int) -> Awaitable[Sequence[ArchivedJob]]:
        return store.jobs.dead(after=after, limit=limit, job_type=type_name)

    def messages(after: int, limit: int) -> Awaitable[Sequence[DeadMessageRow]]:
        return store.messages.dead(after=after, limit=limit, entity_type=type_name)

    found: list[LetterFacts] = []
    if kind != "message":
        found += [_of_job(row) async for row in paged(jobs, after=after, limit=limit)]
    if kind != "job":
        found += [_of_message(row) async for row in paged(messages, after=after, limit=limit)]
    return sorted(found, key=lambda one: one.id)[:limit]


async def kind_of(store: ClientStore, number: int) -> Kind:
    """Raises MessageNotFound for what is no dead letter (any more)."""
    message = await store.messages.dead(after=number - 1, limit=1)
    if message and message[0].id == number:
        return "message"
    job = await store.jobs.dead(after=number - 1, limit=1)
    if job and job[0].id == number:
        return "job"
    raise MessageNotFound(f"no dead letter has the id {number}: it never was, or has been replayed or discarded")


def _of_job(row: ArchivedJob) -> LetterFacts:
    return LetterFacts(
        id=row.id,
        kind="job",
        shard=row.shard,
        name=row.job_type,
        entity_id=None,
        key=row.key,
        tries=row.attempts,
        reason=row.reason or "",
        error=row.error or "",
        created_at=row.created_at,
        died_at=row.finished_at,
    )


def _of_message(row: DeadMessageRow) -> LetterFacts:
    return LetterFacts(
        id=row.id,
        kind="message",
        shard=row.shard,
        name=f"{row.entity_type}.{row.method}",
        entity_id=row.entity_id,
        key=row.key,
        tries=row.deliveries,
        reason="",
        error=row.last_error,
        created_at=row.created_at,
        died_at=row.died_at,
    )
