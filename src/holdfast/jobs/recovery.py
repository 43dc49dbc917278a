"""Taking over: what was running when a runner died, before anything is dispatched.

The start records of dead executors say which attempts may have been under way. Each whose job is still at that attempt
gets one crash more, in the same commit that ends the records; so a take-over that dies itself counts nothing twice.
The attempt does not count as tried. A job that was part of `crashes_max` deaths is dead, with the reason
RunnerUnavailable: nobody knows that its handler ever failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from holdfast.model.job import EndStart, JobRow, JobState, StartRecord, unpack_attempts
from holdfast.model.unit import Unit
from holdfast.ports.reads import JobReader

from .outcomes import Dead
from .rows import crashed_row, end_row
from .surroundings import Surroundings
from .tally import Tallies
from .units import Commits, JobUnit
from .waiters import Waiters

log = logging.getLogger(__name__)


async def recover(
    around: Surroundings,
    *,
    tallies: Tallies,
    waiters: Waiters,
    alive: Callable[[int], bool],
) -> None:
    """Settles the start records of executors that are not `alive`. Raises PersistenceError; nothing changed then."""
    records = [record for record in await around.reader.starts() if not alive(record.executor)]
    if not records:
        return
    suspects = await _suspects(around.reader, records)
    now_us, unit = around.clock.now_us(), Unit()
    dead: list[tuple[JobRow, Dead]] = []
    for row in suspects:
        crashes = row.crashes + 1
        text = f"RunnerUnavailable: the runner died while attempt {row.attempt + 1} ran (death {crashes})"
        if crashes < around.settings.crashes_max:
            unit.add(crashed_row(row, text))
        else:
            dead.append((row, Dead("RunnerUnavailable", text)))
            unit.add(end_row(row, dead[-1][1], now_us, around.runner_id, attempted=0))
    for record in records:
        unit.add(EndStart(record.id))
    await _commit(around.commits, unit)
    log.warning("took over %d attempts of runners that died, %d jobs of them are dead now", len(suspects), len(dead))
    for row in suspects:
        tallies.of(row.job_type, row.priority).rescued()
    for row, outcome in dead:
        tally = tallies.of(row.job_type, row.priority)
        tally.died(outcome.reason)
        tally.duration(max(0, now_us - row.created_at) / 1e6)
        tally.attempts(row.attempt)
        tallies.died(row.job_type)
        waiters.ended(row, JobState.DEAD, outcome.error, outcome.reason)


async def _suspects(reader: JobReader, records: list[StartRecord]) -> list[JobRow]:
    """The jobs that are still at the attempt that stands in a record."""
    suspects: dict[int, JobRow] = {}
    for record in records:
        for job, number in unpack_attempts(record.attempts):
            row = await reader.live(job)
            if row is not None and row.attempt == number - 1:
                suspects[job] = row
    return list(suspects.values())


async def _commit(commits: Commits, unit: Unit) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    commits.add(JobUnit(unit, committed=lambda: done.set_result(None), failed=done.set_exception))
    await done
