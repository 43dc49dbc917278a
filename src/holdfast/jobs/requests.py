"""Requests about jobs that are stored already: status, wait, cancel, replay, discard, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from holdfast.errors import AlreadyCancelled, Conflict, HoldfastError, JobKeyConflict, JobNotFound, MalformedMessage
from holdfast.model.ids import JobId, job_id
from holdfast.model.job import PRIORITIES, ArchivedJob, JobDiscard, JobReplay, JobRow, JobState
from holdfast.model.unit import Unit

from .attempt import Attempt, Held, Interruption, Phase
from .door import CancelOutcome, DeadLetter, FinishedJob, JobDoor, JobStatus
from .handle import JobHandle
from .intake import Intake
from .job_type import JobType
from .outcomes import Cancelled
from .roster import Roster
from .rows import end_row
from .surroundings import Surroundings
from .tally import Tallies
from .units import JobUnit
from .waiters import Waiters, finished

LETTERS_MAX = 1000
DUPLICATE = "Duplicate"
"""The reason of a job from the inbox whose key belongs to another one, whose id is its error."""


def job_number(job: JobId) -> int:
    """Raises JobNotFound for what can't be a job's id."""
    text = str(job)
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise JobNotFound(f"no job has the id {text[:40]!r}")
    return int(text)


def _nothing() -> None:
    """What follows where nothing has to."""


class Requests:
    """Answers for one runner that owns every shard it is asked about."""

    def __init__(
        self,
        around: Surroundings,
        *,
        door: JobDoor,
        types: Mapping[str, JobType],
        tallies: Tallies,
        roster: Roster,
        intake: Intake,
        waiters: Waiters,
        cancel_wait_s: float,
        arrived: Callable[[JobRow], None],
    ) -> None:
        """`cancel_wait_s`: how long a cancel waits for a running handler to end before it says "requested"."""
        self._door = door
        self._types = types
        self._commits = around.commits
        self._reader = around.reader
        self._ids = around.ids
        self._clock = around.clock
        self._metrics = around.metrics
        self._tallies = tallies
        self._roster = roster
        self._intake = intake
        self._waiters = waiters
        self._runner_id = around.runner_id
        self._cancel_wait_s = cancel_wait_s
        self._arrived = arrived

    async def status(self, job: JobId) -> JobStatus:
        number = job_number(job)
        held = self._roster.get(number)
        row = held.row if held is not None else await self._reader.live(number)
        if row is not None:
            return _live_status(row, held.attempt if held is not None else None, self._clock.now_us())
        return _archived_status(await self._archived(number))

    async def wait(self, job: JobId, *, timeout: float | None) -> FinishedJob:
        number = job_number(job)
        expected = self._waiters.expect(number)  # before the store is asked, so that no end falls in between
        try:
            if number not in self._roster and await self._reader.live(number) is None and not expected.done():
                return await self._followed(await self._archived(number), timeout)
            return await asyncio.wait_for(expected, timeout)
        finally:
            self._waiters.forget(number, expected)

    async def _followed(self, archived: ArchivedJob, timeout: float | None) -> FinishedJob:
        """How it ended; a duplicate that came through the inbox ends as the job does whose key it repeated."""
        if archived.reason == DUPLICATE and archived.error is not None:
            return await self.wait(JobId(archived.error), timeout=timeout)
        return finished(archived)

    async def cancel(self, job: JobId) -> CancelOutcome:
        began = self._clock.monotonic()
        labels: dict[str, str] = {"job_type": ""}
        try:
            number = job_number(job)
            status = await self.status(job)
            labels = {"job_type": status.job_type, "priority": status.priority}
            return await self._cancel(number, began)
        except HoldfastError as error:
            self._failed("cancel", labels, began, error)
            raise

    async def _cancel(self, number: int, began: float) -> CancelOutcome:
        deadline = began + self._cancel_wait_s
        while True:
            held = self._roster.get(number)
            if held is None:
                row = await self._live(number)
                held = self._roster.get(number) or self._intake.hold_stored(row)
                if held is None:  # of a type that is not registered here, so nobody else touches it
                    await self._end_unstarted(row, self._intake.is_later(row), began)
                    return CancelOutcome.BEFORE_START
            if held.attempt is None and held.phase is not Phase.ENDING:
                await self._withdraw(held, began)
                return CancelOutcome.BEFORE_START
            if not await self._interrupt(held, began, deadline - self._clock.monotonic()):
                return CancelOutcome.REQUESTED
            if number not in self._roster and (archived := await self._reader.archived(number)) is not None:
                if archived.state == JobState.CANCELLED:
                    return CancelOutcome.INTERRUPTED
                raise AlreadyCancelled(f"job {number} is {archived.state}: the cancel came too late")

    async def _interrupt(self, held: Held, began: float, patience_s: float) -> bool:
        """Asks the running attempt to end; whether it is known in time what became of it."""
        attempt = held.attempt
        if attempt is None:  # another cancel is ending the job just now
            settled: asyncio.Future[Any] = self._waiters.expect(held.row.id)
        else:
            settled = attempt.watch()
            if attempt.why is None and not attempt.ended:
                attempt.asked = began
                attempt.interrupt(Interruption.CANCEL)
        done, _ = await asyncio.wait((settled,), timeout=max(0.0, patience_s))
        if attempt is None:
            self._waiters.forget(held.row.id, settled)
        return bool(done)

    async def _live(self, number: int) -> JobRow:
        """Raises JobNotFound, and AlreadyCancelled for a finished job."""
        with self._roster.reading() as left:
            row = await self._reader.live(number)
        if row is None or number in left:
            archived = await self._archived(number)
            raise AlreadyCancelled(f"job {number} is {archived.state} already")
        return row

    async def _withdraw(self, held: Held, began: float) -> None:
        """Ends a held job that has no attempt. Raises PersistenceError; the job is as it was then."""
        later = self._intake.withdraw(held)

        def refused() -> None:
            self._roster.let_go(held.row.id)
            self._intake.place(held.row)

        await self._end_unstarted(
            held.row, later, began, ended=lambda: self._roster.let_go(held.row.id), refused=refused
        )

    async def _end_unstarted(
        self,
        row: JobRow,
        later: bool,
        began: float,
        *,
        ended: Callable[[], object] = _nothing,
        refused: Callable[[], object] = _nothing,
    ) -> None:
        unit, now_us = Unit(), self._clock.now_us()
        unit.add(end_row(row, Cancelled(), now_us, self._runner_id, attempted=0))

        def committed() -> None:
            ended()
            self._count_unstarted(row, later, began, now_us)
            self._waiters.ended(row, JobState.CANCELLED, None, None)

        await self._commit(unit, committed, refused)

    def _count_unstarted(self, row: JobRow, later: bool, began: float, now_us: int) -> None:
        tally = self._tallies.of(row.job_type, row.priority)
        if later:
            tally.due_later -= 1
        else:
            tally.waiting -= 1
        tally.cancelled(self._clock.monotonic() - began)
        tally.duration(max(0, now_us - row.created_at) / 1e6)
        tally.attempts(row.attempt)

    async def replay(self, job: JobId, number: int = 0) -> JobHandle[Any]:
        began = self._clock.monotonic()
        labels: dict[str, str] = {"job_type": ""}
        try:
            dead = await self._archived(job_number(job))
            labels = {"job_type": dead.job_type, "priority": PRIORITIES[dead.priority]}
            row = self._replay_row(dead, number or await self._ids.take())
            unit = Unit()
            unit.add(JobReplay(row.created_at, dead.id))
            unit.add(row, len(row.payload))
            await self._commit_letter(dead, unit, "replayed", partial(self._replayed, row, began))
        except HoldfastError as error:
            self._failed("replay", labels, began, error)
            raise
        declared = self._types.get(row.job_type)
        return JobHandle(row.id, False, self._door, None if declared is None else declared.signature.result)

    def _replayed(self, row: JobRow, began: float) -> None:
        self._tallies.of(row.job_type, row.priority).replayed(self._clock.monotonic() - began)
        self._tallies.dealt_with(row.job_type)
        self._arrived(row)

    async def discard(self, job: JobId) -> None:
        dead = await self._archived(job_number(job))
        unit = Unit()
        unit.add(JobDiscard(self._clock.now_us(), dead.id))
        await self._commit_letter(dead, unit, "discarded", partial(self._discarded, dead))

    def _discarded(self, dead: ArchivedJob) -> None:
        self._metrics.jobs.discarded.labels(job_type=dead.job_type).inc()
        self._tallies.dealt_with(dead.job_type)

    async def dead_letters(self, *, limit: int, after: JobId | None, job_type: str | None) -> list[DeadLetter]:
        after_number = 0 if after is None else job_number(after)
        rows = await self._reader.dead(after=after_number, limit=max(1, min(limit, LETTERS_MAX)), job_type=job_type)
        return [self._letter(row) for row in rows]

    async def _commit_letter(self, dead: ArchivedJob, unit: Unit, verb: str, committed: Callable[[], None]) -> None:
        """Raises AlreadyCancelled for what is no dead letter (any more), JobKeyConflict, and PersistenceError."""
        _check_letter(dead, verb)
        try:
            await self._commit(unit, committed)
        except Conflict as error:
            _check_letter(await self._archived(dead.id), verb)
            raise JobKeyConflict(f"another live job holds the key {dead.key!r} of job {dead.id}") from error

    def _replay_row(self, dead: ArchivedJob, number: int) -> JobRow:
        now_us = self._clock.now_us()
        return JobRow(
            number,
            dead.shard,
            dead.job_type,
            dead.priority,
            dead.payload,
            dead.payload_hash,
            dead.key,
            dead.group,
            dead.max_attempts,
            dead.timeout_us,
            0,
            now_us,
            0,
            0,
            None,
            now_us,
            self._runner_id,
            dead.id,
            None,
        )

    def _letter(self, row: ArchivedJob) -> DeadLetter:
        return DeadLetter(
            id=job_id(row.id),
            job_type=row.job_type,
            priority=PRIORITIES[row.priority],
            reason=row.reason or "",
            error=row.error or "",
            attempts=row.attempts,
            arguments=self._arguments(row),
            created_at=row.created_at,
            died_at=row.finished_at,
            replay_of=None if row.replay_of is None else job_id(row.replay_of),
        )

    def _arguments(self, row: ArchivedJob) -> dict[str, object] | None:
        declared = self._types.get(row.job_type)
        if declared is None:
            return None
        try:
            values = declared.signature.decode(row.payload)
        except MalformedMessage:
            return None
        return dict(zip(declared.signature.parameters, values, strict=True))

    async def _archived(self, number: int) -> ArchivedJob:
        archived = await self._reader.archived(number)
        if archived is None:
            raise JobNotFound(f"no job has the id {number}, or its retention has passed")
        return archived

    async def _commit(
        self, unit: Unit, committed: Callable[[], None], refused: Callable[[], object] = _nothing
    ) -> None:
        """What follows from the commit follows also where the one who asked for it is cancelled meanwhile."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def written() -> None:
            committed()
            if not done.done():
                done.set_result(None)

        def failed(error: BaseException) -> None:
            refused()
            if not done.done():
                done.set_exception(error)

        self._commits.add(JobUnit(unit, committed=written, failed=failed))
        await done

    def _failed(
        self, operation: Literal["cancel", "replay"], labels: Mapping[str, str], began: float, error: Exception
    ) -> None:
        self._metrics.jobs.meter(operation=operation, **labels).failed(self._clock.monotonic() - began, error)


