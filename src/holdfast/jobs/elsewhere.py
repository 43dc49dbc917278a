"""Jobs of ours whose attempt runs on another runner: in a slot that it lent, or since it owned their shard before.

They are held, so that nothing starts them here, until the attempt's end is found in the inbox, or the attempt is over:
its executor was reaped, or left. The store says which: an attempt under way stands in a start record; the commit that
takes it out leaves its end in the inbox; and the reaper that takes a dead executor's records away counts the crash in
the same commit. So what stands in no record any more, and whose end is not in the inbox, is over, and runs again.

An end counts for the attempt it speaks of only: (job, number, executor). Any other was superseded and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import assert_never

from holdfast.errors import Conflict
from holdfast.model.inbox import AttemptEnd, decode_entry
from holdfast.model.job import EndStart, JobRow, JobState, StartRecord, unpack_attempts
from holdfast.model.message import Take
from holdfast.model.unit import Unit

from .attempt import Away, Held, Phase
from .holdings import Holdings
from .job_type import JobType
from .outcomes import Available, Cancelled, Completed, Dead, Outcome, Retry
from .roster import Roster
from .rows import end_row, followed
from .surroundings import Surroundings
from .tally import Tallies
from .units import commit_unit
from .waiters import Waiters

PAGE_ROWS = 1000

log = logging.getLogger(__name__)


class Elsewhere:
    """Holds those jobs and takes their ends."""

    def __init__(
        self,
        around: Surroundings,
        *,
        types: Mapping[str, JobType],
        holdings: Holdings,
        roster: Roster,
        waiters: Waiters,
        tallies: Tallies,
        arrived: Callable[[JobRow], None],
        finished: Callable[[JobRow], None],
    ) -> None:
        """`arrived` takes a job's row when it is to run again, `finished` when it has ended for good."""
        self._around = around
        self._types = types
        self._holdings = holdings
        self._roster = roster
        self._waiters = waiters
        self._tallies = tallies
        self._arrived = arrived
        self._finished = finished
        self._looking = asyncio.Lock()

    def hold(self, row: JobRow, away: Away) -> None:
        """The job is running, though not here. One of an unknown type is nobody's to start and need not be held."""
        declared = self._types.get(row.job_type)
        if declared is None:
            return
        held = Held(row, declared, self._tallies.of(row.job_type, row.priority), Phase.ELSEWHERE)
        held.away = away
        self._roster.hold(held)

    def held(self) -> list[Held]:
        return [held for held in self._roster if held.phase is Phase.ELSEWHERE]

    async def under_way(self, shards: Collection[int]) -> list[tuple[JobRow, Away]]:
        """The jobs of these shards with an attempt that runs somewhere, or whose end nobody has taken yet.

        First the records are read and then the inbox, since an attempt goes from one to the other.
        """
        found: dict[int, list[Away]] = {}
        for job, away in _attempts(await self._around.reader.starts(shards=shards)):
            found.setdefault(job, []).append(away)
        for end, _, _ in await self._ends(shards):
            found.setdefault(end.job, []).append(Away(end.executor, end.number))
        running: list[tuple[JobRow, Away]] = []
        for row in await self._around.reader.live_of(found) if found else ():
            if row.shard in shards:
                running += [(row, away) for away in found[row.id] if away.number == row.attempt + 1][:1]
        return running

    async def look_after(self) -> None:
        """Finds out which attempts elsewhere are over. Raises PersistenceError."""
        async with self._looking:
            held = self.held()
            if not held:
                return
            shards = {one.row.shard for one in held}
            records = await self._around.reader.starts(shards=shards)
            known = set(_attempts(records)).difference(await self._taken_back(records))
            for end, taken, shard in await self._ends(shards):
                known.add((end.job, Away(end.executor, end.number)))  # wherever this try to take it leads
                await self.take(end, taken, shard)
            for one in held:
                if one.phase is Phase.ELSEWHERE and (one.row.id, one.away) not in known:
                    await self._over(one)

    async def take(self, end: AttemptEnd, taken: Take, shard: int) -> None:
        """Moves an attempt's end from the inbox into the job. Raises PersistenceError; it is still there then."""
        if shard not in self._holdings:
            return
        held = self._roster.get(end.job)
        if held is not None and held.phase is Phase.ENDING and held.away is not None:
            return  # it is being taken
        row = held.row if held is not None else await self._unknown_type(end.job)
        away = Away(end.executor, end.number)
        if row is None or row.attempt != end.number - 1 or (held is not None and held.away != away):
            await self._take_away(taken)
            return
        outcome = _outcome(end, self._around.clock.now_us())
        if held is not None:
            held.phase = Phase.ENDING
        try:
            await self._write(row, outcome, taken)
        except BaseException:
            if held is not None and held.phase is Phase.ENDING:
                held.phase = Phase.ELSEWHERE if row.shard in self._holdings else Phase.GONE
            raise

    async def _unknown_type(self, job: int) -> JobRow | None:
        row = await self._around.reader.live(job)
        return row if row is not None and row.job_type not in self._types else None

    async def _take_away(self, taken: Take) -> None:
        unit = Unit()
        unit.add(taken)
        try:
            await commit_unit(self._around.commits, unit)
        except Conflict:
            return  # it is gone already

    async def _write(self, row: JobRow, outcome: Outcome, taken: Take) -> None:
        now_us, unit = self._around.clock.now_us(), Unit()
        unit.add(taken)
        unit.add(end_row(row, outcome, now_us, self._around.runner_id))
        written = commit_unit(self._around.commits, unit)
        written.add_done_callback(lambda done: self._written(row, outcome, now_us) if not _failed(done) else None)
        await asyncio.shield(written)

    def _written(self, row: JobRow, outcome: Outcome, now_us: int) -> None:
        self._let_go(row)
        tally = self._tallies.of(row.job_type, row.priority)
        match outcome:
            case Completed(result):
                tally.completed()
                self._waiters.completed(row, result)
            case Retry(_, reason, _):
                tally.retried(reason)
                self._arrived(followed(row, outcome))
                return
            case Available():
                self._arrived(followed(row, outcome))
                return
            case Dead(reason, error):
                tally.died(reason)
                self._tallies.died(row.job_type)
                self._waiters.ended(row, JobState.DEAD, error, reason)
            case Cancelled():
                tally.cancelled(0.0)
                self._waiters.ended(row, JobState.CANCELLED, None, None)
            case _:
                assert_never(outcome)
        tally.duration(max(0, now_us - row.created_at) / 1e6)
        tally.attempts(row.attempt + 1)
        self._finished(row)

    async def _over(self, held: Held) -> None:
        """No record speaks of the attempt any more: the job is as the store has it, and may start again."""
        row = await self._around.reader.live(held.row.id)
        if held.phase is not Phase.ELSEWHERE:
            return
        held.phase = Phase.GONE
        self._roster.let_go(held.row.id)
        if row is None:
            log.error("job %s ended while it was held for an attempt on runner %s", held.row.id, held.away)
        elif row.shard in self._holdings:
            log.info("the attempt of job %s on another runner is over; it runs again", row.id)
            self._arrived(row)
        self._waiters.look_again()

    def _let_go(self, row: JobRow) -> None:
        held = self._roster.get(row.id)
        if held is not None and held.away is not None:
            held.phase = Phase.GONE
            self._roster.let_go(row.id)

    async def _taken_back(self, records: Sequence[StartRecord]) -> list[tuple[int, Away]]:
        """What was put on record for an executor that was gone by then: no reaper has seen these records."""
        gone = await self._around.executors.gone({record.executor for record in records})
        orphans = [record for record in records if record.executor in gone]
        if orphans:
            unit = Unit()
            unit.rows += [EndStart(record.id) for record in orphans]
            await commit_unit(self._around.commits, unit)
        return _attempts(orphans)

    async def _ends(self, shards: Collection[int]) -> list[tuple[AttemptEnd, Take, int]]:
        """The ends of attempts that wait in the inbox of these shards: all of them, so that none is overlooked."""
        limit = PAGE_ROWS
        while True:
            rows = await self._around.inbox.inbox(limit=limit, shards=shards)
            if len(rows) < limit:
                break
            limit *= 2  # from the beginning, since ids commit out of order
        found: list[tuple[AttemptEnd, Take, int]] = []
        for row in rows:
            try:
                entry = decode_entry(row.kind, row.body)
            except ValueError:
                continue  # of a newer version; whoever takes the inbox says so
            if isinstance(entry, AttemptEnd):
                found.append((entry, Take(row.id), row.shard))
        return found


def _attempts(records: Iterable[StartRecord]) -> list[tuple[int, Away]]:
    return [
        (job, Away(record.executor, number)) for record in records for job, number in unpack_attempts(record.attempts)
    ]


def _failed(done: asyncio.Future[None]) -> bool:
    return done.cancelled() or done.exception() is not None


def _outcome(end: AttemptEnd, now_us: int) -> Outcome:
    """What the executor made of the attempt; a kind that this version does not know is an attempt given back."""
    reason, error = end.reason or "", end.error or ""
    match end.outcome:
        case "completed":
            return Completed(end.result)
        case "retry":
            return Retry(now_us + end.delay_us, reason, error)
        case "dead":
            return Dead(reason, error)
        case "cancelled":
            return Cancelled()
        case _:
            return Available()
