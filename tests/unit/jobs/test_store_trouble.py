"""A store that refuses: what is acknowledged is on disk, what a handler did is not done twice for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from holdfast.errors import PersistenceError
from holdfast.model.job import JobEnd, JobRow, StartRecord
from holdfast.model.unit import Unit

from .rig import Rig, eventually, simulated


def refuse(rig: Rig, kind: type, *, times: int) -> list[int]:
    """The next commits with a row of this kind fail; returns what counts them."""
    refused = [0]

    def before(units: Sequence[Unit]) -> None:
        if refused[0] < times and any(isinstance(row, kind) for unit in units for row in unit.rows):
            refused[0] += 1
            raise PersistenceError("disk full")

    rig.faults.before_commit = before
    return refused


@simulated
async def test_a_submit_that_was_not_stored_raises(rig: Rig) -> None:
    """And leaves no job behind; the next one is as good as ever."""

    @rig.job
    async def work() -> int:
        return 1

    await rig.open()
    refuse(rig, JobRow, times=1)
    with pytest.raises(PersistenceError):
        await work.submit()
    assert rig.metrics.value("jobs_failed_total", reason="PersistenceError") == 1
    assert rig.metrics.value("jobs_enqueued_total", job_type=work.declared.name) == 0
    assert await (await work.submit()).result() == 1


@simulated
async def test_nothing_starts_before_its_start_record_is_stored(rig: Rig) -> None:
    """It is offered again a little later, in the same order."""
    runs: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        runs.append(n)

    await rig.open()
    refused = refuse(rig, StartRecord, times=3)
    handles = await rig.engine.submit_many([work.call(n) for n in range(5)])
    await eventually(lambda: refused[0] == 2)
    assert runs == []
    for handle in handles:
        await handle.result()
    assert runs == [0, 1, 2, 3, 4]
    assert rig.metrics.value("jobs_worker_slots", state="busy") == 0
    assert rig.metrics.value("jobs_queue_depth", job_type=work.declared.name) == 0


@simulated
async def test_an_end_that_was_not_stored_is_offered_again_and_not_run_again(rig: Rig) -> None:
    """The handler did its work once."""
    runs = 0

    @rig.job
    async def work() -> int:
        nonlocal runs
        runs += 1
        return runs

    await rig.open()
    refused = refuse(rig, JobEnd, times=4)
    assert await (await work.submit()).result() == 1
    assert (runs, refused) == (1, [4])
    assert rig.metrics.value("jobs_completed_total") == 1


@simulated
async def test_a_slow_store_slows_down_and_loses_nothing(rig: Rig) -> None:
    """Commits that take their time overlap with everything else."""
    done: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        await asyncio.sleep(0.01 * (n % 3))
        done.append(n)

    await rig.open(slots=5, window=3)
    rig.faults.latency_s = lambda: rig.around.random.uniform(0, 0.2)

    async def submitter(part: int) -> None:
        for n in range(20):
            await work.opts(key=f"{part}/{n // 2}", delay=float(n % 3)).submit(part)

    await asyncio.gather(*(submitter(part) for part in range(8)))
    await eventually(lambda: rig.metrics.value("jobs_completed_total") == 80, within_s=300)
    assert len(done) == 80
    counts = await rig.counts(work.declared.name)
    assert (counts.enqueued, counts.completed, counts.live) == (80, 80, 0)
    assert rig.tables.starts.rows == {}
