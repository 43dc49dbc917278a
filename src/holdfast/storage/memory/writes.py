"""What each type of row does to the tables; its guards as the row's docstring names them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar, assert_never

from holdfast.errors import Conflict, FencedOut
from holdfast.model.address import Address
from holdfast.model.job import (
    CRASHED,
    ArchivedJob,
    EndStart,
    FreshJob,
    JobDiscard,
    JobEnd,
    JobReplay,
    JobRetry,
    JobRow,
    JobState,
    StartRecord,
    unpack_attempts,
)
from holdfast.model.message import (
    Consume,
    DeadMessageEnd,
    DeadMessageRow,
    DoneRow,
    InboxRow,
    MessageRetry,
    MessageRow,
    StateRow,
    Take,
    TimerCancel,
)
from holdfast.model.unit import WRITE_ORDER, Row, Unit

from .tables import Tables

T = TypeVar("T")

_RANK: dict[type[Row], int] = {kind: rank for rank, kind in enumerate(WRITE_ORDER)}


def prove(tables: Tables, incarnation: int | None) -> None:
    """The fence. Raises FencedOut."""
    if incarnation is None:
        raise FencedOut("this process has not registered with the store, so it may not write")
    if incarnation not in tables.runners.rows:
        raise FencedOut(f"runner {incarnation} was reaped: another one has taken over")


def write_unit(tables: Tables, unit: Unit) -> None:
    """Applies a unit's rows in the order of their types. Raises Conflict; the caller's transaction takes it back."""
    for row in sorted(unit.rows, key=lambda row: _RANK[type(row)]):
        _write(tables, row)


def _write(tables: Tables, row: Row) -> None:  # noqa: C901 - one flat table of cases, closed by assert_never
    match row:
        case Consume():
            remove_message(tables, row.id)
        case Take():
            _there(tables.inbox.remove(row.id), row)
        case DeadMessageEnd():
            _there(tables.dead_messages.remove(row.id), row)
        case TimerCancel():
            timer = tables.timer_names.rows.get((row.entity_type, row.entity_id, row.name))
            if timer is not None:
                remove_message(tables, timer)
        case StateRow():
            _write_state(tables, row)
        case MessageRow():
            _insert_message(tables, row)
        case DoneRow():
            tables.done.insert(row.id, row)
        case MessageRetry():
            message = _there(tables.messages.rows.get(row.id), row)
            tables.messages.put(row.id, message._replace(**row._asdict()))
        case DeadMessageRow():
            tables.dead_messages.insert(row.id, row)
        case InboxRow():
            tables.inbox.insert(row.id, row)
            tables.inbox_changes += 1
        case JobReplay():
            dead = _undealt(tables, row)
            tables.archive.put(row.id, dead._replace(replayed_at=row.replayed_at))
        case FreshJob():
            _expect(row.id not in tables.archive.rows, row)
        case JobRow():
            _insert_job(tables, row)
        case JobEnd():
            _end_job(tables, row)
        case ArchivedJob():
            tables.archive.insert(row.id, row)
        case JobRetry():
            job = _there(tables.jobs.rows.get(row.id), row)
            _expect(job.attempt == row.expected, row)
            tables.jobs.put(row.id, job._replace(**{k: v for k, v in row._asdict().items() if k != "expected"}))
        case JobDiscard():
            dead = _undealt(tables, row)
            tables.archive.put(row.id, dead._replace(discarded_at=row.discarded_at))
        case StartRecord():
            tables.starts.insert(row.id, row)
        case EndStart():
            tables.starts.remove(row.id)
        case _:
            assert_never(row)


def count_crashes(tables: Tables, now_us: int, executor: int | None, shards: Collection[int] | None = None) -> None:
    """One more for what may have been running when a runner died: each entity's first message.

    Of suspects, which were there in an earlier crash, only for those that a start record of the executor (None: of any)
    says have been started.
    """
    started = {pair for record in _records_of(tables, executor) for pair in unpack_attempts(record.attempts)}
    heads: dict[Address, MessageRow] = {}
    due = [
        row for row in tables.messages.rows.values() if row.due_at <= now_us and (shards is None or row.shard in shards)
    ]
    for row in sorted(due, key=lambda row: row.id):
        heads.setdefault(row.address, row)
    for row in due:
        if (row.id, row.crashes) in started if row.crashes else heads[row.address] is row:
            tables.messages.put(row.id, row._replace(crashes=row.crashes + 1))


def count_job_crashes(tables: Tables, executor: int | None) -> None:
    """Ends the start records of an executor (None: of all) with a crash for each job that is still at its attempt."""
    crashed: set[int] = set()
    for record in _records_of(tables, executor):
        tables.starts.remove(record.id)
        for job, number in unpack_attempts(record.attempts):
            row = tables.jobs.rows.get(job)
            if row is not None and row.attempt == number - 1 and job not in crashed:
                crashed.add(job)
                tables.jobs.put(job, row._replace(crashes=row.crashes + 1, last_error=CRASHED))


def end_starts(tables: Tables, executor: int) -> None:
    """Takes the start records of an executor away that left in order."""
    for record in _records_of(tables, executor):
        tables.starts.remove(record.id)


def _records_of(tables: Tables, executor: int | None) -> list[StartRecord]:
    return [record for record in tables.starts.rows.values() if executor in (None, record.executor)]


def remove_message(tables: Tables, message_id: int) -> None:
    """Raises Conflict when it is not there."""
    message = _there(tables.messages.remove(message_id), message_id)
    if message.key is not None:
        tables.message_keys.remove((message.entity_type, message.entity_id, message.method, message.key))
    if message.name is not None:
        tables.timer_names.remove((message.entity_type, message.entity_id, message.name))


def _insert_message(tables: Tables, row: MessageRow) -> None:
    tables.messages.insert(row.id, row)
    if row.key is not None:
        tables.message_keys.insert((row.entity_type, row.entity_id, row.method, row.key), row.id)
    if row.name is not None:
        tables.timer_names.insert((row.entity_type, row.entity_id, row.name), row.id)


def _write_state(tables: Tables, row: StateRow) -> None:
    address = Address(row.entity_type, row.entity_id)
    if row.version == 1:
        tables.states.insert(address, row)
        return
    before = _there(tables.states.rows.get(address), row)
    _expect(before.version == row.version - 1, row)
    tables.states.put(address, row)


def _insert_job(tables: Tables, row: JobRow) -> None:
    tables.jobs.insert(row.id, row)
    if row.key is not None:
        name = job_name(row)
        if row.replay_of is None:
            _expect(all(job_name(ended) != name for ended in tables.archive.rows.values()), row)
        tables.job_keys.insert(name, row.id)


def job_name(job: JobRow | ArchivedJob) -> tuple[str, str, str | None]:
    """What a key is unique for; None is one group."""
    return (job.job_type, job.group or "", job.key)


def _end_job(tables: Tables, end: JobEnd) -> None:
    job = _there(tables.jobs.remove(end.id), end)
    _expect(job.attempt == end.expected, end)
    if job.key is not None:
        tables.job_keys.remove(job_name(job))
    copied = {name: value for name, value in job._asdict().items() if name in ArchivedJob._fields}
    ended = {name: value for name, value in end._asdict().items() if name in ArchivedJob._fields}
    if end.state != JobState.DEAD:
        copied["payload"] = b""
    tables.archive.insert(end.id, ArchivedJob(**{**copied, **ended}, replayed_at=None, discarded_at=None))


def _undealt(tables: Tables, row: JobReplay | JobDiscard) -> ArchivedJob:
    job = _there(tables.archive.rows.get(row.id), row)
    _expect(is_undealt(job), row)
    return job


def is_undealt(job: ArchivedJob) -> bool:
    """Whether a finished job is a dead letter that nobody has dealt with."""
    return job.state == JobState.DEAD and job.replayed_at is None and job.discarded_at is None


def _there(value: T | None, row: object) -> T:
    if value is None:
        raise Conflict(f"what this row changes is not there: {row!r}")
    return value


def _expect(holds: bool, row: object) -> None:
    if not holds:
        raise Conflict(f"a row was not as its unit expected it: {row!r}")