def _check_letter(dead: ArchivedJob, verb: str) -> None:
    if dead.state != JobState.DEAD:
        raise AlreadyCancelled(f"job {dead.id} is {dead.state}: only a dead job can be {verb}")
    if dead.replayed_at is not None or dead.discarded_at is not None:
        done = "replayed" if dead.replayed_at is not None else "discarded"
        raise AlreadyCancelled(f"job {dead.id} was {done} before")


def _live_status(row: JobRow, attempt: Attempt | None, now_us: int) -> JobStatus:
    if attempt is not None:
        state = JobState.RUNNING
    elif row.due_at > now_us:
        state = JobState.RETRYING if row.attempt else JobState.SCHEDULED
    else:
        state = JobState.AVAILABLE
    progress, text = (None, None) if attempt is None else attempt.progress
    return JobStatus(
        id=job_id(row.id),
        job_type=row.job_type,
        priority=PRIORITIES[row.priority],
        state=state,
        attempts=row.attempt + (attempt is not None),
        created_at=row.created_at,
        due_at=row.due_at or None,
        finished_at=None,
        error=row.last_error,
        reason=None,
        progress=progress,
        progress_text=text,
        replay_of=None if row.replay_of is None else job_id(row.replay_of),
    )


def _archived_status(row: ArchivedJob) -> JobStatus:
    return JobStatus(
        id=job_id(row.id),
        job_type=row.job_type,
        priority=PRIORITIES[row.priority],
        state=JobState(row.state),
        attempts=row.attempts,
        created_at=row.created_at,
        due_at=None,
        finished_at=row.finished_at,
        error=row.error,
        reason=row.reason,
        progress=None,
        progress_text=None,
        replay_of=None if row.replay_of is None else job_id(row.replay_of),
    )
