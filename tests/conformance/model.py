"""What a store is, in as few words as possible: dictionaries, and the rules that the ports and the rows word.

Nothing here is shared with any store. A batch is applied to a copy, which takes the place of the original where all of
it went well: there is no undo to get wrong. Uniqueness is looked for, not indexed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence

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
    OutcomeKind,
    StateRow,
    Take,
    TimerCancel,
)
from holdfast.model.unit import WRITE_ORDER, Row

Batch = Sequence[Sequence[Row]]


class RefusedError(Exception):
    """A guard failed."""


class Contents:
    """The rows of a store by their ids."""

    def __init__(self) -> None:
        self.states: dict[tuple[str, str], StateRow] = {}
        self.messages: dict[int, MessageRow] = {}
        self.done: dict[int, DoneRow] = {}
        self.letters: dict[int, DeadMessageRow] = {}
        self.inbox: dict[int, InboxRow] = {}
        self.jobs: dict[int, JobRow] = {}
        self.archive: dict[int, ArchivedJob] = {}
        self.starts: dict[int, StartRecord] = {}

    def copy(self) -> Contents:
        other = Contents()
        for name, rows in vars(self).items():
            setattr(other, name, copy.copy(rows))
        return other

    def apply(self, row: Row) -> None:  # noqa: C901 - one flat table of cases
        """Raises RefusedError, and may have changed something by then."""
        match row:
            case Consume(number):
                del self.messages[_in(self.messages, number)]
            case Take(number):
                del self.inbox[_in(self.inbox, number)]
            case DeadMessageEnd(number):
                del self.letters[_in(self.letters, number)]
            case TimerCancel(entity_type, entity_id, name):
                timer = (entity_type, entity_id, name)
                for message in list(self.messages.values()):
                    if (message.entity_type, message.entity_id, message.name) == timer:
                        del self.messages[message.id]
            case StateRow():
                before = self.states.get((row.entity_type, row.entity_id))
                _demand(row.version == (before.version + 1 if before else 1))
                self.states[row.entity_type, row.entity_id] = row
            case MessageRow():
                others = [m for m in self.messages.values() if m.address == row.address]
                _demand(row.key is None or (row.method, row.key) not in {(m.method, m.key) for m in others})
                _demand(row.name is None or row.name not in {m.name for m in others})
                self.messages[_not_in(self.messages, row.id)] = row
            case DoneRow():
                self.done[_not_in(self.done, row.id)] = row
            case MessageRetry(deliveries, crashes, due_at, last_error, number):
                tried = {"deliveries": deliveries, "crashes": crashes, "due_at": due_at, "last_error": last_error}
                self.messages[number] = self.messages[_in(self.messages, number)]._replace(**tried)
            case DeadMessageRow():
                self.letters[_not_in(self.letters, row.id)] = row
            case InboxRow():
                self.inbox[_not_in(self.inbox, row.id)] = row
            case JobRow():
                keys = {(job.job_type, job.group or "", job.key) for job in self.jobs.values()}
                _demand(row.key is None or (row.job_type, row.group or "", row.key) not in keys)
                self.jobs[_not_in(self.jobs, row.id)] = row
            case JobRetry():
                job = self.jobs[_in(self.jobs, row.id)]
                _demand(job.attempt == row.expected)
                self.jobs[row.id] = job._replace(
                    attempt=row.attempt, crashes=row.crashes, due_at=row.due_at, eligible_at=row.eligible_at,
                    last_error=row.last_error,
                )  # fmt: skip
            case JobEnd():
                self._end_job(row)
            case ArchivedJob():
                self.archive[_not_in(self.archive, row.id)] = row
            case FreshJob(number):
                _not_in(self.archive, number)
            case JobReplay(replayed_at, number):
                self.archive[number] = self._undealt(number)._replace(replayed_at=replayed_at)
            case JobDiscard(discarded_at, number):
                self.archive[number] = self._undealt(number)._replace(discarded_at=discarded_at)
            case StartRecord():
                self.starts[_not_in(self.starts, row.id)] = row
            case EndStart(number):
                self.starts.pop(number, None)

    def _end_job(self, end: JobEnd) -> None:
        job = self.jobs.pop(_in(self.jobs, end.id))
        _demand(job.attempt == end.expected)
        self.archive[_not_in(self.archive, end.id)] = ArchivedJob(
            id=job.id, shard=job.shard, job_type=job.job_type, priority=job.priority,
            payload=job.payload if end.state == "dead" else b"", payload_hash=job.payload_hash, key=job.key,
            group=job.group, max_attempts=job.max_attempts, timeout_us=job.timeout_us, state=end.state,
            result=end.result, error=end.error, reason=end.reason, attempts=end.attempts, created_at=job.created_at,
            finished_at=end.finished_at, admitted_by=job.admitted_by, finished_by=end.finished_by,
            replay_of=job.replay_of, replayed_at=None, discarded_at=None,
        )  # fmt: skip

    def _undealt(self, number: int) -> ArchivedJob:
        job = self.archive[_in(self.archive, number)]
        _demand(waits_for_an_operator(job))
        return job

    def crash(self, now_us: int, executor: int | None, shards: Collection[int] | None) -> None:
        """What a reap counts: for an executor and its shards, or for whatever was there (None)."""
        started = {pair for record in self._starts_of(executor) for pair in unpack_attempts(record.attempts)}
        heads: dict[tuple[str, str], MessageRow] = {}
        due = [
            row for row in self.messages.values() if row.due_at <= now_us and (shards is None or row.shard in shards)
        ]
        for row in by_id(due):
            heads.setdefault((row.entity_type, row.entity_id), row)
        first = [row for row in heads.values() if not row.crashes]
        for row in [*first, *(row for row in due if row.crashes and (row.id, row.crashes) in started)]:
            self.messages[row.id] = row._replace(crashes=row.crashes + 1)
        self.crash_jobs(executor)

    def crash_jobs(self, executor: int | None) -> None:
        ended = self.end_starts(executor)
        crashed = {job for job, number in ended if job in self.jobs and self.jobs[job].attempt == number - 1}
        for job in crashed:
            self.jobs[job] = self.jobs[job]._replace(crashes=self.jobs[job].crashes + 1, last_error=CRASHED)

    def _starts_of(self, executor: int | None) -> list[StartRecord]:
        return [record for record in self.starts.values() if executor in (None, record.executor)]

    def end_starts(self, executor: int | None) -> list[tuple[int, int]]:
        """Takes an executor's start records away and returns what stood in them."""
        gone = self._starts_of(executor)
        for record in gone:
            del self.starts[record.id]
        return [pair for record in gone for pair in unpack_attempts(record.attempts)]

    def prune(self, before: int) -> int:
        done = [r.id for r in self.done.values() if r.finished_at < before]
        done = [number for number in done if self.done[number].kind != OutcomeKind.DEAD or number not in self.letters]
        jobs = [r.id for r in self.archive.values() if r.finished_at < before and not waits_for_an_operator(r)]
        for number in done:
            del self.done[number]
        for number in jobs:
            del self.archive[number]
        return len(done) + len(jobs)


