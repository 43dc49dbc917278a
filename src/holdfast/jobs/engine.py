"""The job engine of one runner: its parts put together, and its life.

What comes in: submits and requests (it is the runner's `JobDoor`), and what the store holds. What goes out: units for
the shared group commit. Everything it depends on is given, so that it runs in a simulation as it runs for real.

`start` begins without any shard. `adopt` takes shards up: what is stored for them is dispatched from then on. `release`
gives shards away; their running attempts go on here, and how they end is left for the new owner. Where all slots here
are taken, attempts run in those that other runners lend, and the other way round. `drain` lets running
attempts end; those that do not are cancelled where they wait and given back, which costs them no attempt. `stop` leaves
nothing behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from holdfast.errors import ConfigurationError, PersistenceError, RunnerUnavailable
from holdfast.kit.service import Periodic
from holdfast.kit.tasks import TaskOwner
from holdfast.model.ids import JobId
from holdfast.model.inbox import AttemptEnd
from holdfast.model.job import JobRow
from holdfast.model.message import Take

from .admission import Admission
from .adoption import Adoption
from .answering import Here, Onward
from .attempt import Attempt, Held, Interruption, Phase
from .borrowing import Borrowing
from .call import JobCall
from .completion import Completion
from .condemned import Condemned
from .dispatch import Dispatcher
from .door import CancelOutcome, DeadLetter, FinishedJob, JobStatus
from .elsewhere import Elsewhere
from .handle import JobHandle
from .holdings import Holdings
from .inbound import Inbound
from .intake import Intake
from .job_type import JobType, Lane
from .lending import Lending
from .letters import Letters
from .outcomes import GivenBack
from .requests import Requests
from .roster import Roster
from .rounds import Rounds
from .slots import Slots
from .straight import StraightStarts
from .surroundings import Lent, Surroundings
from .tally import Tallies, Tally
from .waiters import Waiters

R = TypeVar("R")

GAUGES_EVERY_S = 5.0
EXECUTORS_EVERY_S = 1.0
"""Seconds between two looks at attempts of our jobs that run on other runners, should nobody say that one is gone."""
GIVE_BACK_S = 5.0
"""Seconds that cancelled handlers get to clean up; what is still there then is given back all the same."""
CANCEL_WAIT_S = 5.0
"""Seconds a cancel waits for the running handler to end before it answers "requested"."""
HEADS_SEEN = 1000

log = logging.getLogger(__name__)


class JobEngine:
    """Stores, dispatches, runs and ends the jobs of the shards it owns."""

    def __init__(self, around: Surroundings, *, types: Iterable[JobType]) -> None:
        """Belongs to the running event loop. Raises ConfigurationError."""
        self._around = around
        self._types = _by_name(types)
        self._holdings = Holdings(around.territory)
        self._tallies = Tallies(around.metrics, self._holdings)
        self._roster = Roster()
        self._waiters = Waiters()
        self._tasks = TaskOwner("jobs")
        self._gauges = Periodic("job gauges", self._refresh_gauges, every_s=GAUGES_EVERY_S)
        self._looks = Periodic("job executors", self._look_after, every_s=EXECUTORS_EVERY_S)
        self._rounds = Rounds(around)
        self._started = self._stopped = False
        self._make_intake()
        self._make_ends()
        self._open_doors()

    def _make_intake(self) -> None:
        """What brings jobs to their start."""
        around = self._around
        self._dispatcher = Dispatcher(
            around,
            wake=self._rounds.wake,
            run=self._run,
            left=self._left_window,
            returned=self._returned_to_window,
            condemned=self._condemn,
            given_away=self._not_ours_to_start,
            holdings=self._holdings,
            types=self._types.values(),
        )
        self._intake = Intake(
            around,
            types=self._types,
            holdings=self._holdings,
            roster=self._roster,
            dispatcher=self._dispatcher,
            tallies=self._tallies,
            wake=self._rounds.wake,
        )
        self._condemned = Condemned(
            around, roster=self._roster, intake=self._intake, tallies=self._tallies, waiters=self._waiters
        )

    def _make_ends(self) -> None:
        """What takes attempts to their end, here and elsewhere, and shards to and fro."""
        around = self._around
        self._completion = Completion(
            around,
            tasks=self._tasks,
            roster=self._roster,
            waiters=self._waiters,
            tallies=self._tallies,
            holdings=self._holdings,
            over=self._dispatcher.over,
            arrived=self._intake.arrived,
            finished=self._intake.finished,
        )
        self._slots = Slots(around, tasks=self._tasks, ended=self._completion.ended, freed=self._dispatcher.freed)
        self._elsewhere = Elsewhere(
            around,
            types=self._types,
            holdings=self._holdings,
            roster=self._roster,
            waiters=self._waiters,
            tallies=self._tallies,
            arrived=self._intake.arrived,
            finished=self._intake.finished,
        )
        self._lending = Lending(
            around,
            types=self._types,
            dispatcher=self._dispatcher,
            roster=self._roster,
            abroad=self._completion.abroad,
            tallies=self._tallies,
            tasks=self._tasks,
            run=self._slots.run,
            ended=self._completion.ended,
        )
        self._borrowing = Borrowing(around, dispatcher=self._dispatcher, lending=self._lending, tasks=self._tasks)
        self._adoption = Adoption(
            around,
            holdings=self._holdings,
            roster=self._roster,
            intake=self._intake,
            dispatcher=self._dispatcher,
            completion=self._completion,
            elsewhere=self._elsewhere,
            tallies=self._tallies,
            waiters=self._waiters,
            changed=self._gauges.wake,
            remind=self._borrowing.remind,
        )

    def _open_doors(self) -> None:
        """Where submits and requests come in."""
        around, arrived = self._around, self._intake.arrived
        straight = StraightStarts(
            around,
            types=self._types,
            roster=self._roster,
            windows=self._intake.windows,
            tallies=self._tallies,
            dispatcher=self._dispatcher,
            dropped=self._not_ours_to_start,
        )
        self._admission = Admission(
            around,
            door=self,
            held=self._roster,
            tallies=self._tallies,
            holdings=self._holdings,
            arrived=arrived,
            found=self._intake.found,
            begin=straight.begin,
        )
        self._inbound = Inbound(
            around, admission=self._admission, tallies=self._tallies, holdings=self._holdings, arrived=arrived
        )
        requests = Requests(
            around,
            tallies=self._tallies,
            roster=self._roster,
            holdings=self._holdings,
            intake=self._intake,
            waiters=self._waiters,
            cancel_wait_s=CANCEL_WAIT_S,
            finished=self._intake.finished,
        )
        letters = Letters(
            around, door=self, types=self._types, tallies=self._tallies, holdings=self._holdings, arrived=arrived
        )
        self.here = Here(requests, letters)
        """Answers only for what is served here, as other processes want it, which know other runners too."""
        self._onward = Onward(self.here, around.elsewhere, around.clock)

    async def start(self) -> None:
        """Begins to dispatch what is adopted."""
        self._started = True
        self._tallies.attach(self._dispatcher.slots)
        self._dispatcher.paused = False
        self._tasks.start(self._rounds.run(self._intake, self._dispatcher), name="rounds")
        await self._gauges.start()
        await self._looks.start()
        await self._borrowing.start()

    async def adopt(self, shards: Collection[int]) -> None:
        """Takes up shards that this runner owns by now; their jobs start. Raises PersistenceError: none is taken up."""
        await self._adoption.adopt(shards)
        self._rounds.look_again()

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        """Gives shards up that are no longer served. Running attempts go on; their new owner hears how they end.

        Returns once everything that was handed to the store for these shards has a known outcome. Raises TimeoutError
        where that takes longer than `timeout_s` seconds: call it again then, before anybody else gets the shards.
        """
        await self._adoption.release(shards, timeout_s=timeout_s)

    def look_after(self) -> None:
        """To be called when a runner was reaped or has left: its attempts of jobs that are ours are over.

        Called by itself every second, too.
        """
        self._looks.wake()

    async def _look_after(self) -> None:
        if self._elsewhere.held():
            await self._elsewhere.look_after()

    def lend(self, lane: Lane, slots: int) -> Coroutine[Any, Any, Lent]:
        """Slots for another runner's jobs: see `Lending.lend`."""
        return self._lending.lend(lane, slots)

    def run_lent(self, credit: int) -> Coroutine[Any, Any, None]:
        """Another runner has put attempts on record for this one: see `Lending.run`."""
        return self._lending.run(credit)

    def interrupt(self, job: int, number: int) -> Coroutine[Any, Any, bool]:
        """Cancels an attempt that runs here for another owner: see `Lending.interrupt`."""
        return self._lending.interrupt(job, number)

    async def ready(self) -> None:
        """Returns once what was adopted is loaded and its jobs start. Raises RuntimeError if it stopped before."""
        await self._rounds.ready.wait()
        if self._stopped:
            raise RuntimeError("the job engine stopped before it was ready")

    def under_way(self, now_us: int) -> int:
        """Jobs that run or could run now."""
        return self._tallies.live + len(self._elsewhere.held()) + (1 if self.overdue(now_us) else 0)

    def overdue(self, now_us: int) -> bool:
        """Whether the time of a job has come that has not been noticed."""
        next_at = self._intake.schedule.next_at()
        return next_at is not None and next_at <= now_us

    async def drain(self, timeout_s: float) -> None:
        """Starts nothing more; returns once every attempt has ended, or was given back after `timeout_s` seconds."""
        self._dispatcher.paused = True
        if not await self._settled(timeout_s):
            for attempt in self._under_way():
                attempt.interrupt(Interruption.DRAIN)
                if attempt.held.declared.lane is Lane.THREAD:
                    self._completion.ended(attempt, GivenBack())
            if not await self._settled(GIVE_BACK_S):
                for attempt in self._under_way():
                    log.error("job %s does not end when cancelled; it is given back", attempt.held.row.id)
                    self._completion.ended(attempt, GivenBack())
                await self._settled(GIVE_BACK_S)

    async def stop(self) -> None:
        """Gives back what runs and ends everything. Works twice and before `start`."""
        if self._started and not self._stopped:
            await self.drain(0.0)
        await self.abandon()

    async def abandon(self) -> None:
        """Ends everything without a word to the store: another incarnation has taken over, or the store is gone."""
        self._stopped = True
        self._dispatcher.paused = True
        await self._slots.close()
        await self._gauges.stop()
        await self._looks.stop()
        await self._borrowing.stop()
        await self._tasks.stop()
        self._tallies.detach()
        self._rounds.ready.set()
        self._waiters.fail(RunnerUnavailable("this runner stopped; ask again where one runs", executed="unknown"))

    def submit(self, call: JobCall[R], /) -> Coroutine[Any, Any, JobHandle[R]]:
        return self._admission.submit(call)

    def take(self, row: JobRow, taken: Take) -> Coroutine[Any, Any, None]:
        """A job that another process left in the inbox: see `Inbound.take`."""
        return self._inbound.take(row, taken)

    def take_end(self, end: AttemptEnd, taken: Take, shard: int) -> Coroutine[Any, Any, None]:
        """The end of an attempt, left in the inbox by its executor: see `Elsewhere.take`."""
        return self._elsewhere.take(end, taken, shard)

    def submit_many(self, calls: Sequence[JobCall[R]], /) -> Coroutine[Any, Any, list[JobHandle[R]]]:
        return self._admission.submit_many(calls)

    def admit(
        self, calls: Sequence[tuple[JobCall[Any], int]], *, retry: bool
    ) -> Coroutine[Any, Any, list[tuple[int, bool]]]:
        """Submits from another process, under ids that their submitters chose; see `Admission.admit`."""
        return self._admission.admit(calls, retry=retry)

    def shards_of(self, calls: Sequence[tuple[JobCall[Any], int]]) -> set[int]:
        """Where these jobs belong."""
        return self._admission.shards_of(calls)

    def status(self, job: JobId, /) -> Coroutine[Any, Any, JobStatus]:
        return self._onward.status(job)

    def wait(self, job: JobId, /, *, timeout: float | None = None) -> Coroutine[Any, Any, FinishedJob]:
        return self._onward.wait(job, timeout)

    def cancel(self, job: JobId, /) -> Coroutine[Any, Any, CancelOutcome]:
        return self._onward.cancel(job)

    def replay(self, job: JobId, /) -> Coroutine[Any, Any, JobHandle[Any]]:
        return self._onward.replay(job)

    def discard(self, job: JobId, /) -> Coroutine[Any, Any, None]:
        return self._onward.discard(job)

    def dead_letters(
        self, *, limit: int = 100, after: JobId | None = None, job_type: str | None = None
    ) -> Coroutine[Any, Any, list[DeadLetter]]:
        return self.here.dead_letters(limit=limit, after=after, job_type=job_type)

    def _left_window(self, row: JobRow) -> None:
        self._intake.windows.left(row)

    def _returned_to_window(self, row: JobRow) -> None:
        self._intake.windows.returned(row)

    def _run(self, attempts: list[Attempt]) -> None:
        self._slots.run(attempts)

    def _condemn(self, held: Held) -> None:
        self._condemned.end(held)

    def _not_ours_to_start(self, attempt: Attempt) -> None:
        self._completion.abroad.remove(attempt)
        attempt.held.phase = Phase.GONE
        attempt.held.attempt = None
        attempt.settle()

    def _under_way(self) -> list[Attempt]:
        here = [held.attempt for held in self._roster if held.attempt is not None]
        return here + list(self._completion.abroad)

    async def _settled(self, timeout_s: float) -> bool:
        """Whether all attempts ended, and their ends are known to the store, within the time."""
        watched = [attempt.watch() for attempt in self._under_way()]
        if not watched:
            return True
        _, pending = await asyncio.wait(watched, timeout=timeout_s)
        return not pending

    async def _refresh_gauges(self) -> None:
        try:
            counts = await self._around.reader.dead_counts(shards=list(self._holdings)) if self._holdings else ()
            self._tallies.dead_read(counts, self._around.clock.now_us())
        except PersistenceError:
            self._tallies.dead_unread()
            raise
        eligible_at: dict[Tally, int] = {}
        for lane in self._dispatcher.lanes:
            for held in lane.heads(HEADS_SEEN):
                known = eligible_at.get(held.tally, held.row.eligible_at)
                eligible_at[held.tally] = min(known, held.row.eligible_at)
        self._tallies.oldest(eligible_at, self._around.clock.now_us())


def _by_name(types: Iterable[JobType]) -> dict[str, JobType]:
    found: dict[str, JobType] = {}
    for declared in types:
        if declared.name in found:
            raise ConfigurationError(f"two jobs are named {declared.name!r}; give one of them name=")
        found[declared.name] = declared
    return found
