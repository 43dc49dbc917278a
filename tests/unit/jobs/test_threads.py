"""Sync handlers run in threads: many at once, bounded, and truthful where a thread can't be stopped."""

from __future__ import annotations

import threading

import pytest

from holdfast.errors import AlreadyCancelled, JobDead
from holdfast.jobs.context import job_context
from holdfast.jobs.door import CancelOutcome

from .rig import Rig, eventually, simulated, until

PATIENCE_S = 30.0


@simulated
async def test_a_sync_job_runs_off_the_loop(rig: Rig) -> None:
    """With its context and its result through the codec."""

    @rig.job
    def where(prefix: str, *, times: int = 1) -> list[str]:
        return [prefix * times, threading.current_thread().name, job_context().job_id]

    await rig.open()
    handle = await where.submit("a", times=2)
    text, thread, job = await handle.result()
    assert (text, job) == ("aa", handle.id)
    assert thread.startswith("holdfast-job")
    assert rig.metrics.value("workers_completions_total", pool="thread") == 1
    assert rig.metrics.value("workers_active", pool="thread") == 0


@simulated
async def test_a_busy_thread_holds_up_neither_the_loop_nor_async_jobs(rig: Rig) -> None:
    """Each lane has slots of its own."""
    begun, release = threading.Event(), threading.Event()

    @rig.job
    def blocking() -> int:
        begun.set()
        release.wait(PATIENCE_S)
        return 1

    @rig.job
    async def quick() -> int:
        return 2

    await rig.open(thread_slots=1)
    first, second = await blocking.submit(), await blocking.submit()
    await until(begun)
    assert await (await quick.submit()).result() == 2
    release.set()
    assert (await first.result(), await second.result()) == (1, 1)


@simulated
async def test_a_thread_out_of_time_ends_its_attempt_and_keeps_its_slot(rig: Rig) -> None:
    """What it returns afterwards changes nothing."""
    begun, release = threading.Event(), threading.Event()

    @rig.job(max_attempts=1)
    def stuck() -> str:
        begun.set()
        release.wait(PATIENCE_S)
        return "too late"

    await rig.open(thread_slots=1)
    handle = await stuck.submit()
    await until(begun)
    attempt = next(iter(rig.engine._roster)).attempt
    assert attempt is not None
    rig.engine._slots._threads._time_out(attempt)  # virtual time stands still while a thread is at work
    with pytest.raises(JobDead, match="JobTimeout"):
        await handle.result()
    assert rig.metrics.value("jobs_worker_slots", state="busy") == 1
    release.set()
    await eventually(lambda: rig.metrics.value("jobs_worker_slots", state="busy") == 0)
    assert rig.metrics.value("workers_timeouts_total", pool="thread") == 1
    assert (await rig.counts(stuck.declared.name)).dead == 1


@pytest.mark.parametrize("heeds", [True, False])
def test_a_cancel_reaches_a_thread_as_a_flag(heeds: bool) -> None:
    """One that raises then is cancelled, one that returns was too late to cancel."""

    @simulated
    async def test(rig: Rig) -> None:
        begun = threading.Event()

        @rig.job
        def looping() -> str:
            begun.set()
            context = job_context()
            while not context.cancelled:
                pass
            if heeds:
                raise RuntimeError("stopped half way")
            return "all done"

        await rig.open()
        handle = await looping.submit()
        await until(begun)
        if heeds:
            assert await rig.engine.cancel(handle.id) is CancelOutcome.INTERRUPTED
        else:
            with pytest.raises(AlreadyCancelled, match="completed"):
                await rig.engine.cancel(handle.id)

    test()