class Model:
    """A store with its runners and shards; `shared` ones are for several runners at a time."""

    def __init__(self, *, shared: bool, shards: int) -> None:
        self.shared = shared
        self.contents = Contents()
        self.leases: dict[int, int] = {}
        self.shards = dict.fromkeys(range(shards), (0, 0))
        self.runners_ever = 0

    def register(self, before: int | None, now_us: int, lease_us: int) -> int:
        if self.shared:
            self.leave(before)
        else:
            if self.leases:
                self.contents.crash(now_us, None, None)
            self.contents.crash_jobs(None)
            for runner in list(self.leases):
                self._end(runner)
        self.runners_ever += 1
        self.leases[self.runners_ever] = now_us + lease_us
        return self.runners_ever

    def leave(self, runner: int | None) -> None:
        if runner in self.leases:
            self.contents.end_starts(runner)
            self._end(runner)

    def reap(self, now_us: int) -> set[int]:
        late = sorted((at, runner) for runner, at in self.leases.items() if at < now_us)
        for _, runner in late:
            self.contents.crash(now_us, runner, {n for n, (owner, _) in self.shards.items() if owner == runner})
            self._end(runner)
        return {runner for _, runner in late}

    def move(self, shards: Collection[int], giver: int, to: int) -> list[tuple[int, int, int]]:
        """(number, owner, epoch) of the shards that go from one to another; 0 is nobody."""
        moved = sorted(number for number in shards if self.shards[number][0] == giver)
        for number in moved:
            self.shards[number] = to, self.shards[number][1] + 1
        return [(number, *self.shards[number]) for number in moved]

    def hand_over(self, giver: int, shards: Collection[int], to: int, now_us: int) -> list[tuple[int, int, int]]:
        return self.move(shards, giver, to) if self.leases.get(to, 0) > now_us else []

    def commit(self, runner: int | None, batch: Batch) -> str | int:
        """ "committed", "fenced", or the number of the unit to blame."""
        if runner not in self.leases:
            return "fenced"
        changed = self.contents.copy()
        for index, rows in enumerate(batch):
            try:
                for row in sorted(rows, key=lambda row: WRITE_ORDER.index(type(row))):
                    changed.apply(row)
            except RefusedError:
                return index
        self.contents = changed
        return "committed"

    def _end(self, runner: int) -> None:
        del self.leases[runner]
        for number, (owner, epoch) in self.shards.items():
            if owner == runner:
                self.shards[number] = 0, epoch


def by_id(rows: Iterable[MessageRow]) -> list[MessageRow]:
    return sorted(rows, key=lambda row: row.id)


def waits_for_an_operator(job: ArchivedJob) -> bool:
    return job.state == "dead" and job.replayed_at is None and job.discarded_at is None


def _in(rows: Collection[int], number: int) -> int:
    _demand(number in rows)
    return number


def _not_in(rows: Collection[int], number: int) -> int:
    _demand(number not in rows)
    return number


def _demand(holds: bool) -> None:
    if not holds:
        raise RefusedError
