"""The store's own counts, told row by row as model.ledger words them."""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.kit.clock import Clock
from holdfast.model.job import ArchivedJob, JobRow, JobState, unpack_attempts
from holdfast.model.ledger import JobCounts, Ledger, MessageCounts
from holdfast.model.message import DeadMessageRow, DoneRow, MessageRow, OutcomeKind

from .tables import Tables, Tally


class MemoryLedgerReader:
    """`LedgerReader` in memory."""

    def __init__(self, tables: Tables, clock: Clock) -> None:
        self._tables = tables
        self._clock = clock

    async def ledger(self) -> Ledger:
        tables = self._tables
        tally = tables.tally.copy()
        for event in (*_job_facts(tables, self._clock.now_us()), *_message_facts(tables)):
            tally[event] += 1
        for row in _delivered(tables):
            tally["message", row.entity_type, 0, "deliveries"] += row.deliveries
        return ledger_of(tally, len(tables.states.rows), len(tables.inbox.rows))


def ledger_of(tally: Tally, entities: int, inbox: int) -> Ledger:
    """The counts in their public form."""
    jobs = sorted({(name, priority) for kind, name, priority, _ in tally if kind == "job"})
    types = sorted({name for kind, name, _, _ in tally if kind == "message"})
    return Ledger(
        tuple(JobCounts(*job, *(tally["job", *job, what] for what in JobCounts._fields[2:])) for job in jobs),
        tuple(MessageCounts(t, *(tally["message", t, 0, what] for what in MessageCounts._fields[1:])) for t in types),
        entities,
        inbox,
        {int(name): count for (kind, name, _, _), count in tally.items() if kind == "counted_by" and count},
    )


def _job_facts(tables: Tables, now_us: int) -> Iterable[tuple[str, str, int, str]]:
    running = {pair for start in tables.starts.rows.values() for pair in unpack_attempts(start.attempts)}
    for job in tables.jobs.rows.values():
        yield "job", job.job_type, job.priority, _state(job, now_us, running)
    for ended in tables.archive.rows.values():
        yield "job", ended.job_type, ended.priority, ended.state
        if ended.replayed_at is not None:
            yield "job", ended.job_type, ended.priority, "replayed"
        if ended.discarded_at is not None:
            yield "job", ended.job_type, ended.priority, "discarded"
    jobs: list[JobRow | ArchivedJob] = [*tables.jobs.rows.values(), *tables.archive.rows.values()]
    for row in jobs:
        if row.replay_of is None:
            yield "job", row.job_type, row.priority, "enqueued"
            yield "counted_by", str(row.admitted_by), 0, "admitted"


def _state(job: JobRow, now_us: int, running: set[tuple[int, int]]) -> JobState:
    if (job.id, job.attempt + 1) in running:
        return JobState.RUNNING
    if job.due_at <= now_us:
        return JobState.AVAILABLE
    return JobState.RETRYING if job.attempt else JobState.SCHEDULED


def _message_facts(tables: Tables) -> Iterable[tuple[str, str, int, str]]:
    for message in tables.messages.rows.values():
        yield "message", message.entity_type, 0, "pending"
    for done in tables.done.rows.values():
        yield "message", done.entity_type, 0, "dead" if done.kind == OutcomeKind.DEAD else "done"
    for letter in _letters_alone(tables):
        yield "message", letter.entity_type, 0, "dead"
    messages: list[MessageRow | DoneRow] = [*tables.messages.rows.values(), *tables.done.rows.values()]
    for admitted in messages:
        yield "counted_by", str(admitted.admitted_by), 0, "admitted"
    for row in _delivered(tables):
        if row.deliveries:
            yield "message", row.entity_type, 0, "delivered_once"


def _delivered(tables: Tables) -> list[MessageRow | DoneRow | DeadMessageRow]:
    return [*tables.messages.rows.values(), *tables.done.rows.values(), *_letters_alone(tables)]


def _letters_alone(tables: Tables) -> list[DeadMessageRow]:
    """Dead letters that have no done row to be counted by."""
    return [row for row in tables.dead_messages.rows.values() if row.id not in tables.done.rows]
