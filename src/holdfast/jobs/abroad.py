"""Attempts that run here, of jobs whose shard is somebody else's: given away meanwhile, or never ours.

They go on where they are. How they end is not ours to write into the jobs: it is left in the inbox of the job's shard,
with this runner's own fence, in the commit that takes the attempt out of its start record. So the new owner, which has
read the start records, finds either the attempt or its end, and never neither while this runner lives.

What a handler staged commits with the report. It can't come too late: only the death of this runner would let the new
owner start the job again, and then the fence lets nothing of it pass.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import assert_never

from holdfast.errors import Conflict, FencedOut, PersistenceError
from holdfast.kit.backoff import Backoff
from holdfast.kit.tasks import TaskOwner
from holdfast.model.inbox import AttemptEnd, encode_entry
from holdfast.model.job import StartRecord, pack_attempts
from holdfast.model.message import InboxRow
from holdfast.model.unit import Unit
from holdfast.ports.journal import OpenTransaction

from .attempt import Attempt
from .ending import Ending
from .outcomes import Available, Cancelled, Completed, Dead, Outcome, Retry
from .surroundings import Surroundings
from .units import commit_unit

log = logging.getLogger(__name__)

REPORT_AGAIN = Backoff(first_s=0.1, ceiling_s=5.0)
"""Pauses between two tries to leave an end in the inbox."""


class Abroad:
    """Runs of other owners' jobs, and the reports of their ends."""

    def __init__(
        self,
        around: Surroundings,
        *,
        tasks: TaskOwner,
        reported: Callable[[Ending], None],
        dropped: Callable[[Ending], None],
        unfit: Callable[[Ending, Exception], None],
    ) -> None:
        """`reported` hears that an end is on disk, `dropped` that it never will be since this runner was reaped.

        `unfit` hears that what the handler staged can't be written, so that the attempt has failed.
        """
        self._around = around
        self._tasks = tasks
        self._reported = reported
        self._dropped = dropped
        self._unfit = unfit
        self._attempts: dict[int, Attempt] = {}

    def __iter__(self) -> Iterator[Attempt]:
        return iter(list(self._attempts.values()))

    def add(self, attempt: Attempt) -> None:
        """Its job's shard was given away."""
        self._attempts[attempt.held.row.id] = attempt

    def find(self, job: int, number: int) -> Attempt | None:
        attempt = self._attempts.get(job)
        return attempt if attempt is not None and attempt.number == number else None

    def remove(self, attempt: Attempt) -> None:
        """Its end is known, or its job is ours again."""
        job = attempt.held.row.id
        if self._attempts.get(job) is attempt:
            del self._attempts[job]

    def report(self, ending: Ending, transaction: OpenTransaction | None) -> None:
        """Leaves an attempt's end for the owner of its job, in the handler's `transaction` if there is one."""
        ending.attempt.record.late.append(ending.attempt)
        self._tasks.start(self._report(ending, transaction), name=f"report of job {ending.attempt.held.row.id}")

    async def _report(self, ending: Ending, transaction: OpenTransaction | None) -> None:
        record = ending.attempt.record
        record.turn = record.turn or asyncio.Lock()
        async with record.turn:
            try:
                if not (ending.unsure and await self._was_written(ending)):
                    await self._leave(ending, transaction)
            except FencedOut:
                self._dropped(ending)
            except (Conflict, _Unfit) as error:
                self._unfit(ending, error)
            else:
                self._reported(ending)
            finally:
                record.late.remove(ending.attempt)

    async def _leave(self, ending: Ending, transaction: OpenTransaction | None) -> None:
        """Returns once the end is in the inbox. Raises FencedOut, and Conflict and _Unfit for what can't be written."""
        number = await self._taken_id()
        if transaction is not None and type(ending.outcome) is not Completed:
            await transaction.rollback()
            transaction = None
        for tries in itertools.count(1):
            record, successor = ending.attempt.record, await self._taken_id()
            before = (record.id, *record.older)
            remaining = record.remaining(ending.attempt)
            unit = self._unit(ending, number, successor, remaining)
            try:
                if transaction is None:
                    await commit_unit(self._around.commits, unit, line=record.line)
                else:
                    await self._commit_transaction(transaction, unit)
            except (FencedOut, Conflict):
                raise
            except PersistenceError as error:
                if error.executed != "unknown" or await self._are_stored(before):
                    log.warning("the end of job %s could not be reported: %s", ending.attempt.held.row.id, error)
                    await asyncio.sleep(REPORT_AGAIN.delay_s(tries, self._around.random))
                    continue
            record.older = tuple(one for one in record.older if one not in before)
            record.gone = not remaining
            return

    async def _commit_transaction(self, transaction: OpenTransaction, unit: Unit) -> None:
        try:
            await transaction.commit(unit)
        except FencedOut:
            raise
        except PersistenceError as error:
            await transaction.rollback()
            raise _Unfit(str(error)) from error

    def _unit(self, ending: Ending, number: int, successor: int, remaining: Sequence[tuple[int, int]]) -> Unit:
        attempt, now_us = ending.attempt, self._around.clock.now_us()
        row, record, unit = attempt.held.row, attempt.record, Unit()
        kind, body = encode_entry(_entry(attempt, ending.outcome, self._around.runner_id, ending.finished_at))
        unit.add(InboxRow(number, row.shard, kind, body, now_us), len(body))
        if type(ending.outcome) is Completed and not attempt.plain:
            staged, size = attempt.settled(self._around.territory)
            unit.rows += staged
            unit.size_bytes += size
        unit.rows += record.end()
        if remaining:
            me = self._around.runner_id
            unit.add(StartRecord(successor, me, me, pack_attempts(remaining), now_us))
        record.older, record.id = (record.id, *record.older), successor
        return unit

    async def _was_written(self, ending: Ending) -> bool:
        """Whether an end that was offered as the owner's, and of which that is not known, was written."""
        row = ending.attempt.held.row
        while True:
            try:
                stored = await self._around.reader.live(row.id)
            except PersistenceError:
                await asyncio.sleep(REPORT_AGAIN.first_s)
            else:
                return stored is None or stored.attempt != row.attempt

    async def _are_stored(self, records: tuple[int, ...]) -> bool:
        while True:
            try:
                stored = {record.id for record in await self._around.reader.starts()}
            except PersistenceError:
                await asyncio.sleep(REPORT_AGAIN.first_s)
            else:
                return any(record in stored for record in records)

    async def _taken_id(self) -> int:
        while True:
            try:
                return await self._around.ids.take()
            except PersistenceError:
                await asyncio.sleep(REPORT_AGAIN.first_s)


class _Unfit(Exception):
    """The handler's own transaction can't be committed."""


def _entry(attempt: Attempt, outcome: Outcome, executor: int, finished_at: int) -> AttemptEnd:
    job, number = attempt.held.row.id, attempt.number
    match outcome:
        case Completed(result):
            return AttemptEnd(job, number, executor, "completed", result=result, finished_at=finished_at)
        case Retry(at_us, reason, error):
            delay_us = max(0, at_us - finished_at)
            return AttemptEnd(
                job, number, executor, "retry", error=error, reason=reason, delay_us=delay_us, finished_at=finished_at
            )
        case Dead(reason, error):
            return AttemptEnd(job, number, executor, "dead", error=error, reason=reason, finished_at=finished_at)
        case Cancelled():
            return AttemptEnd(job, number, executor, "cancelled", finished_at=finished_at)
        case Available():
            return AttemptEnd(job, number, executor, "available", finished_at=finished_at)
        case _:
            assert_never(outcome)
