"""Jobs that a client left in the inbox, because no runner answered it.

The row goes from the inbox into the jobs in one commit, and only here is found out whether its key was free.

A job from the inbox was acknowledged under its own id, so that id must lead somewhere. When its key belongs to another
job with the same payload, it ends as `cancelled` with the reason Duplicate and the other's id, and who waits for it is
led on; with another payload it is dead, with the reason Validation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.errors import JobKeyConflict
from holdfast.kit.hashing import payload_hash
from holdfast.model.job import JobEnd, JobRow, JobState
from holdfast.model.message import Take
from holdfast.model.unit import Unit

from .admission import Admission, KeyName, Known
from .call import SubmitRules, shard_of_job
from .requests import DUPLICATE
from .surroundings import Surroundings
from .tally import Tallies
from .units import JobUnit


class Inbound:
    """Moves jobs out of the inbox."""

    def __init__(
        self,
        around: Surroundings,
        *,
        admission: Admission,
        tallies: Tallies,
        shard_count: int,
        arrived: Callable[[JobRow], None],
    ) -> None:
        self._around = around
        self._admission = admission
        self._tallies = tallies
        self._shard_count = shard_count
        self._arrived = arrived

    async def adopt(self, row: JobRow, taken: Take) -> None:
        """Moves a job out of the inbox. Raises PersistenceError; it is still in the inbox then."""
        around = self._around
        if await around.reader.live(row.id) is not None or await around.reader.archived(row.id) is not None:
            await self._commit(_unit(taken))  # it came directly too
            return
        rules = SubmitRules(priority=row.priority, key=row.key, group=row.group)
        shard = shard_of_job(row.id, row.job_type, rules, self._shard_count)
        row = row._replace(shard=shard, admitted_by=around.runner_id)
        if (key := row.key) is None:
            await self._take_in(row, taken)
            return
        row = row._replace(payload_hash=payload_hash(row.payload))
        name: KeyName = (row.job_type, row.group, key)
        async with self._admission.key_of_ours(name):
            known = await self._admission.find(name)
            if known is None:
                await self._take_in(row, taken)
            else:
                await self._end_at_once(row, taken, known, name)

    async def _take_in(self, row: JobRow, taken: Take) -> None:
        await self._commit(_unit(taken, row))
        self._tallies.of(row.job_type, row.priority).submitted.succeeded(0.0)
        self._arrived(row)

    async def _end_at_once(self, row: JobRow, taken: Take, known: Known, name: KeyName) -> None:
        tally, now_us = self._tallies.of(row.job_type, row.priority), self._around.clock.now_us()
        keyless = row._replace(key=None, due_at=_NEVER)  # should only the first unit be written, it does not run
        if known.payload_hash == row.payload_hash:
            end = _end(keyless, JobState.CANCELLED, str(known.id), DUPLICATE, now_us, self._around.runner_id)
        else:
            error = JobKeyConflict(f"the key {name[2]!r} of {name[0]} belongs to job {known.id} with other arguments")
            end = _end(keyless, JobState.DEAD, str(error), error.reason, now_us, self._around.runner_id)
        # A unit's rows are written by kind, and ends come before new rows: so the end is a unit of its own, behind.
        stored, ended = self._add(_unit(taken, keyless)), self._add(_unit(end))
        await asyncio.gather(asyncio.shield(stored), asyncio.shield(ended))
        tally.submitted.succeeded(0.0)
        tally.duration(0.0)
        tally.attempts(0)
        if end.state == JobState.DEAD:
            tally.died(end.reason or "")
            self._tallies.died(row.job_type)
        else:
            tally.deduplicated()
            tally.cancelled(0.0)

    async def _commit(self, unit: Unit) -> None:
        await asyncio.shield(self._add(unit))

    def _add(self, unit: Unit) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._around.commits.add(
            JobUnit(
                unit,
                committed=lambda: None if done.done() else done.set_result(None),
                failed=lambda error: None if done.done() else done.set_exception(error),
            )
        )
        return done


_NEVER = 2**62


def _unit(*rows: Take | JobRow | JobEnd) -> Unit:
    unit = Unit()
    for row in rows:
        unit.add(row, len(row.payload) if isinstance(row, JobRow) else 0)
    return unit


def _end(row: JobRow, state: JobState, error: str, reason: str, now_us: int, runner_id: int) -> JobEnd:
    return JobEnd(row.id, row.attempt, state, None, error, reason, row.attempt, now_us, runner_id)
