"""The dead-letter queue: it never loses, replay is atomic and keeps the lineage."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import AlreadyCancelled, JobDead, JobNotFound
from holdfast.jobs.handle import JobHandle
from holdfast.model.ids import JobId
from holdfast.model.job import JobState

from .rig import Rig, simulated


async def died(handle: JobHandle[object]) -> None:
    with pytest.raises(JobDead):
        await handle.result()


@simulated
async def test_a_dead_job_is_replayed_once_and_keeps_its_lineage(rig: Rig) -> None:
    """The new job has all its tries, takes over the key, and the letter is gone from the queue."""
    broken = True

    @rig.job(max_attempts=1)
    async def work(n: int) -> int:
        if broken:
            raise OSError
        return n

    await rig.open()
    dead = await work.opts(key="k").submit(3)
    await died(dead)
    broken = False
    again = await rig.engine.replay(dead.id)
    assert again.id != dead.id
    assert await again.result() == 3
    assert (await rig.engine.status(again.id)).replay_of == dead.id
    assert (await rig.engine.status(dead.id)).state == JobState.DEAD
    with pytest.raises(AlreadyCancelled, match="replayed before"):
        await rig.engine.replay(dead.id)
    with pytest.raises(AlreadyCancelled, match="replayed before"):
        await rig.engine.discard(dead.id)
    assert await rig.engine.dead_letters() == []
    assert (await work.opts(key="k").submit(3)).id == again.id
    name = work.declared.name
    assert rig.metrics.value("jobs_replayed_total", job_type=name) == 1
    assert rig.metrics.value("jobs_dlq_size", job_type=name) == 0
    assert rig.metrics.value("jobs_enqueued_total", job_type=name) == 1


@simulated
async def test_of_many_replays_at_once_one_wins(rig: Rig) -> None:
    """The store's guard decides, and an innocent submit of the same batch is not harmed."""

    @rig.job(max_attempts=1)
    async def work(n: int) -> None:
        if n == 0:
            raise OSError

    await rig.open()
    dead = await work.submit(0)
    await died(dead)
    rig.faults.latency_s = lambda: 0.1
    results = await asyncio.gather(
        *(rig.engine.replay(dead.id) for _ in range(5)), work.submit(1), return_exceptions=True
    )
    assert sum(isinstance(one, AlreadyCancelled) for one in results) == 4
    assert isinstance(results[-1], JobHandle)
    await results[-1].result()


@simulated
async def test_a_discarded_letter_is_gone_for_good(rig: Rig) -> None:
    """It can be neither replayed nor discarded again."""

    @rig.job(max_attempts=1)
    async def work() -> None:
        raise OSError

    await rig.open()
    dead = await work.submit()
    await died(dead)
    await rig.engine.discard(dead.id)
    with pytest.raises(AlreadyCancelled, match="discarded before"):
        await rig.engine.replay(dead.id)
    assert rig.metrics.value("jobs_discarded_total") == 1
    assert rig.metrics.value("jobs_dlq_size") == 0
    assert rig.metrics.value("jobs_dead_lettered_total") == 1


@simulated
async def test_only_dead_jobs_are_letters(rig: Rig) -> None:
    """A completed job, and one that never was."""

    @rig.job
    async def work() -> None: ...

    await rig.open()
    handle = await work.submit()
    await handle.result()
    with pytest.raises(AlreadyCancelled, match="completed"):
        await rig.engine.replay(handle.id)
    with pytest.raises(JobNotFound):
        await rig.engine.replay(JobId("777777"))
    with pytest.raises(JobNotFound):
        await rig.engine.discard(JobId("777777"))


@simulated
async def test_letters_are_paged_by_id_and_filtered_by_type(rig: Rig) -> None:
    """With arguments by name."""

    @rig.job(max_attempts=1)
    async def one(n: int, *, label: str = "x") -> None:
        raise OSError(n)

    @rig.job(max_attempts=1)
    async def two() -> None:
        raise OSError

    await rig.open()
    handles = [await one.submit(n) for n in range(5)] + [await two.submit()]
    for handle in handles:
        await died(handle)
    first = await rig.engine.dead_letters(limit=3, job_type=one.declared.name)
    rest = await rig.engine.dead_letters(limit=3, after=first[-1].id, job_type=one.declared.name)
    assert [letter.id for letter in first + rest] == [handle.id for handle in handles[:5]]
    assert first[1].arguments == {"n": 1, "label": "x"}
    assert len(await rig.engine.dead_letters()) == 6


@simulated
async def test_the_size_of_the_queue_is_read_again_from_the_store(rig: Rig) -> None:
    """After a restart it is right without any dead job of this incarnation."""

    @rig.job(max_attempts=1)
    async def work() -> None:
        raise OSError

    await rig.open()
    await died(await work.submit())
    await rig.close()
    await asyncio.sleep(100)
    await rig.open()
    await asyncio.sleep(6)
    assert rig.metrics.value("jobs_dlq_size", job_type=work.declared.name) == 1
    assert 100 <= rig.metrics.value("jobs_dlq_oldest_age_seconds", job_type=work.declared.name) < 120
