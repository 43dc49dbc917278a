"""Jobs that a client left in the inbox, because no runner answered it.

The row goes from the inbox into the jobs in one commit, and only here is found out whether its key was free.

A job from the inbox was acknowledged under its own id, so that id must lead somewhere. When its key belongs to another
job with the same payload, it ends as `cancelled` with the reason Duplicate and the other's id, and who waits for it is
led on; with another payload it is dead, with the reason Validation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from holdfast.errors import JobKeyConflict
from holdfast.kit.hashing import payload_hash
from holdfast.model.job import ArchivedJob, JobRow, JobState
from holdfast.model.message import Take
from holdfast.model.unit import Unit

from .admission import Admission, KeyName, Known
from .holdings import Holdings
from .requests import DUPLICATE
from .surroundings import Surroundings
from .tally import Tallies
from .units import commit_then, nothing


class Inbound:
    """Moves jobs out of the inbox."""

    def __init__(
        self,
        around: Surroundings,
        *,
        admission: Admission,
        tallies: Tallies,
        holdings: Holdings,
        arrived: Callable[[JobRow], None],
    ) -> None:
        self._around = around
        self._admission = admission
        self._tallies = tallies
        self._holdings = holdings
        self._arrived = arrived

    async def take(self, row: JobRow, taken: Take) -> None:
        """Moves a job out of the inbox. Raises PersistenceError; it is still in the inbox then.

        So it is, without an error, where its shard is not served here (any more).
        """
        around = self._around
        shard = around.placement.of_job(row.id, row.job_type, row.key, row.group)
        if not self._holdings.serves(shard):
            return
        async with self._admission.exclusive.of((row.id,)):
            await around.commits.settled()  # of a submit that was given up its commit may be under way
            await self._take(row._replace(shard=shard, admitted_by=around.runner_id), taken)

    async def _take(self, row: JobRow, taken: Take) -> None:
        around = self._around
        if await around.reader.live(row.id) is not None or await around.reader.archived(row.id) is not None:
            await commit_then(around.commits, _unit(taken), nothing)  # it came directly too
            return
        if (key := row.key) is None:
            await self._take_in(row, taken)
            return
        row = row._replace(payload_hash=payload_hash(row.payload))
        name: KeyName = (row.job_type, row.group, key)
        async with self._admission.exclusive.of((name,)):
            known = await self._admission.find(name)
            if known is None:
                await self._take_in(row, taken)
            elif known.id == row.id:  # it came directly while this one waited for its key
                await commit_then(around.commits, _unit(taken), nothing)
            else:
                await self._end_at_once(row, taken, known, name)

    async def _take_in(self, row: JobRow, taken: Take) -> None:
        if not self._holdings.serves(row.shard):
            return
        await commit_then(self._around.commits, _unit(taken, row), partial(self._taken_in, row))

    def _taken_in(self, row: JobRow) -> None:
        self._tallies.of(row.job_type, row.priority).submitted.succeeded(0.0)
        self._arrived(row)

    async def _end_at_once(self, row: JobRow, taken: Take, known: Known, name: KeyName) -> None:
        if not self._holdings.serves(row.shard):
            return
        if known.payload_hash == row.payload_hash:
            ended = self._ended(row, JobState.CANCELLED, str(known.id), DUPLICATE)
        else:
            error = JobKeyConflict(f"the key {name[2]!r} of {name[0]} belongs to job {known.id} with other arguments")
            ended = self._ended(row, JobState.DEAD, str(error), error.reason)
        await commit_then(self._around.commits, _unit(taken, ended), partial(self._ended_at_once, ended))

    def _ended_at_once(self, ended: ArchivedJob) -> None:
        tally = self._tallies.of(ended.job_type, ended.priority)
        tally.submitted.succeeded(0.0)
        tally.duration(0.0)
        tally.attempts(0)
        if ended.state == JobState.DEAD:
            tally.died(ended.reason or "")
            self._tallies.died(ended.job_type)
        else:
            tally.deduplicated()
            tally.cancelled(0.0)

    def _ended(self, row: JobRow, state: JobState, error: str, reason: str) -> ArchivedJob:
        """The job as the archive keeps it; without its key, which leads to the first one."""
        return ArchivedJob(
            id=row.id,
            shard=row.shard,
            job_type=row.job_type,
            priority=row.priority,
            payload=row.payload if state is JobState.DEAD else b"",
            payload_hash=row.payload_hash,
            key=None,
            group=row.group,
            max_attempts=row.max_attempts,
            timeout_us=row.timeout_us,
            state=state,
            result=None,
            error=error,
            reason=reason,
            attempts=row.attempt,
            created_at=row.created_at,
            finished_at=self._around.clock.now_us(),
            admitted_by=row.admitted_by,
            finished_by=self._around.runner_id,
            replay_of=row.replay_of,
            replayed_at=None,
            discarded_at=None,
        )


def _unit(*rows: Take | JobRow | ArchivedJob) -> Unit:
    unit = Unit()
    for row in rows:
        unit.add(row, 0 if isinstance(row, Take) else len(row.payload))
    return unit
