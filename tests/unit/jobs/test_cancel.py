"""Cancel tells the truth: before the start, while running, or too late."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import AlreadyCancelled, JobCancelled, JobNotFound
from holdfast.jobs.definition import declare_job
from holdfast.jobs.door import CancelOutcome
from holdfast.model.ids import JobId
from holdfast.model.job import JobState

from .rig import SHARDS, Rig, eventually, simulated


@simulated
async def test_a_waiting_job_is_cancelled_before_it_starts(rig: Rig) -> None:
    """Waiting for a slot, for its time, or for its next attempt: it never runs (again)."""
    runs: list[str] = []

    @rig.job
    async def work(name: str) -> None:
        runs.append(name)
        if name == "failing":
            raise OSError
        await asyncio.sleep(100)

    await rig.open(slots=1, retry_first=1000.0, retry_max=1000.0)
    failing = await work.submit("failing")
    await eventually(lambda: runs == ["failing"])
    await work.submit("blocker")
    await eventually(lambda: runs == ["failing", "blocker"])
    waiting = await work.submit("waiting")
    later = await work.opts(delay=10.0).submit("later")
    assert (await rig.engine.status(failing.id)).state == JobState.RETRYING
    for handle in (waiting, later, failing):
        assert await rig.engine.cancel(handle.id) is CancelOutcome.BEFORE_START
        assert (await rig.engine.status(handle.id)).state == JobState.CANCELLED
        with pytest.raises(JobCancelled):
            await handle.result()
        with pytest.raises(AlreadyCancelled):
            await rig.engine.cancel(handle.id)
    await asyncio.sleep(5000)
    assert runs == ["failing", "blocker"]
    name = work.declared.name
    assert rig.metrics.value("jobs_cancelled_total", job_type=name) == 3
    assert rig.metrics.value("jobs_failed_total", job_type=name, reason="AlreadyCancelled") == 3
    assert rig.metrics.value("jobs_queue_depth", job_type=name) == 0
    assert rig.metrics.value("jobs_scheduled", job_type=name) == 0


@simulated
async def test_a_running_job_is_interrupted_where_it_waits(rig: Rig) -> None:
    """Its handler cleans up first; the slot goes on."""
    begun: list[str] = []
    cleaned: list[str] = []

    @rig.job
    async def work() -> None:
        begun.append("yes")
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            cleaned.append("yes")

    await rig.open(slots=1)
    for number in range(3):
        handle = await work.submit()
        await eventually(lambda number=number: len(begun) > number)
        assert await rig.engine.cancel(handle.id) is CancelOutcome.INTERRUPTED
        with pytest.raises(JobCancelled):
            await handle.result()
    assert cleaned == ["yes"] * 3
    assert rig.metrics.value("jobs_cancelled_total") == 3
    assert (await rig.counts(work.declared.name)).cancelled == 3


@simulated
async def test_a_cancel_that_comes_too_late_says_so(rig: Rig) -> None:
    """Also when the handler makes its end in spite of the interruption."""

    @rig.job
    async def stubborn() -> str:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return "done all the same"
        return "done"

    await rig.open()
    handle = await stubborn.submit()
    await asyncio.sleep(1)  # it waits by now
    with pytest.raises(AlreadyCancelled, match="completed"):
        await rig.engine.cancel(handle.id)
    assert await handle.result() == "done all the same"


@simulated
async def test_a_handler_that_takes_long_to_end_gets_a_cancel_requested(rig: Rig) -> None:
    """And is cancelled when it has ended."""

    @rig.job
    async def slow() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(60)

    await rig.open()
    handle = await slow.submit()
    await asyncio.sleep(1)  # it waits by now
    assert await rig.engine.cancel(handle.id) is CancelOutcome.REQUESTED
    with pytest.raises(JobCancelled):
        await handle.result()
    assert rig.metrics.value("jobs_cancelled_total") == 1


@simulated
async def test_a_handler_that_fails_after_its_cancel_is_not_tried_again(rig: Rig) -> None:
    """Nobody wants it any more."""

    @rig.job(max_attempts=5)
    async def failing() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            raise OSError("while cleaning up")

    await rig.open()
    handle = await failing.submit()
    await eventually(lambda: rig.metrics.value("jobs_running") == 1)
    assert await rig.engine.cancel(handle.id) is CancelOutcome.INTERRUPTED


@simulated
async def test_a_cancel_between_start_record_and_handler_keeps_the_handler_from_running(rig: Rig) -> None:
    """By the books it was running, so it is interrupted; but nothing of it ever ran."""
    runs = 0

    @rig.job
    async def work() -> None:
        nonlocal runs
        runs += 1

    await rig.open()
    rig.faults.latency_s = lambda: 1.0
    handles = await rig.engine.submit_many([work.call(), work.call()])
    await asyncio.sleep(0.5)  # their start record is on its way
    cancels = await asyncio.gather(*(rig.engine.cancel(handle.id) for handle in handles))
    assert cancels == [CancelOutcome.INTERRUPTED] * 2
    assert runs == 0


@simulated
async def test_jobs_that_are_in_the_store_only_can_be_cancelled_too(rig: Rig) -> None:
    """Beyond the windows, and of a type that is not registered here."""

    @rig.job
    async def work(n: int) -> None:
        await asyncio.sleep(1)

    async def stranger() -> None: ...

    unknown = declare_job(stranger)
    unknown.door = lambda: rig.engine
    await rig.open(window=1, slots=1)
    handles = await rig.engine.submit_many([work.call(n) for n in range(4 * SHARDS)])
    handles += await rig.engine.submit_many([work.opts(delay=float(500 - n)).call(n) for n in range(10)])
    outside = [handle for handle in handles if int(handle.id) not in rig.engine._roster]
    assert len(outside) > 10
    for handle in [*outside, await unknown.submit()]:
        assert await rig.engine.cancel(handle.id) is CancelOutcome.BEFORE_START
    await eventually(lambda: rig.metrics.value("jobs_completed_total") == len(handles) - len(outside), within_s=1000)
    assert rig.metrics.value("jobs_queue_depth", job_type=work.declared.name) == 0
    assert rig.metrics.value("jobs_scheduled", job_type=work.declared.name) == 0


@simulated
async def test_two_cancels_at_once_agree(rig: Rig) -> None:
    """One did it, the other came too late or did it too; the count says one."""

    @rig.job
    async def work() -> None:
        await asyncio.sleep(1000)

    await rig.open(slots=1)
    running, waiting = await work.submit(), await work.submit()
    await eventually(lambda: rig.metrics.value("jobs_running") == 1)
    rig.faults.latency_s = lambda: 0.1
    for handle in (waiting, running):
        outcomes = await asyncio.gather(*(rig.engine.cancel(handle.id) for _ in range(2)), return_exceptions=True)
        assert {type(one) for one in outcomes} <= {CancelOutcome, AlreadyCancelled}
        assert any(isinstance(one, CancelOutcome) for one in outcomes)
    assert rig.metrics.value("jobs_cancelled_total") == 2


@simulated
async def test_cancelling_what_does_not_exist_is_not_found(rig: Rig) -> None:
    """And counted as a failed request."""
    await rig.open()
    with pytest.raises(JobNotFound):
        await rig.engine.cancel(JobId("12345"))
    assert rig.metrics.value("jobs_failed_total", reason="NotFound") == 1


@simulated
async def test_an_interrupted_attempt_leaves_no_cancel_behind_for_the_next(rig: Rig) -> None:
    """The slot's task is as good as new."""
    pending: list[int] = []

    @rig.job
    async def work(seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        pending.append(task.cancelling())
        await asyncio.sleep(seconds)

    await rig.open(slots=1)
    first = await work.submit(1000.0)
    await eventually(lambda: len(pending) == 1)
    await rig.engine.cancel(first.id)
    await (await work.submit(1.0)).result()
    assert pending == [0, 0]
