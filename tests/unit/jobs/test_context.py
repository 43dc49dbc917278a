"""What a handler can do from within: progress, jobs of its own, statements of its own; all or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import HandlerEnded, JobDead, UsageError
from holdfast.jobs.context import JobContext, job_context
from holdfast.model.job import JobState

from .rig import Rig, eventually, simulated


def test_outside_of_a_handler_there_is_no_context() -> None:
    """It says so."""
    with pytest.raises(UsageError):
        job_context()


@simulated
async def test_a_handler_says_how_far_it_is(rig: Rig) -> None:
    """Its status shows it while it runs."""

    @rig.job
    async def work() -> str:
        job_context().progress(0.5, "half way")
        await asyncio.sleep(10)
        return job_context().job_id

    await rig.open()
    handle = await work.submit()
    await asyncio.sleep(1)  # it waits by now
    status = await rig.engine.status(handle.id)
    assert (status.state, status.progress, status.progress_text) == (JobState.RUNNING, 0.5, "half way")
    assert await handle.result() == handle.id


@simulated
async def test_each_attempt_has_a_context_of_its_own(rig: Rig) -> None:
    """In one slot, one after the other, also in tasks that a handler starts."""
    seen: list[JobContext] = []

    async def child() -> None:
        seen.append(job_context())

    @rig.job
    async def work() -> None:
        await asyncio.gather(asyncio.create_task(child()), asyncio.sleep(1))

    await rig.open(slots=1)
    handles = [await work.submit() for _ in range(3)]
    for handle in handles:
        await handle.result()
    assert [context.job_id for context in seen] == [handle.id for handle in handles]


@simulated
async def test_jobs_submitted_inside_a_handler_exist_only_if_it_completes(rig: Rig) -> None:
    """They commit with its end; a failed attempt's are never seen."""
    children: list[str] = []
    failed = False

    @rig.job
    async def child(name: str) -> None:
        children.append(name)

    @rig.job(max_attempts=2)
    async def parent() -> None:
        nonlocal failed
        await child.submit("staged")
        await child.opts(detached=True).submit("detached")
        if not failed:
            failed = True
            raise OSError

    await rig.open()
    await (await parent.submit()).result()
    await eventually(lambda: len(children) == 3)
    assert sorted(children) == ["detached", "detached", "staged"]
    assert rig.metrics.value("jobs_enqueued_total", job_type=child.declared.name) == 3
    assert (await rig.counts(child.declared.name)).completed == 3


@simulated
async def test_a_door_used_after_the_handler_ended_says_so(rig: Rig) -> None:
    """Nothing can join what is over."""
    later: list[asyncio.Task[Any]] = []

    @rig.job
    async def child() -> None: ...

    @rig.job
    async def parent() -> None:
        async def linger() -> None:
            await asyncio.sleep(5)
            await child.submit()

        later.append(asyncio.create_task(linger()))

    await rig.open()
    await (await parent.submit()).result()
    with pytest.raises(HandlerEnded):
        await later[0]


@simulated
async def test_a_transaction_ends_with_the_job(rig: Rig) -> None:
    """Committed when it completes, rolled back when it fails; other commits wait for it meanwhile."""
    fail = True

    @rig.job(max_attempts=2)
    async def work() -> str:
        nonlocal fail
        async with job_context().transaction():
            await child.submit()
        if fail:
            fail = False
            raise OSError
        return "done"

    @rig.job
    async def child() -> str:
        return "child"

    await rig.open()
    assert await (await work.submit()).result() == "done"
    await eventually(lambda: rig.metrics.value("jobs_completed_total", job_type=child.declared.name) == 1)
    assert (await rig.counts(child.declared.name)).enqueued == 1


@simulated
async def test_a_transaction_that_ran_out_of_time_fails_its_attempt(rig: Rig) -> None:
    """What it had written is gone, so the attempt can't complete."""

    @rig.job(max_attempts=1)
    async def work() -> None:
        async with job_context().transaction():
            pass
        await asyncio.sleep(60)

    await rig.open()
    with pytest.raises(JobDead, match="open for more than"):
        await (await work.submit()).result()


@simulated
async def test_an_error_that_leaves_the_block_rolls_back_and_the_handler_may_go_on(rig: Rig) -> None:
    """A transaction of its own does not have to fail the job."""

    @rig.job(max_attempts=1)
    async def work() -> str:
        try:
            async with job_context().transaction() as transaction:
                await transaction.execute("the memory store has no SQL")
        except UsageError:
            return "went on"
        return "not reached"

    await rig.open()
    assert await (await work.submit()).result() == "went on"
