"""Taking shards up and giving them away.

Adopting reads what is stored, and only then are the shard's jobs ours: which attempts run elsewhere, how much there is,
what is due later. Releasing is the other way round: from its first moment on nothing of the shard starts here and no
end is written into its jobs; it returns when everything that had been handed to the store before is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from holdfast.errors import PersistenceError
from holdfast.kit.tasks import together
from holdfast.model.job import JobRow
from holdfast.model.ledger import LiveJobs
from holdfast.model.unit import Unit

from .attempt import Away, Phase
from .completion import Completion
from .dispatch import Dispatcher
from .elsewhere import Elsewhere
from .holdings import Holdings
from .intake import Intake
from .roster import Roster
from .schedule import ID_MAX
from .surroundings import Surroundings
from .tally import Tallies
from .units import commit_unit
from .waiters import Waiters

AGAIN_S = 0.1

log = logging.getLogger(__name__)


class Adoption:
    """Moves shards in and out of the engine's hands."""

    def __init__(
        self,
        around: Surroundings,
        *,
        holdings: Holdings,
        roster: Roster,
        intake: Intake,
        dispatcher: Dispatcher,
        completion: Completion,
        elsewhere: Elsewhere,
        tallies: Tallies,
        waiters: Waiters,
        changed: Callable[[], object],
        remind: Callable[[Collection[int]], object],
    ) -> None:
        """`changed` hears that gauges of the store are to be read anew, `remind` which executors run something."""
        self._around = around
        self._holdings = holdings
        self._roster = roster
        self._intake = intake
        self._dispatcher = dispatcher
        self._completion = completion
        self._elsewhere = elsewhere
        self._tallies = tallies
        self._waiters = waiters
        self._changed = changed
        self._remind = remind

    async def adopt(self, shards: Collection[int]) -> None:
        """Takes shards up that are this runner's by now. Raises PersistenceError; none of them is held then.

        Several calls may be under way, each for other shards.
        """
        fresh = [shard for shard in shards if shard not in self._holdings]
        if fresh:
            await self._adopt(fresh)

    async def _adopt(self, shards: Sequence[int]) -> None:
        reader, now_us, limit = self._around.reader, self._around.clock.now_us(), self._around.settings.window
        running, places, counts, upcoming = await together(
            self._elsewhere.under_way(shards),
            reader.group_places(shards=shards),
            reader.live_counts(due_before=now_us, shards=shards),
            reader.upcoming(due_after=now_us, id_after=ID_MAX, limit=limit, shards=shards),
        )
        async with self._intake.schedule.reading:
            self._holdings.add(shards)
            self._count(counts)
            for row, away in running:
                self._hold_running(row, away, now_us)
            for place in places:
                self._intake.groups.place(place.job, place.shard, place.job_type, place.group)
            self._intake.own(shards, now_us, upcoming, full=len(upcoming) == limit)
        self._remind({away.executor for _, away in running})
        self._changed()

    def _count(self, found: Sequence[LiveJobs]) -> None:
        for one in found:
            depth = self._tallies.of(one.job_type, one.priority).depth(one.shard)
            depth.waiting += one.due
            depth.due_later += one.due_later

    def _hold_running(self, row: JobRow, away: Away, now_us: int) -> None:
        depth = self._tallies.of(row.job_type, row.priority).depth(row.shard)
        if row.due_at > now_us:
            depth.due_later -= 1
        else:
            depth.waiting -= 1
        if row.group is not None:
            self._intake.groups.place(row.id, row.shard, row.job_type, row.group)
        attempt = self._completion.abroad.find(row.id, away.number) if away.executor == self._around.runner_id else None
        if attempt is not None and not attempt.ended:
            self._completion.abroad.remove(attempt)  # it comes home
            attempt.held.depth = depth
            self._roster.hold(attempt.held)
        else:
            self._elsewhere.hold(row, away)

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        """Gives shards up; attempts that run go on. Raises TimeoutError where the store's answers are still out."""
        gone = {shard for shard in shards if shard in self._holdings}
        self._holdings.remove(gone)
        self._intake.groups.forget(gone)
        self._intake.disown(gone)
        self._tallies.forget(gone)
        for held in self._roster:
            if held.row.shard in gone:
                self._roster.let_go(held.row.id)
                if held.attempt is not None:
                    self._completion.abroad.add(held.attempt)
                elif held.phase is not Phase.ENDING:
                    held.phase = Phase.GONE
        self._waiters.look_again()
        self._changed()
        async with asyncio.timeout(timeout_s):
            await self._known(set(shards))

    async def _known(self, shards: Collection[int]) -> None:
        """Returns once the outcome of everything handed to the store up to now is known."""
        await self._around.commits.settled()
        while rows := self._dispatcher.doubts():
            unit = Unit()
            unit.rows += rows
            try:
                await commit_unit(self._around.commits, unit)
            except PersistenceError as error:
                log.warning("shards can't be given away yet: %s", error)
                await asyncio.sleep(AGAIN_S)
            else:
                self._dispatcher.certain(unit)
        ended = [one for one in (*self._completion.settling, *self._completion.abroad) if one.ended]
        if unknown := [one.watch() for one in ended if one.held.row.shard in shards]:
            await asyncio.wait(unknown)  # until each is written, as the owner's word or as a report to the next one
