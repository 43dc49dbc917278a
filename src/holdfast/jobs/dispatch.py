"""From waiting to started: free slots are given to waiting jobs, and a start record is committed before any runs.

One record covers all that starts together, in whichever lanes. It is one more item of the shared group commit, so it
rides in the flush that carries the completions of what ran before. Nothing is dispatched without a free slot.

A suspect is a job that was running when a runner died (`crashes` of at least 1). Of these at most one is under way at
any time, so that only the guilty one reaches the limit. One that has reached it does not start again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Sequence
from typing import assert_never

from holdfast.model.job import CRASHED, CRITICAL, EndStart, JobRow, StartRecord, pack_attempts
from holdfast.model.unit import Unit
from holdfast.ports.journal import OpenTransaction
from holdfast.settings import JobSettings

from .attempt import Attempt, Away, Held, Phase, Record
from .job_type import JobType, Lane
from .lanes import LaneQueue, tell_first
from .surroundings import Lent, Surroundings
from .units import JobUnit

HOLD_OFF_S = 0.5

log = logging.getLogger(__name__)


class Dispatcher:
    """Gives free slots to waiting jobs."""

    def __init__(
        self,
        around: Surroundings,
        *,
        wake: Callable[[], None],
        run: Callable[[list[Attempt]], None],
        left: Callable[[JobRow], None],
        returned: Callable[[JobRow], None],
        condemned: Callable[[Held], None],
        given_away: Callable[[Attempt], None],
        holdings: Container[int],
        types: Iterable[JobType],
    ) -> None:
        """`wake` asks for a round; `run` takes the attempts whose start record is on disk.

        `condemned` takes a job that was part of too many deaths. `given_away` hears of an attempt that can't start,
        of a job whose shard is not in the `holdings` any more.

        `left` and `returned` tell the windows which jobs wait no more, or again.
        """
        urgent = {declared.lane for declared in types if declared.priority == CRITICAL}
        self.lanes = tuple(LaneQueue(_slots(around.settings, lane), critical=lane in urgent) for lane in Lane)
        self.paused = True
        self._batch_max = around.settings.start_batch_max
        self._commits = around.commits
        self._ids = around.ids
        self._clock = around.clock
        self._runner_id = around.runner_id
        self._journal = around.journal
        self._transaction_timeout_s = around.transaction_timeout_s
        self._wake = wake
        self._run = run
        self._left = left
        self._returned = returned
        self._condemned = condemned
        self._given_away = given_away
        self._holdings = holdings
        self._crashes_max = around.settings.crashes_max
        self._wheel = around.wheel
        self._held_off = False
        self._spare_id: int | None = None
        self._doubtful: list[int] = []
        self._suspect: Held | None = None
        self._suspects: deque[Held] = deque()

    def offer(self, held: Held) -> None:
        """A job waits for a slot."""
        lane = self.lanes[held.declared.lane]
        lane.append(held)
        if lane.ready:
            self._wake()

    def freed(self, attempt: Attempt) -> None:
        """The slot that the attempt had has nothing to do any more."""
        lane = self.lanes[attempt.held.declared.lane]
        lane.vacate(attempt.held.row.priority)
        lane.turned += 1
        self._use(lane)

    def come_back(self, lane: Lane, slots: int) -> None:
        """Slots that were lent are not any more."""
        queue = self.lanes[lane]
        queue.lend(-slots)
        for _ in range(slots):
            queue.turned += 1
            self._use(queue)

    def _use(self, lane: LaneQueue) -> None:
        if lane.ready:
            self._wake()
        elif lane.borrowers and not lane.queued:
            tell_first(lane.borrowers)

    def over(self, held: Held) -> None:
        """The job's attempt has ended: the next suspect may come."""
        if held is not self._suspect:
            return
        self._suspect = None
        while self._suspects:
            suspect = self._suspects.popleft()
            if suspect.phase is Phase.WAITING:
                self.lanes[suspect.declared.lane].put_back([suspect])
                self._wake()
                return

    def take_slot(self, held: Held) -> Attempt | None:
        """Begins an attempt of a job that is not stored yet, where a slot is free and nothing waits for it.

        Its start record is to be stored with the job; then comes `started`, or `take_back`.
        """
        lane = self.lanes[held.declared.lane]
        if self.paused or self._held_off or not lane.open_to(held.row.priority):
            return None
        number = self._ids.take_now()
        if not number:
            return None
        lane.occupy(held.row.priority)
        record = Record(number, 1)
        attempt = held.attempt = Attempt(held, record, self.begin_transaction)
        record.attempts = (attempt,)
        return attempt

    def take_back(self, attempt: Attempt) -> None:
        """Neither the job nor its start record was stored, as far as is known."""
        attempt.record.attempts = ()
        self._doubtful.append(attempt.record.id)
        self.freed(attempt)

    async def start_waiting(self) -> None:
        """Starts what there are slots for, in one start record per batch."""
        while not (self.paused or self._held_off) and any(lane.ready for lane in self.lanes):
            if self._spare_id is None:
                self._spare_id = await self._ids.take()
                continue
            batch = list(self._take())
            if not batch:
                continue  # there were only suspects at the heads: what is behind them need not wait
            record, self._spare_id = Record(self._spare_id, len(batch)), None
            self._start([self._attempt(held, record) for held in batch], record)

    def take_for(self, executor: int, lane: Lane, lent: Lent) -> list[Held]:
        """Waiting jobs to start in slots that this runner has lent. Suspects stay here, where they are counted."""
        queue = self.lanes[lane]
        taken: list[Held] = []
        left: list[Held] = []
        for held in queue.take_away(lent.slots):
            if held.row.crashes or held.declared.name not in lent.types:
                left.append(held)
                continue
            held.phase, held.away = Phase.STARTING, Away(executor, held.row.attempt + 1)
            held.depth.waiting -= 1
            self._left(held.row)
            taken.append(held)
        queue.put_back(left)
        return taken

    def not_lent(self, jobs: Sequence[Held]) -> None:
        """What `take_for` gave waits here again: the start records were not written."""
        for held in reversed(jobs):
            if held.phase is Phase.STARTING:
                held.phase, held.away = Phase.WAITING, None
                held.depth.waiting += 1
                self.lanes[held.declared.lane].put_back([held])
                self._returned(held.row)
        self._hold_off()

    def slots(self) -> dict[str, int]:
        """Slots by state."""
        free = sum(max(lane.free, 0) for lane in self.lanes)
        return {"busy": sum(lane.slots for lane in self.lanes) - free, "free": free}

    def _take(self) -> Iterator[Held]:
        room = self._batch_max
        for lane in self.lanes:
            for held in lane.take(room):
                if held.row.crashes and not self._may_start(held):
                    continue
                lane.occupy(held.row.priority)
                room -= 1
                yield held

    def _may_start(self, suspect: Held) -> bool:
        if suspect.row.crashes >= self._crashes_max:
            self._condemned(suspect)
            return False
        if self._suspect is not None:
            self._suspects.append(suspect)
            return False
        self._suspect = suspect
        return True

    def _attempt(self, held: Held, record: Record) -> Attempt:
        held.phase = Phase.STARTING
        held.depth.waiting -= 1
        self._left(held.row)
        attempt = held.attempt = Attempt(held, record, self.begin_transaction)
        return attempt

    def begin_transaction(self) -> Awaitable[OpenTransaction]:
        """An attempt's own transaction."""
        return self._journal.begin(timeout_s=self._transaction_timeout_s)

    def _start(self, attempts: list[Attempt], record: Record) -> None:
        record.attempts = attempts
        row = self.record_row(record)
        unit = Unit()
        unit.add(row, len(row.attempts))
        unit.rows += self.doubts()
        self._commits.add(
            JobUnit(
                unit,
                committed=lambda: self._written(attempts, unit),
                failed=lambda error: self._not_started(attempts, error),
                line=record.line,
            )
        )

    def record_row(self, record: Record) -> StartRecord:
        """The record as it is stored."""
        pairs = [(attempt.held.row.id, attempt.number) for attempt in record.attempts]
        return StartRecord(record.id, self._runner_id, self._runner_id, pack_attempts(pairs), self._clock.now_us())

    def doubts(self) -> list[EndStart]:
        """Takes away start records of which it is not sure that they were not written; see `certain`."""
        return [EndStart(record) for record in self._doubtful]

    def certain(self, unit: Unit) -> None:
        """The unit was written, and what it took away is gone."""
        if self._doubtful:
            gone = {row.id for row in unit.rows if isinstance(row, EndStart)}
            self._doubtful = [record for record in self._doubtful if record not in gone]

    def _written(self, attempts: list[Attempt], unit: Unit) -> None:
        self.certain(unit)
        self.started(attempts)

    def started(self, attempts: list[Attempt]) -> None:
        """Their start record is on disk: they run."""
        now_us = self._clock.now_us()
        for attempt in attempts:
            held = attempt.held
            held.phase = Phase.RUNNING
            held.tally.running += 1
            if held.row.crashes and held.row.last_error == CRASHED:
                held.tally.rescued()
            waited = now_us - held.row.eligible_at
            held.tally.waited(waited / 1e6 if waited > 0 else 0.0)
        self._run(attempts)

    def _not_started(self, attempts: list[Attempt], error: BaseException) -> None:
        log.warning("%d attempts can't start, their start record was not written: %s", len(attempts), error)
        record = attempts[0].record
        record.attempts = ()
        self._doubtful.append(record.id)
        for attempt in reversed(attempts):
            held = attempt.held
            lane = self.lanes[held.declared.lane]
            lane.vacate(held.row.priority)
            if held.row.shard not in self._holdings:
                self._given_away(attempt)
                self.over(held)
                continue
            held.attempt = None
            held.phase = Phase.WAITING
            held.depth.waiting += 1
            lane.put_back([held])
            self._returned(held.row)
            self.over(held)
            attempt.settle()
        self._hold_off()

    def _hold_off(self) -> None:
        """A store that refuses is not asked again at once; what waits stays where it is."""
        self._held_off = True
        self._wheel.after(HOLD_OFF_S, self._resume)

    def _resume(self) -> None:
        self._held_off = False
        self._wake()


def _slots(settings: JobSettings, lane: Lane) -> int:
    match lane:
        case Lane.LOOP:
            return settings.slots
        case Lane.THREAD:
            return settings.thread_slots
        case Lane.PROCESS:
            return settings.process_slots
        case _:
            assert_never(lane)
