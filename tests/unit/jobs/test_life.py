"""A job's life: submitted, run, tried again, ended, and what the numbers say of it."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import JobDead
from holdfast.jobs.context import job_context
from holdfast.model.job import JobState

from .rig import Rig, simulated


@simulated
async def test_a_submitted_job_runs_and_its_result_comes_back(rig: Rig) -> None:
    """The result crosses the codec and reaches who waits."""

    @rig.job
    async def add(a: int, b: int = 2) -> int:
        return a + b

    await rig.open()
    handle = await add.submit(40)
    assert await handle.result() == 42
    assert not handle.duplicate
    status = await rig.engine.status(handle.id)
    assert (status.state, status.attempts, status.job_type) == (JobState.COMPLETED, 1, status.job_type)


@simulated
async def test_a_failing_attempt_is_tried_again_with_a_growing_pause(rig: Rig) -> None:
    """Pauses double, between half and all of their ceiling."""
    began: list[float] = []

    @rig.job(max_attempts=4)
    async def flaky() -> str:
        began.append(asyncio.get_running_loop().time())
        if len(began) < 4:
            raise OSError("not yet")
        return f"attempt {job_context().attempt}"

    await rig.open(retry_first=1.0, retry_max=100.0)
    assert await (await flaky.submit()).result() == "attempt 4"
    pauses = [later - earlier for earlier, later in zip(began, began[1:], strict=False)]
    for pause, ceiling in zip(pauses, (1, 2, 4), strict=True):
        assert ceiling / 2 <= pause <= ceiling + 0.1
    name = flaky.declared.name
    assert rig.metrics.value("jobs_retried_total", job_type=name, reason="Processing") == 3
    assert rig.metrics.value("jobs_failed_total", job_type=name, reason="Processing") == 3
    assert rig.metrics.value("jobs_completed_total", job_type=name) == 1


@simulated
async def test_a_job_that_used_up_its_tries_is_dead(rig: Rig) -> None:
    """It is kept with its last error, and who waits learns why."""

    @rig.job(max_attempts=2)
    async def broken(order: str) -> None:
        raise ValueError(f"no such order: {order}")

    await rig.open()
    handle = await broken.submit("o-1")
    with pytest.raises(JobDead, match="MaxRetries: ValueError: no such order: o-1"):
        await handle.result()
    (letter,) = await rig.engine.dead_letters()
    assert (letter.id, letter.attempts, letter.reason) == (handle.id, 2, "MaxRetries")
    assert letter.arguments == {"order": "o-1"}
    assert rig.metrics.value("jobs_dead_lettered_total", reason="MaxRetries") == 1
    assert rig.metrics.value("jobs_dlq_size", job_type=broken.declared.name) == 1
