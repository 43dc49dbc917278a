"""Requests about jobs that are stored already: status, wait, cancel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from holdfast.errors import (
    AlreadyCancelled,
    EntityNotAssignedToRunner,
    HoldfastError,
    RunnerUnavailable,
)
from holdfast.model.ids import JobId
from holdfast.model.job import PRIORITIES, ArchivedJob, JobRow, JobState
from holdfast.model.unit import Unit

from .attempt import Held, Interruption, Phase
from .door import CancelOutcome, FinishedJob, JobStatus
from .holdings import Holdings
from .intake import Intake
from .lookup import LeftJob, archived_job, job_number, left_job, missing_job
from .outcomes import Cancelled
from .roster import Roster
from .rows import end_row
from .statuses import archived_status, live_status
from .surroundings import Surroundings
from .tally import Tallies
from .units import commit_then, nothing
from .waiters import LookAgain, Waiters, finished

log = logging.getLogger(__name__)

INTERRUPT_AGAIN_S = 0.1
"""Seconds before an executor is asked again that did not know the attempt: it may not have begun."""
LOOK_EVERY_S = 0.05
"""Seconds between two looks for a job that waits in the inbox."""
DUPLICATE = "Duplicate"
"""The reason of a job from the inbox whose key belongs to another one, whose id is its error."""


class Requests:
    """Answers for the jobs of the shards that are served here, for all that ended, and for all in the inbox.

    A live job of another shard raises EntityNotAssignedToRunner: its owner is to be asked.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        tallies: Tallies,
        roster: Roster,
        holdings: Holdings,
        intake: Intake,
        waiters: Waiters,
        cancel_wait_s: float,
        finished: Callable[[JobRow], None],
    ) -> None:
        """`cancel_wait_s`: how long a cancel waits for a running handler to end before it says "requested"."""
        self._commits = around.commits
        self._reader = around.reader
        self._inbox = around.inbox
        self._clock = around.clock
        self._metrics = around.metrics
        self._tallies = tallies
        self._roster = roster
        self._holdings = holdings
        self._executors = around.executors
        self._finished = finished
        self._intake = intake
        self._waiters = waiters
        self._runner_id = around.runner_id
        self._cancel_wait_s = cancel_wait_s

    async def status(self, job: JobId) -> JobStatus:
        number = job_number(job)
        held = self._roster.get(number)
        match await self._find(number) if held is None else held.row:
            case ArchivedJob() as ended:
                return archived_status(ended)
            case LeftJob(row) | (JobRow() as row):
                return live_status(row, held, self._clock.now_us())

    async def wait(self, job: JobId, *, timeout: float | None) -> FinishedJob:
        number = job_number(job)
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        while True:
            left_s = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            expected = self._waiters.expect(number)  # before the store is asked, so that no end falls in between
            try:
                match None if number in self._roster else await self._find(number):
                    case ArchivedJob() as ended:
                        return await self._followed(ended, left_s)
                    case LeftJob() if left_s is None or left_s > LOOK_EVERY_S:
                        await asyncio.wait((expected,), timeout=LOOK_EVERY_S)
                    case _:
                        return await asyncio.wait_for(expected, left_s)
            except LookAgain:
                continue
            finally:
                self._waiters.forget(number, expected)

    async def _find(self, number: int) -> JobRow | ArchivedJob | LeftJob:
        """What the store has of it. Raises JobNotFound, and EntityNotAssignedToRunner."""
        for _ in range(2):  # it may be taken from the inbox between two looks, and is live from then on
            if (live := await self._ours(number)) is not None:
                return live
            if (ended := await self._reader.archived(number)) is not None:
                return ended
            if (left := await left_job(self._inbox, number)) is not None:
                return left
        raise missing_job(number)

    async def _ours(self, number: int) -> JobRow | None:
        """A live job that only the store has. Raises EntityNotAssignedToRunner for one of another owner."""
        row = await self._reader.live(number)
        if row is not None and number not in self._roster:
            self._holdings.check(row.shard)
        return row

    async def _followed(self, archived: ArchivedJob, timeout: float | None) -> FinishedJob:
        """How it ended; a duplicate that came through the inbox ends as the job does whose key it repeated."""
        if archived.reason == DUPLICATE and archived.error is not None:
            return await self.wait(JobId(archived.error), timeout=timeout)
        return finished(archived)

    async def cancel(self, job: JobId) -> CancelOutcome:
        """Raises RunnerUnavailable for a job that waits in the inbox too long."""
        began = self._clock.monotonic()
        labels: dict[str, str] = {"job_type": ""}
        try:
            number = job_number(job)
            row = await self._taken(number, began + self._cancel_wait_s)
            labels = {"job_type": row.job_type, "priority": PRIORITIES[row.priority]}
            return await self._cancel(number, began)
        except EntityNotAssignedToRunner:
            raise  # its owner counts
        except HoldfastError as error:
            self._failed("cancel", labels, began, error)
            raise

    async def _taken(self, number: int, deadline: float) -> JobRow | ArchivedJob:
        """The job, once it is not in the inbox. Raises RunnerUnavailable, and what `_find` raises."""
        while True:
            held = self._roster.get(number)
            found = await self._find(number) if held is None else held.row
            if not isinstance(found, LeftJob):
                return found
            if self._clock.monotonic() >= deadline:
                raise RunnerUnavailable(f"job {number} still waits in the inbox for its owner, and is not cancelled")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _cancel(self, number: int, began: float) -> CancelOutcome:
        deadline = began + self._cancel_wait_s
        while True:
            held = self._roster.get(number)
            if held is None:
                row = await self._live(number)
                held = self._roster.get(number) or self._intake.hold_stored(row)
                if held is None:  # of a type that is not registered here, so nobody else touches it
                    self._holdings.check(row.shard)
                    await self._end_unstarted(row, self._intake.is_later(row), began)
                    return CancelOutcome.BEFORE_START
            if held.away is not None and held.phase is not Phase.ENDING:
                if not await self._interrupt_elsewhere(held, deadline - self._clock.monotonic()):
                    return CancelOutcome.REQUESTED
            elif held.attempt is None and held.phase is not Phase.ENDING:
                await self._withdraw(held, began)
                return CancelOutcome.BEFORE_START
            elif not await self._interrupt(held, began, deadline - self._clock.monotonic()):
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

    async def _interrupt_elsewhere(self, held: Held, patience_s: float) -> bool:
        """Has the attempt's executor told; whether it is known in time what became of the attempt."""
        away = held.away
        if away is None:
            return False
        settled = self._waiters.expect(held.row.id)
        try:
            async with asyncio.timeout(max(0.0, patience_s)):
                while not await self._executors.interrupt(away.executor, held.row.id, away.number):
                    await asyncio.wait((settled,), timeout=INTERRUPT_AGAIN_S)
                    if settled.done() or held.away is not away:
                        return True
                await asyncio.wait((settled,))
        except (HoldfastError, TimeoutError) as error:
            log.info("the cancel of job %s did not end its attempt on runner %s: %s", held.row.id, away.executor, error)
            return False
        finally:
            self._waiters.forget(held.row.id, settled)
        return True

    async def _live(self, number: int) -> JobRow:
        """Raises JobNotFound, AlreadyCancelled for a finished job, and EntityNotAssignedToRunner."""
        with self._roster.reading() as left:
            row = await self._ours(number)
            await self._commits.settled()  # what was read before its commit was known has arrived then
        if row is None or number in left:
            archived = await archived_job(self._reader, number)
            raise AlreadyCancelled(f"job {number} is {archived.state} already")
        return row

    async def _withdraw(self, held: Held, began: float) -> None:
        """Ends a held job that has no attempt. Raises PersistenceError; the job is as it was then."""
        self._holdings.check(held.row.shard)
        later = self._intake.withdraw(held)

        def refused() -> None:
            self._roster.let_go(held.row.id)
            self._intake.put_back(held.row, later)

        await self._end_unstarted(
            held.row, later, began, ended=lambda: self._roster.let_go(held.row.id), refused=refused
        )

    async def _end_unstarted(
        self,
        row: JobRow,
        later: bool,
        began: float,
        *,
        ended: Callable[[], object] = nothing,
        refused: Callable[[], object] = nothing,
    ) -> None:
        unit, now_us = Unit(), self._clock.now_us()
        unit.add(end_row(row, Cancelled(), now_us, self._runner_id, attempted=0))

        def committed() -> None:
            ended()
            self._count_unstarted(row, later, began, now_us)
            self._waiters.ended(row, JobState.CANCELLED, None, None)
            self._finished(row)

        await commit_then(self._commits, unit, committed, refused)

    def _count_unstarted(self, row: JobRow, later: bool, began: float, now_us: int) -> None:
        tally = self._tallies.of(row.job_type, row.priority)
        depth = tally.depth(row.shard)
        if later:
            depth.due_later -= 1
        else:
            depth.waiting -= 1
        tally.cancelled(self._clock.monotonic() - began)
        tally.duration(max(0, now_us - row.created_at) / 1e6)
        tally.attempts(row.attempt)

    def _failed(self, operation: Literal["cancel"], labels: Mapping[str, str], began: float, error: Exception) -> None:
        self._metrics.jobs.meter(operation=operation, **labels).failed(self._clock.monotonic() - began, error)
