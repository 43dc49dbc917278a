"""Taking over: what was running when a runner died, before anything is dispatched.

Whoever reaped the runner has counted a crash for each of its attempts, in the commit that ended its start records; so
nothing is counted twice. The attempt does not count as tried. A job that was part of `crashes_max` deaths is dead, with
the reason RunnerUnavailable: nobody knows that its handler ever failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from holdfast.model.job import CRASHED, PRIORITY_RANK, JobRow, JobState
from holdfast.model.unit import Unit
from holdfast.ports.reads import JobReader

from .outcomes import Dead
from .rows import end_row
from .surroundings import Surroundings
from .tally import Tallies
from .units import Commits, JobUnit
from .waiters import Waiters

PAGE_ROWS = 1000
DUE_MAX = 2**62

log = logging.getLogger(__name__)


async def recover(around: Surroundings, *, shards: Collection[int], tallies: Tallies, waiters: Waiters) -> None:
    """Ends the jobs of these shards that were part of too many deaths. Raises PersistenceError; none has ended then."""
    suspects = [row for row in await _suspects(around.reader, shards) if row.last_error == CRASHED]
    condemned = [row for row in suspects if row.crashes >= around.settings.crashes_max]
    for row in suspects:
        tallies.of(row.job_type, row.priority).rescued()
    if not condemned:
        return
    now_us, unit, outcome = around.clock.now_us(), Unit(), Dead("RunnerUnavailable", CRASHED)
    for row in condemned:
        unit.add(end_row(row, outcome, now_us, around.runner_id, attempted=0))
    await _commit(around.commits, unit)
    log.warning("%d jobs were part of %d deaths of a runner and are dead", len(condemned), around.settings.crashes_max)
    for row in condemned:
        tally = tallies.of(row.job_type, row.priority)
        tally.died(outcome.reason)
        tally.duration(max(0, now_us - row.created_at) / 1e6)
        tally.attempts(row.attempt)
        tallies.died(row.job_type)
        waiters.ended(row, JobState.DEAD, outcome.error, outcome.reason)


async def _suspects(reader: JobReader, shards: Collection[int]) -> list[JobRow]:
    """The jobs that were running in a crash."""
    found: list[JobRow] = []
    for shard in shards:
        for priority in PRIORITY_RANK.values():
            after = 0
            while rows := await reader.available(
                shard=shard, priority=priority, after=after, limit=PAGE_ROWS, due_before=DUE_MAX
            ):
                found += [row for row in rows if row.crashes]
                after = rows[-1].id
                if len(rows) < PAGE_ROWS:
                    break
    return found


async def _commit(commits: Commits, unit: Unit) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    commits.add(JobUnit(unit, committed=lambda: done.set_result(None), failed=done.set_exception))
    await done
