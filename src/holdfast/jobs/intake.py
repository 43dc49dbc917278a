"""Where a live job goes when it becomes known: to the slots' queue, to the schedule, or nowhere but the store.

On its way to the queue a job of a group passes through its group's line.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import assert_never

from holdfast.errors import HandlerMissing
from holdfast.model.job import JobRow

from .attempt import Held, Phase
from .dispatch import Dispatcher
from .groups import Groups
from .holdings import Holdings
from .job_type import JobType
from .roster import Roster
from .schedule import Schedule
from .surroundings import Surroundings
from .tally import Tallies, Tally
from .windows import Windows

log = logging.getLogger(__name__)


class Intake:
    """Holds jobs in memory, within bounds, and passes them to the dispatcher when their time has come."""

    def __init__(
        self,
        around: Surroundings,
        *,
        types: Mapping[str, JobType],
        holdings: Holdings,
        roster: Roster,
        dispatcher: Dispatcher,
        tallies: Tallies,
        wake: Callable[[], None],
    ) -> None:
        self._types = types
        self._reader = around.reader
        self._commits = around.commits
        self._runner_id = around.runner_id
        self._roster = roster
        self._holdings = holdings
        self._tallies = tallies
        self._metrics = around.metrics
        self._clock = around.clock
        self._wake = wake
        self._parked: set[str] = set()
        self._left: set[int] = set()
        window = around.settings.window
        self.windows = Windows(size_max=window, find=self._filled, read=self._available, hold=self._hold_available)
        self.windows.wanted = wake
        self.groups = Groups(dispatcher.offer, self.windows, line_max=window)
        self.schedule = Schedule(size_max=window, read=self._upcoming)

    def arrived(self, row: JobRow) -> None:
        """A job was stored, or its stored row changed: it is live and not running.

        Nothing happens where its shard was given away meanwhile: its owner finds the row.
        """
        if row.shard not in self._holdings:
            return
        tally = self._tallies.of(row.job_type, row.priority)
        later = row.due_at > 0 and row.due_at > self._clock.now_us()
        depth = tally.depth(row.shard)
        if later:
            depth.due_later += 1
        else:
            depth.waiting += 1
        declared = self._types.get(row.job_type)
        if declared is not None:
            self._place(row, declared, tally, later)
        else:
            self._known(row)
            self._metrics.jobs.failures.labels(job_type=row.job_type, reason="HandlerMissing").inc()

    def place(self, row: JobRow) -> None:
        """Holds a live job that is counted but not held, where there is room for it."""
        declared = self._known(row)
        if declared is not None and row.shard in self._holdings:
            tally = self._tallies.of(row.job_type, row.priority)
            self._place(row, declared, tally, row.due_at > 0 and row.due_at > self._clock.now_us())

    def found(self, row: JobRow) -> None:
        """As `place`, of a job that was stored while its shard was on its way here: it may have been read since, and
        may even have ended."""
        if row.due_at > 0 and row.due_at > self._clock.now_us():
            self.place(row)
        else:
            self.windows.read_again(row.shard, row.priority, row.id)

    def _place(self, row: JobRow, declared: JobType, tally: Tally, later: bool) -> None:
        if row.id in self._roster:
            return
        if later:
            self._hold_later(Held(row, declared, tally, Phase.DUE_LATER))
        elif self.windows.admits(row):
            held = Held(row, declared, tally, Phase.WAITING)
            self._roster.hold(held)
            self._offer(held)
        elif self.windows.hungry:
            self._wake()

    def finished(self, row: JobRow) -> None:
        """The job has ended for good: the next one of its group may come."""
        self.groups.over(row)

    def withdraw(self, held: Held) -> bool:
        """Takes a job that has no attempt off the queues; whether it counts as due later."""
        before, held.phase = held.phase, Phase.ENDING
        match before:
            case Phase.DUE_LATER:
                return True
            case Phase.IN_LINE:
                return False
            case Phase.WAITING:
                self.windows.left(held.row)
                return False
            case Phase.STORED:
                return self.is_later(held.row)
            case Phase.STARTING | Phase.RUNNING | Phase.ENDING | Phase.ELSEWHERE | Phase.GONE:
                raise AssertionError(f"a job that is {before.value} can't be withdrawn")
            case _:
                assert_never(before)

    def put_back(self, row: JobRow, later: bool) -> None:
        """A withdrawn job lives on. `later`: it counts as due later, though its time may have come meanwhile."""
        if later and row.due_at <= self._clock.now_us():
            depth = self._tallies.of(row.job_type, row.priority).depth(row.shard)
            depth.due_later -= 1
            depth.waiting += 1
        self.place(row)

    def is_later(self, row: JobRow) -> bool:
        """Whether a job that is not held counts as due later."""
        return self.schedule.counts_as_later(row, self._clock.now_us())

    def hold_stored(self, row: JobRow) -> Held | None:
        """A live job that was in the store only, held so that a request can end it; None for an unknown type."""
        declared = self._types.get(row.job_type)
        if declared is None:
            return None
        held = Held(row, declared, self._tallies.of(row.job_type, row.priority), Phase.STORED)
        self._roster.hold(held)
        return held

    def come_due(self, now_us: int) -> None:
        """Moves the jobs whose time has come to the queues."""
        for held in self.schedule.due(now_us):
            held.depth.due_later -= 1
            held.depth.waiting += 1
            if self.windows.admits(held.row):
                held.phase = Phase.WAITING
                self._offer(held)
            else:
                self._roster.let_go(held.row.id)
                self._wake()

    def _offer(self, held: Held) -> None:
        if not self.groups.offer(held):
            self._roster.let_go(held.row.id)

    async def refill_windows(self) -> None:
        async with self.schedule.reading:
            with self._roster.reading() as self._left:
                await self.windows.refill()

    async def refill_schedule(self) -> None:
        async with self.schedule.reading:
            with self._roster.reading() as left:
                await self.schedule.refill(lambda row: self._hold_upcoming(row, left))

    def _known(self, row: JobRow) -> JobType | None:
        declared = self._types.get(row.job_type)
        if declared is None and row.job_type not in self._parked:
            # Parked: an older or newer runner may know it. It costs no attempt, and waits in the store.
            self._parked.add(row.job_type)
            error = HandlerMissing(f"no job type {row.job_type!r} is registered here: its jobs wait")
            log.warning("%s", error)
        return declared

    def _hold_later(self, held: Held) -> None:
        if self.schedule.admits(held.row):
            self._schedule(held)
            self._wake()

    def _schedule(self, held: Held) -> None:
        """Holds a job until it is due; those that have to make room for it are not held any more."""
        self._roster.hold(held)
        for gone in self.schedule.add(held):
            self._roster.let_go(gone.row.id)

    def _hold_available(self, row: JobRow) -> None:
        declared = self._known(row)
        if declared is None or row.id in self._roster or row.id in self._left or row.shard not in self._holdings:
            return
        held = Held(row, declared, self._tallies.of(row.job_type, row.priority), Phase.WAITING)
        if self.is_later(row):  # its moment has come, but the schedule would have got to it only now
            held.depth.due_later -= 1
            held.depth.waiting += 1
        self._roster.hold(held)
        self.windows.returned(row)
        self._offer(held)

    def own(self, shards: Collection[int], begun_us: int, upcoming: Sequence[JobRow], *, full: bool) -> None:
        """These shards are ours from here on; `upcoming` is the first page of what is due later than `begun_us`.

        To be called under `schedule.reading`.
        """
        self.windows.own(shards)
        for row in self.schedule.own(shards, begun_us, upcoming, full=full):
            self._hold_upcoming(row, set())
        self._wake()

    def disown(self, shards: Collection[int]) -> None:
        """These shards are somebody else's."""
        self.windows.disown(shards)
        self.schedule.disown(shards)

    def _hold_upcoming(self, row: JobRow, left: set[int]) -> None:
        declared = self._known(row)
        if declared is None or row.id in self._roster or row.id in left or not self.schedule.belongs(row):
            return
        self._schedule(Held(row, declared, self._tallies.of(row.job_type, row.priority), Phase.DUE_LATER))

    async def _filled(self, windows: Collection[tuple[int, int, int]]) -> Collection[tuple[int, int]]:
        return await self._reader.filled(windows, due_before=self._clock.now_us())

    async def _available(self, shard: int, priority: int, after: int, limit: int) -> Sequence[JobRow]:
        due_before = self._clock.now_us()
        self._left.clear()  # what left earlier is read as it is by now
        rows = await self._reader.available(
            shard=shard, priority=priority, after=after, limit=limit, due_before=due_before
        )
        return await self._all_counted(rows)

    async def _upcoming(self, due_after: int, id_after: int, limit: int) -> Sequence[JobRow]:
        rows = await self._reader.upcoming(
            due_after=due_after, id_after=id_after, limit=limit, shards=list(self._holdings)
        )
        return await self._all_counted(rows)

    async def _all_counted(self, rows: Sequence[JobRow]) -> Sequence[JobRow]:
        """The rows, once those among them have arrived whose commit was not known yet when they were read.

        Otherwise one could start, and even end, before it is counted, and would come to life again then.
        """
        if any(row.admitted_by == self._runner_id for row in rows):
            await self._commits.settled()
        return rows
