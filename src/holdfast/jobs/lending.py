"""Slots that are lent to other runners: attempts of jobs that they own run here.

An owner whose own slots are all taken asks for some (`lend`), writes start records that name this runner as executor,
and says so (`run`). What runs here is what such records say, and nothing else: so a word that comes twice or late
changes nothing, and one that is lost is made up for when the credit lapses, since the records are read then too.

How these attempts end is left in the inbox of their jobs' shards: see `abroad`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from holdfast.errors import PersistenceError
from holdfast.kit.deadlines import Deadline
from holdfast.kit.tasks import TaskOwner
from holdfast.model.job import JobRow, unpack_attempts

from .abroad import Abroad
from .attempt import Attempt, Away, Held, Interruption, Phase, Record
from .dispatch import Dispatcher
from .job_type import JobType, Lane
from .lanes import LaneQueue
from .outcomes import AttemptEnd, GivenBack
from .roster import Roster
from .surroundings import Lent, Surroundings
from .tally import Tallies

PATIENCE_S = 2.0
"""Seconds that whoever asks waits at most for a slot to become free."""
LAPSE_S = 2.0
"""Seconds after which slots that were lent and not used are free again."""

log = logging.getLogger(__name__)


class _Credit(NamedTuple):
    lane: Lane
    slots: int
    lapse: Deadline


class Lending:
    """Lends free slots, and runs what their borrowers put on record."""

    def __init__(
        self,
        around: Surroundings,
        *,
        types: Mapping[str, JobType],
        dispatcher: Dispatcher,
        roster: Roster,
        abroad: Abroad,
        tallies: Tallies,
        tasks: TaskOwner,
        run: Callable[[list[Attempt]], None],
        ended: Callable[[Attempt, AttemptEnd], None],
    ) -> None:
        """`run` takes attempts whose start record is on disk, `ended` one that is not to run after all."""
        self._reader = around.reader
        self._wheel = around.wheel
        self._clock = around.clock
        self._runner_id = around.runner_id
        self._types = types
        self._dispatcher = dispatcher
        self._roster = roster
        self._abroad = abroad
        self._tallies = tallies
        self._tasks = tasks
        self._run = run
        self._ended = ended
        self._credits: dict[int, _Credit] = {}
        self._last_credit = 0
        self._reading = asyncio.Lock()
        self._begun: set[int] = set()
        """Records whose attempt has begun; one that is gone from the store is forgotten."""

    async def lend(self, lane: Lane, slots: int) -> Lent:
        """At most so many slots, to be used at once; none where none becomes free in time."""
        queue = self._dispatcher.lanes[lane]
        if not self._dispatcher.paused and not queue.to_lend:
            await self._becomes_free(queue)
        lent = 0 if self._dispatcher.paused else min(slots, queue.to_lend)
        if not lent:
            return Lent(0, 0, ())
        queue.lend(lent)
        self._last_credit += 1
        number = self._last_credit
        self._credits[number] = _Credit(lane, lent, self._wheel.after(LAPSE_S, partial(self._lapse, number)))
        return Lent(number, lent, tuple(self._types))

    async def _becomes_free(self, queue: LaneQueue) -> None:
        free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.borrowers.append(free)
        try:
            await asyncio.wait((free,), timeout=PATIENCE_S)
        finally:
            if free in queue.borrowers:
                queue.borrowers.remove(free)

    async def run(self, credit: int = 0) -> None:
        """Starts what is on record for this runner, in the slots of this credit. Raises PersistenceError."""
        async with self._reading:
            try:
                fresh = await self._recorded()
            finally:
                self._end(credit)
            for record, number, row in fresh:
                self._begin(record, number, row)

    async def interrupt(self, job: int, number: int) -> bool:
        """Cancels an attempt of another owner's job; whether it runs here. Raises PersistenceError."""
        attempt = self._abroad.find(job, number)
        if attempt is None:
            await self.run()  # it may have been put on record just now
            attempt = self._abroad.find(job, number)
        if attempt is None:
            return False
        if attempt.why is None and not attempt.ended:
            attempt.asked = self._clock.monotonic()
            attempt.interrupt(Interruption.CANCEL)
        return True

    async def _recorded(self) -> list[tuple[int, int, JobRow]]:
        """Record, attempt's number and job of what has not begun."""
        records = await self._reader.lent(self._runner_id)
        self._begun.intersection_update([record.id for record in records])
        fresh = [record for record in records if record.id not in self._begun]
        pairs = [(record.id, *pair) for record in fresh for pair in unpack_attempts(record.attempts)]
        rows = {row.id: row for row in await self._reader.live_of([job for _, job, _ in pairs])}
        return [(record, number, rows[job]) for record, job, number in pairs if job in rows]

    def _begin(self, record_id: int, number: int, row: JobRow) -> None:
        declared = self._types.get(row.job_type)
        if declared is None or row.attempt != number - 1:
            log.error("attempt %d of job %s is on record for this runner, which can't run it", number, row.id)
            return
        self._begun.add(record_id)
        held = Held(row, declared, self._tallies.of(row.job_type, row.priority), Phase.RUNNING)
        record = Record(record_id, 1)
        attempt = held.attempt = Attempt(held, record, self._dispatcher.begin_transaction)
        record.attempts = (attempt,)
        held.tally.running += 1
        self._keep(held, attempt)
        if self._dispatcher.paused:
            self._ended(attempt, GivenBack())
        else:
            self._dispatcher.lanes[declared.lane].occupy(row.priority)
            self._run([attempt])

    def _keep(self, held: Held, attempt: Attempt) -> None:
        """The job is another owner's, or has become ours meanwhile."""
        ours = self._roster.get(held.row.id)
        if ours is not None and ours.phase is Phase.ELSEWHERE and ours.away == Away(self._runner_id, attempt.number):
            ours.phase = Phase.GONE
            self._roster.hold(held)
        else:
            self._abroad.add(attempt)

    def _end(self, number: int) -> None:
        credit = self._credits.pop(number, None)
        if credit is not None:
            credit.lapse.cancel()
            self._dispatcher.come_back(credit.lane, credit.slots)

    def _lapse(self, number: int) -> None:
        """Whoever borrowed did not say what for; perhaps that is on record all the same."""
        self._end(number)
        self._tasks.start(self._look(), name="what is on record")

    async def _look(self) -> None:
        try:
            await self.run()
        except PersistenceError as error:
            log.warning("what is on record for this runner can't be read, and will be: %s", error)
            self._wheel.after(LAPSE_S, partial(self._lapse, 0))
