"""What may overlap on its way to the store, and what may not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import pytest

from holdfast.errors import JobDead, PersistenceError
from holdfast.jobs.context import job_context
from holdfast.jobs.definition import Job
from holdfast.jobs.handle import JobHandle
from holdfast.model.job import EndStart, JobEnd, JobRow, StartRecord, unpack_attempts
from holdfast.model.unit import Row, Unit
from holdfast.ports.commits import CommitItem

from .rig import Rig, eventually, simulated


@simulated
async def test_the_end_that_takes_a_start_record_away_stays_behind_the_other_ends(rig: Rig) -> None:
    """The attempts of a record are of jobs of several shards; all that is written about it is one line."""

    @rig.job
    async def work() -> None:
        await asyncio.sleep(1)

    await rig.open()
    added: list[CommitItem] = []
    add = rig.commits.add

    def noting(item: CommitItem) -> None:
        added.append(item)
        add(item)

    rig.commits.add = noting  # type: ignore[method-assign]
    for handle in await asyncio.gather(*(work.submit() for _ in range(20))):
        await handle.result()
    kinds = [{type(row) for row in item.rows} for item in added]
    of_all = [item.line for item, rows in zip(added, kinds, strict=True) if StartRecord in rows and JobRow not in rows]
    ends = [item.line for item, rows in zip(added, kinds, strict=True) if JobEnd in rows]
    assert len(of_all) == 1
    assert sum(EndStart in rows for rows in kinds) == 2
    assert sorted(ends).count(of_all[0]) >= 19
    submitted = {item.line for item, rows in zip(added, kinds, strict=True) if JobRow in rows}
    assert len(submitted) > 1


class Uncovered:
    """Attempts that have begun, and of which neither an end nor a start record was stored at some moment."""

    def __init__(self, rig: Rig) -> None:
        self._tables = rig.tables
        self._begun: dict[int, int] = {}
        self.found: list[tuple[int, int]] = []
        rig.faults.committed = self._look

    def begin(self) -> None:
        context = job_context()
        self._begun[int(context.job_id)] = context.attempt

    def _look(self, _incarnation: int | None, _units: Sequence[Unit]) -> None:
        records = self._tables.starts.rows.values()
        covered = {pair for record in records for pair in unpack_attempts(record.attempts)}
        for job, number in list(self._begun.items()):
            row = self._tables.jobs.rows.get(job)
            if row is None or row.attempt >= number:
                del self._begun[job]  # its end is stored
            elif (job, number) not in covered:
                self.found.append((job, number))


def refuse_once(rig: Rig, kind: type[Row], error: Exception) -> None:
    """The next commit with such a row."""

    def refuse(units: Sequence[Unit]) -> None:
        if any(isinstance(row, kind) for unit in units for row in unit.rows):
            rig.faults.before_commit = lambda _: None
            raise error

    rig.faults.before_commit = refuse


async def started_together(work: Job[[int], None], count: int) -> list[JobHandle[None]]:
    """Jobs of one start record: they come due at one moment."""
    return [await work.opts(delay=1.0).submit(number) for number in range(count)]


@simulated
async def test_a_start_record_stands_until_an_end_that_was_refused_is_written(rig: Rig) -> None:
    """The last end of its attempts is on its way already when the one before it is refused."""
    uncovered = Uncovered(rig)

    @rig.job
    async def work(number: int) -> None:
        uncovered.begin()
        await asyncio.sleep(1 + number / 10)

    await rig.open()
    handles = await started_together(work, 2)
    rig.faults.latency_s = lambda: 0.5
    refuse_once(rig, JobEnd, PersistenceError("the store is away"))
    for handle in handles:
        await handle.result()
    await rig.commits.drain()
    assert uncovered.found == [] and not rig.tables.starts.rows


@simulated
async def test_a_start_record_stands_while_an_attempts_own_transaction_commits(rig: Rig) -> None:
    uncovered = Uncovered(rig)

    @rig.job
    async def work(number: int) -> None:
        uncovered.begin()
        if number == 1:
            async with job_context().transaction():
                pass
        await asyncio.sleep(1 + number)

    await rig.open()
    for handle in await started_together(work, 3):
        await handle.result()
    await rig.commits.drain()
    assert uncovered.found == [] and not rig.tables.starts.rows


@pytest.mark.parametrize("seed", range(20))
def test_a_start_record_stands_for_what_has_not_ended_whatever_is_refused(seed: int) -> None:
    simulated(many_ends)(seed)


async def many_ends(rig: Rig, seed: int) -> None:
    uncovered, random = Uncovered(rig), Random(seed)
    refusals = [PersistenceError("not now"), PersistenceError("who knows", executed="unknown")]

    @rig.job(max_attempts=3)
    async def work(number: int) -> None:
        uncovered.begin()
        if number % 5 == 0:
            async with job_context().transaction():
                await asyncio.sleep(0.01)
        await asyncio.sleep(random.uniform(0, 0.2))

    def refuse(units: Sequence[Unit]) -> None:
        if random.random() < 0.2:
            raise random.choice(refusals)

    await rig.open()
    handles = await started_together(work, 30)
    rig.faults.latency_s = lambda: random.uniform(0, 0.05)
    rig.faults.before_commit = refuse
    for handle in handles:
        with suppress(JobDead):
            await handle.result()
    rig.faults.before_commit = lambda _: None
    await eventually(lambda: not rig.tables.starts.rows)
    assert uncovered.found == []
