"""Critical jobs beside a backlog: what they wait for, and what they don't."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from holdfast.errors import PersistenceError
from holdfast.model.job import JobRow, StartRecord, unpack_attempts
from holdfast.model.unit import Row

from .rig import Rig, eventually, simulated

LONG_S = 3600.0


async def backlog(rig: Rig, low: Any, jobs: int, **settings: Any) -> None:
    """A runner with so many jobs, and slots that all of them want."""
    await rig.open(**settings)
    await rig.engine.submit_many([low.call() for _ in range(jobs)])


def commits_of(rig: Rig) -> list[list[Row]]:
    """The rows of each commit from here on."""
    commits: list[list[Row]] = []
    rig.faults.before_commit = lambda units: commits.append([row for unit in units for row in unit.rows])
    return commits


def starts_in(rows: list[Row]) -> list[int]:
    """The jobs that start with this commit."""
    records = [row for row in rows if isinstance(row, StartRecord)]
    return [job for record in records for job, _ in unpack_attempts(record.attempts)]


@simulated
async def test_a_critical_job_starts_with_its_commit_while_others_fill_all_their_slots(rig: Rig) -> None:
    started: list[float] = []

    @rig.job(priority="low")
    async def low() -> None:
        await asyncio.sleep(LONG_S)

    @rig.job(priority="critical")
    async def urgent() -> None:
        started.append(rig.clock.monotonic())

    await backlog(rig, low, 100, slots=40)
    await eventually(lambda: rig.metrics.value("jobs_running", job_type=low.declared.name) == 38)
    assert rig.metrics.value("jobs_worker_slots", state="free") == 2 + 16 + 2  # and those in threads and processes
    commits = commits_of(rig)
    began = rig.clock.monotonic()
    handle = await urgent.submit()
    await handle.result()
    assert started == [began]
    assert starts_in(commits[0]) == [int(handle.id)]
    assert rig.metrics.value("jobs_running", job_type=low.declared.name) == 38


@simulated
async def test_without_critical_jobs_no_slot_is_kept(rig: Rig) -> None:
    @rig.job(priority="low")
    async def low() -> None:
        await asyncio.sleep(LONG_S)

    @rig.job(priority="high")
    async def soon() -> None: ...

    await backlog(rig, low, 100, slots=40)
    await eventually(lambda: rig.metrics.value("jobs_running") == 40)


@simulated
async def test_critical_jobs_that_outnumber_the_slots_share_them_with_the_others(rig: Rig) -> None:
    """Nobody starves, whoever came first."""
    ended: list[str] = []

    @rig.job(priority="low")
    async def low() -> None:
        await asyncio.sleep(1)
        ended.append("low")

    @rig.job(priority="critical")
    async def urgent() -> None:
        await asyncio.sleep(1)
        ended.append("urgent")

    await rig.open(slots=40)
    await rig.engine.submit_many([urgent.call() for _ in range(400)] + [low.call() for _ in range(100)])
    await eventually(lambda: len(ended) == 500, within_s=60)
    assert ended[:200].count("low") in range(30, 50)


@simulated
async def test_a_start_does_not_wait_for_pages_that_are_read(rig: Rig) -> None:
    """Those of the backlog, which may be as long as the store likes; also of a job whose time comes meanwhile."""
    reading, go_on = asyncio.Event(), asyncio.Event()

    @rig.job(priority="low")
    async def low() -> None:
        await asyncio.sleep(1)

    @rig.job(priority="critical")
    async def urgent() -> str:
        return "done"

    await backlog(rig, low, 200, slots=20, window=10)
    read = rig.around.reader.available

    async def slowly(**page: Any) -> Sequence[JobRow]:
        reading.set()
        await go_on.wait()
        return await read(**page)

    rig.store.jobs.available = slowly  # type: ignore[method-assign]
    await reading.wait()
    for _ in range(3):
        assert await (await urgent.submit()).result(timeout=1.0) == "done"
    assert await (await urgent.opts(delay=5.0).submit()).result(timeout=5.5) == "done"
    go_on.set()
    await eventually(lambda: rig.metrics.value("jobs_completed_total") == 204)


@simulated
async def test_a_page_that_cannot_be_read_is_read_a_little_later(rig: Rig) -> None:
    """Not again and again, however much happens meanwhile."""
    refused: list[float] = []

    @rig.job(priority="low")
    async def low() -> None:
        await asyncio.sleep(0.01)

    await backlog(rig, low, 200, slots=20, window=10)
    read = rig.around.reader.available

    async def refuses(**page: Any) -> Sequence[JobRow]:
        if len(refused) == 3:
            return await read(**page)
        refused.append(rig.clock.monotonic())
        raise PersistenceError("the store refuses")

    rig.store.jobs.available = refuses  # type: ignore[method-assign]
    await eventually(lambda: rig.metrics.value("jobs_completed_total") == 200)
    assert [round(later - sooner, 2) for sooner, later in pairwise(refused)] == [0.5, 0.5]


@pytest.mark.parametrize("priority", ["critical", "high"])
def test_a_critical_job_takes_its_start_along_though_the_store_is_busy(priority: str) -> None:
    """Others are stored first then: that is cheaper for all together, and a critical one is not to wait for two."""
    simulated(_beside_a_commit)(priority)


async def _beside_a_commit(rig: Rig, priority: str) -> None:
    @rig.job
    async def normal() -> None: ...

    @rig.job(priority=priority)
    async def urgent() -> None: ...

    await rig.open()
    rig.faults.latency_s = lambda: 0.1
    first = asyncio.create_task(normal.submit())
    await asyncio.sleep(0.05)
    commits = commits_of(rig)
    handle = await urgent.submit()
    await handle.result()
    await (await first).result()
    urgent_id = int(handle.id)
    stored = next(rows for rows in commits if any(isinstance(row, JobRow) and row.id == urgent_id for row in rows))
    assert (urgent_id in starts_in(stored)) is (priority == "critical")


@simulated
async def test_a_critical_job_waits_for_no_commit_but_its_own(rig: Rig) -> None:
    """Where the store works on several at a time: those under way go on beside it, and others begin after it."""

    @rig.job
    async def normal() -> None: ...

    @rig.job(priority="critical")
    async def urgent() -> None: ...

    rig.lanes = 2
    await rig.open()
    rig.faults.latency_s = lambda: 0.1
    others = [asyncio.create_task(normal.submit()) for _ in range(10)]
    await asyncio.sleep(0.05)
    began = rig.clock.monotonic()
    await urgent.submit()
    assert rig.clock.monotonic() - began == pytest.approx(0.1)
    await asyncio.gather(*others)
