"""A job that finds a free slot starts with the commit that stores it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holdfast.errors import PersistenceError
from holdfast.model.job import JobRow, StartRecord
from holdfast.model.unit import Unit

from .rig import Rig, eventually, simulated


def noted(rig: Rig) -> list[list[type]]:
    """The types of the rows of each commit from here on."""
    commits: list[list[type]] = []
    rig.faults.before_commit = lambda units: commits.append([type(row) for unit in units for row in unit.rows])
    return commits


@simulated
async def test_a_lone_job_needs_one_commit_to_its_start(rig: Rig) -> None:
    seen: list[list[list[type]]] = []

    @rig.job
    async def work() -> None:
        seen.append(list(commits))

    await rig.open()
    commits = noted(rig)
    await (await work.submit()).result()
    assert seen == [[[JobRow, StartRecord]]]
    assert (await rig.counts(work.declared.name)).completed == 1
    assert not rig.tables.starts.rows


@simulated
async def test_jobs_that_come_together_share_a_start_record(rig: Rig) -> None:
    @rig.job
    async def work() -> None:
        await asyncio.sleep(1)

    await rig.open()
    commits = noted(rig)
    handles = await asyncio.gather(*(work.submit() for _ in range(20)))
    for handle in handles:
        await handle.result()
    assert sum(rows.count(StartRecord) for rows in commits) == 2  # the first one's, and one for all others


@simulated
async def test_a_job_waits_behind_those_that_wait_already(rig: Rig) -> None:
    order: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        order.append(n)
        await asyncio.sleep(1)

    await rig.open(slots=1)
    handles = [await work.submit(n) for n in range(5)]
    for handle in handles:
        await handle.result()
    assert order == [0, 1, 2, 3, 4]


@simulated
async def test_a_job_that_was_not_stored_never_runs_and_gives_its_slot_back(rig: Rig) -> None:
    runs: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        runs.append(n)

    def refuse(_: Sequence[Unit]) -> None:
        raise PersistenceError("the disk refuses")

    await rig.open(slots=1)
    rig.faults.before_commit = refuse
    with pytest.raises(PersistenceError):
        await work.submit(1)
    noted(rig)
    for n in (2, 3):
        await (await work.submit(n)).result()
    assert runs == [2, 3]
    assert rig.metrics.value("jobs_running") == 0
    assert rig.engine.under_way(rig.clock.now_us()) == 0


@simulated
async def test_a_crash_between_start_and_end_is_counted(rig: Rig) -> None:
    """The start record was there before the handler, as for any other job."""
    runs: list[int] = []

    @rig.job
    async def work() -> None:
        runs.append(1)
        await asyncio.sleep(1000 if len(runs) == 1 else 0)

    await rig.open()
    handle = await work.submit()
    await eventually(lambda: len(runs) == 1)
    await rig.crash()
    await rig.open()
    assert [row.crashes for row in rig.tables.jobs.rows.values()] == [1]
    await rig.engine.wait(handle.id)
    assert len(runs) == 2
