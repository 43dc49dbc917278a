"""Slots of other runners: what waits here while all slots of this runner are taken runs there.

Which runner executes an attempt is its owner's choice alone, and stands in the start record; so limits of groups and
suspects are counted as for what runs here. Nothing is sent without a free slot that its executor has lent (`lending`
is the other side). From its start on the job is held as one that runs elsewhere, like those that came with a shard.

Slots are borrowed only where attempts take long: the end of one that runs elsewhere comes back through the inbox,
which costs a commit more, and slots that turn over quickly are free again before anybody has answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress

from holdfast.errors import HoldfastError, MalformedMessage, PersistenceError
from holdfast.kit.service import Periodic
from holdfast.kit.tasks import TaskOwner
from holdfast.model.job import StartRecord, pack_attempts
from holdfast.model.unit import Unit

from .attempt import Held, Phase
from .dispatch import Dispatcher
from .job_type import Lane
from .lanes import LaneQueue
from .lending import Lending
from .surroundings import ALONE, Surroundings
from .units import commit_then

LOOK_EVERY_S = 0.1
WORTH_S = 0.02
"""Seconds that an attempt must take on average for slots to be borrowed."""
LENDERS_MAX = 4
"""Runners that are asked at the same time for slots of one lane."""
NOTHING_LENT_S = 0.5
UNREACHED_S = 5.0
"""Seconds before a runner is asked again that had nothing to lend, or was not reached."""
TELL_AGAIN_S = 1.0

log = logging.getLogger(__name__)


class Borrowing:
    """Borrows slots and uses them."""

    def __init__(self, around: Surroundings, *, dispatcher: Dispatcher, lending: Lending, tasks: TaskOwner) -> None:
        self._around = around
        self._dispatcher = dispatcher
        self._lending = lending
        self._tasks = tasks
        self._executors = around.executors
        self._looks = Periodic("job slots", self._look, every_s=LOOK_EVERY_S)
        self._stuck = dict.fromkeys(Lane, False)
        self._asked: dict[Lane, set[int]] = {lane: set() for lane in Lane}
        self._not_before: dict[int, float] = {}
        self._reminded: set[int] = set()

    async def start(self) -> None:
        if self._executors is not ALONE:
            await self._looks.start()

    async def stop(self) -> None:
        await self._looks.stop()

    def remind(self, executors: Collection[int]) -> None:
        """What is on record for these may be from an owner that died before it could say so."""
        for executor in set(executors) - self._reminded:
            self._reminded.add(executor)
            self._tasks.start(self._remind(executor), name=f"records of runner {executor}")

    async def _remind(self, executor: int) -> None:
        try:
            await self._tell(executor, 0)
        finally:
            self._reminded.discard(executor)

    async def _look(self) -> None:
        for lane in Lane:
            queue = self._dispatcher.lanes[lane]
            turned, queue.turned = queue.turned, 0
            was_stuck = self._stuck[lane]
            slow = turned * WORTH_S < queue.slots * LOOK_EVERY_S
            self._stuck[lane] = slow and self._wants(queue)
            if was_stuck and self._stuck[lane]:
                self._ask(lane)

    def _wants(self, queue: LaneQueue) -> bool:
        return queue.queued > 0 and not queue.ready and not self._dispatcher.paused

    def _ask(self, lane: Lane) -> None:
        asked, now = self._asked[lane], self._around.clock.monotonic()
        self._not_before = {executor: when for executor, when in self._not_before.items() if when > now}
        others = [one for one in self._executors.others() if one not in asked and one not in self._not_before]
        self._around.random.shuffle(others)
        for executor in others[: LENDERS_MAX - len(asked)]:
            asked.add(executor)
            self._tasks.start(self._borrow(lane, executor), name=f"slots of runner {executor}")

    async def _borrow(self, lane: Lane, executor: int) -> None:
        """Uses its slots for as long as it lends some and there are none here."""
        pause_s = NOTHING_LENT_S
        try:
            while self._wants(self._dispatcher.lanes[lane]):
                if not await self._use(lane, executor):
                    break
        except HoldfastError as error:
            pause_s = UNREACHED_S
            log.info("no slots of runner %s were used: %s", executor, error)
        finally:
            self._asked[lane].discard(executor)
            self._not_before[executor] = self._around.clock.monotonic() + pause_s

    async def _use(self, lane: Lane, executor: int) -> bool:
        """Whether the executor had slots to lend."""
        wanted = min(self._dispatcher.lanes[lane].queued, self._around.settings.start_batch_max)
        lent = await self._executors.borrow(executor, lane, wanted)
        if not lent.slots:
            return False
        ids = [await self._around.ids.take() for _ in range(lent.slots)]
        jobs = self._dispatcher.take_for(executor, lane, lent)
        if jobs:
            await self._record(executor, ids, jobs)
        await self._tell(executor, lent.credit)
        return True

    async def _record(self, executor: int, ids: Sequence[int], jobs: Sequence[Held]) -> None:
        """A record for each: it ends with its attempt and need not be rewritten. Raises PersistenceError."""
        unit, now_us, me = Unit(), self._around.clock.now_us(), self._around.runner_id
        for number, held in zip(ids, jobs, strict=False):
            row = StartRecord(number, me, executor, pack_attempts([(held.row.id, held.row.attempt + 1)]), now_us)
            unit.add(row, len(row.attempts))

        def committed() -> None:
            for held in jobs:
                waited_us = self._around.clock.now_us() - held.row.eligible_at
                held.tally.waited(max(0, waited_us) / 1e6)
                if held.phase is Phase.STARTING:
                    held.phase = Phase.ELSEWHERE

        await commit_then(self._around.commits, unit, committed, lambda: self._dispatcher.not_lent(jobs))

    async def _tell(self, executor: int, credit: int) -> None:
        """Returns when the executor has heard that there is something on record for it, or is no more."""
        while True:
            try:
                if executor == self._around.runner_id:
                    await self._lending.run()
                else:
                    await self._executors.run(executor, credit)
                return
            except MalformedMessage:
                return  # of a version that knows of no such records
            except HoldfastError as error:
                log.info("runner %s does not hear what it is to run: %s", executor, error)
            await asyncio.sleep(TELL_AGAIN_S)
            with suppress(PersistenceError):
                if await self._executors.gone((executor,)):
                    return
