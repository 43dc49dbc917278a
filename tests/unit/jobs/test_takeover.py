"""Drains, restarts and deaths: nothing accepted is lost, and only the guilty pay for a crash."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from holdfast.errors import JobDead, RunnerUnavailable
from holdfast.jobs.context import job_context
from holdfast.model.inbox import AttemptEnd, decode_entry
from holdfast.model.job import JobRow, JobState, unpack_attempts
from holdfast.model.unit import Unit

from .rig import SHARDS, Rig, eventually, simulated, until

PATIENCE_S = 120.0


@simulated
async def test_a_drain_lets_running_attempts_end_and_starts_nothing(rig: Rig) -> None:
    """What waits is found by the next runner."""
    runs: list[int] = []

    @rig.job
    async def work(n: int) -> int:
        await asyncio.sleep(5)
        runs.append(n)
        return n

    await rig.open(slots=2)
    handles = [await work.submit(n) for n in range(4)]
    await eventually(lambda: rig.metrics.value("jobs_running") == 2)
    await rig.engine.drain(30.0)
    assert sorted(runs) == [0, 1]
    await rig.close()
    await rig.open()
    for handle in handles:
        await rig.engine.wait(handle.id)
    assert sorted(runs) == [0, 1, 2, 3]
    assert (await rig.counts(work.declared.name)).completed == 4


@simulated
async def test_what_outlasts_a_drain_is_given_back_and_costs_no_attempt(rig: Rig) -> None:
    """It was interrupted, cleaned up, and runs as its first attempt again."""
    attempts: list[int] = []

    @rig.job(max_attempts=1)
    async def long() -> str:
        attempts.append(job_context().attempt)
        await asyncio.sleep(1000 if len(attempts) == 1 else 1)
        return "done"

    await rig.open()
    handle = await long.submit()
    await eventually(lambda: attempts == [1])
    await rig.engine.drain(10.0)
    assert (await rig.engine.status(handle.id)).state == JobState.AVAILABLE
    assert (await rig.counts(long.declared.name)).running == 0
    await rig.close()
    await rig.open()
    assert (await rig.engine.wait(handle.id)).state == JobState.COMPLETED
    assert attempts == [1, 1]
    assert rig.metrics.value("jobs_failed_total", job_type=long.declared.name) == 0


@simulated
async def test_stopping_at_once_gives_back_too(rig: Rig) -> None:
    """And whoever waits is told that this runner is gone."""

    @rig.job
    async def long() -> None:
        await asyncio.sleep(1000)

    await rig.open()
    handle = await long.submit()
    waiting = asyncio.ensure_future(handle.result())
    await eventually(lambda: rig.metrics.value("jobs_running") == 1)
    await rig.close()
    with pytest.raises(RunnerUnavailable):
        await waiting
    await rig.engine.stop()  # works twice
    assert rig.tables.starts.rows == {}
    (row,) = rig.tables.jobs.rows.values()
    assert (row.attempt, row.crashes) == (0, 0)


@simulated
async def test_a_death_counts_as_a_crash_of_what_was_running_only(rig: Rig) -> None:
    """Waiting jobs are untouched; the crash costs no attempt."""
    numbers: list[int] = []

    @rig.job(max_attempts=1)
    async def work(n: int) -> None:
        numbers.append(job_context().attempt)
        if len(numbers) <= 2:
            await asyncio.sleep(1000)

    await rig.open(slots=2)
    handles = [await work.submit(n) for n in range(5)]
    await eventually(lambda: len(numbers) == 2)
    await rig.crash()
    assert sorted(row.crashes for row in rig.tables.jobs.rows.values()) == [0] * 5
    await rig.open(slots=2)
    for handle in handles:
        await rig.engine.wait(handle.id)
    assert numbers == [1] * 7
    assert rig.metrics.value("jobs_rescued_total", job_type=work.declared.name) == 2
    assert rig.tables.starts.rows == {}


@simulated
async def test_a_job_that_kills_its_runner_is_dead_after_three_deaths_and_its_neighbour_is_not(rig: Rig) -> None:
    """What was running in a crash runs alone among the suspects, so the innocent one is cleared at once."""
    running: list[str] = []

    @rig.job
    async def work(name: str) -> None:
        running.append(name)
        if name == "killer" or len(running) <= 2:
            await asyncio.sleep(1000)

    await rig.open()
    killer, neighbour = await work.submit("killer"), await work.submit("neighbour")
    await eventually(lambda: len(running) == 2)
    for _ in range(3):
        await rig.crash()
        running.append("restart")
        await rig.open()
        await asyncio.sleep(1)
    with pytest.raises(JobDead, match="RunnerUnavailable"):
        (await rig.engine.wait(killer.id)).unwrap(None)
    assert (await rig.engine.wait(neighbour.id)).state == JobState.COMPLETED
    assert rig.metrics.value("jobs_dead_lettered_total", reason="RunnerUnavailable") == 1
    status = await rig.engine.status(neighbour.id)
    assert status.attempts == 1


@simulated
async def test_suspects_run_one_at_a_time(rig: Rig) -> None:
    """While jobs without a crash pass them by."""
    running = most = 0
    fresh: list[int] = []

    @rig.job
    async def suspect() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(10)
        running -= 1

    @rig.job
    async def innocent(n: int) -> None:
        fresh.append(n)

    await rig.open()
    handles = [await suspect.submit() for _ in range(4)]
    await eventually(lambda: running == 4)
    await rig.crash()
    running = most = 0
    await rig.open()
    await rig.engine.submit_many([innocent.call(n) for n in range(50)])
    await eventually(lambda: len(fresh) == 50, within_s=5)
    for handle in handles:
        await rig.engine.wait(handle.id)
    assert most == 1


@simulated
async def test_a_slot_that_no_suspect_may_have_goes_to_those_behind(rig: Rig) -> None:
    fresh: list[int] = []

    @rig.job(priority="high")
    async def suspect() -> None:
        await asyncio.sleep(1000)

    @rig.job
    async def innocent(n: int) -> None:
        fresh.append(n)

    await rig.open(slots=4)
    await rig.engine.submit_many([suspect.call() for _ in range(4)])
    await eventually(lambda: rig.metrics.value("jobs_running") == 4)
    await rig.engine.submit_many([innocent.call(n) for n in range(8)])
    await rig.crash()
    rig.faults.latency_s = lambda: 0.01
    await rig.open(slots=2)
    await eventually(lambda: len(fresh) == 8, within_s=60)


@simulated
async def test_a_retry_outlives_a_restart(rig: Rig) -> None:
    """With its number and its time."""
    began: list[tuple[int, float]] = []

    @rig.job(max_attempts=3)
    async def flaky() -> None:
        began.append((job_context().attempt, asyncio.get_running_loop().time()))
        if len(began) == 1:
            raise OSError

    await rig.open(retry_first=100.0)
    handle = await flaky.submit()
    await eventually(lambda: len(began) == 1)
    await rig.close()
    await rig.open(retry_first=100.0)
    await rig.engine.wait(handle.id)
    (_, first), (number, second) = began
    assert number == 2
    assert 50 <= second - first <= 101


@simulated
async def test_a_thread_that_outlasts_the_drain_is_given_back(rig: Rig) -> None:
    """What it returns later is nobody's; the next attempt decides."""
    begun, release, calls = threading.Event(), threading.Event(), []

    @rig.job(max_attempts=1)
    def blocking() -> int:
        calls.append(1)
        begun.set()
        if len(calls) == 1:
            assert release.wait(PATIENCE_S)
        return len(calls)

    await rig.open()
    handle = await blocking.submit()
    try:
        await until(begun)
        drained = asyncio.ensure_future(rig.engine.drain(0.0))
        for _ in range(20):
            await asyncio.sleep(0)
    finally:
        release.set()
    await drained
    await rig.close()
    await rig.open()
    finished = await rig.engine.wait(handle.id)
    assert finished.unwrap(blocking.declared.signature.result) == 2


@simulated
async def test_a_handler_that_will_not_end_is_given_back_and_its_end_changes_nothing(rig: Rig) -> None:
    """Only the first end of an attempt counts, whatever it returns later."""
    release = asyncio.Event()

    @rig.job
    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "at last"

    await rig.open()
    handle = await stubborn.submit()
    await eventually(lambda: rig.metrics.value("jobs_running") == 1)
    await rig.engine.drain(1.0)
    assert (await rig.engine.status(handle.id)).state == JobState.AVAILABLE
    release.set()
    await asyncio.sleep(1)
    assert (await rig.engine.status(handle.id)).state == JobState.AVAILABLE
    assert rig.metrics.value("jobs_completed_total") == 0
    assert rig.metrics.value("jobs_running") == 0


@simulated
async def test_an_attempt_that_had_ended_before_the_death_is_no_suspect(rig: Rig) -> None:
    """Its start record is still there for its neighbour's sake, but it speaks of an attempt that is over."""

    @rig.job
    async def work(name: str) -> None:
        if name == "failing":
            raise OSError
        await asyncio.sleep(1000)

    await rig.open(retry_first=500.0)
    failing, running = await rig.engine.submit_many([work.call("failing"), work.call("running")])
    await eventually(lambda: rig.metrics.value("jobs_retried_total") == 1)
    await rig.crash()
    assert len(rig.tables.starts.rows) == 1
    await rig.open(retry_first=500.0)
    crashes = {str(row.id): row.crashes for row in rig.tables.jobs.rows.values()}
    assert crashes == {failing.id: 0, running.id: 1}


@simulated
async def test_delayed_jobs_that_make_room_for_those_of_adopted_shards_still_run(rig: Rig) -> None:
    """What a full schedule lets go of is found in the store when its time is near."""
    runs: set[int] = set()

    @rig.job
    async def work(n: int) -> None:
        runs.add(n)

    await rig.open(window=2)
    first, others = range(1), range(1, SHARDS)
    await rig.engine.release(others, timeout_s=10.0)
    await work.opts(delay=50.0).submit(0)
    await rig.engine.release(first, timeout_s=10.0)
    await rig.engine.adopt(others)
    for n in range(1, 5):
        await work.opts(delay=100.0 + n).submit(n)
    await rig.engine.adopt(first)
    await eventually(lambda: runs == set(range(5)), within_s=1000.0)


@simulated
async def test_ends_that_wait_for_one_another_stay_on_record(rig: Rig) -> None:
    """Two attempts of one record end at once when their shards are away: the owner finds each attempt, or its end."""
    over = asyncio.Event()
    neither: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        await over.wait()

    await rig.open(slots=2)
    jobs = [int(job.id) for job in await rig.engine.submit_many([work.call(n) for n in range(2)])]
    await eventually(lambda: rig.metrics.value("jobs_running", job_type=work.declared.name) == 2)
    assert len(rig.tables.starts.rows) == 1

    def look(incarnation: int | None, units: Sequence[Unit]) -> None:
        known = {job for record in rig.tables.starts.rows.values() for job, _ in unpack_attempts(record.attempts)}
        ends = [decode_entry(row.kind, row.body) for row in rig.tables.inbox.rows.values()]
        known |= {end.job for end in ends if isinstance(end, AttemptEnd)}
        neither.extend(set(jobs) - known)

    await rig.engine.release(range(SHARDS), timeout_s=1.0)
    rig.faults.latency_s, rig.faults.committed = lambda: 1.0, look
    over.set()
    await eventually(lambda: len(rig.tables.inbox.rows) == 2)
    assert neither == [] and rig.tables.starts.rows == {}


@simulated
async def test_of_adopted_shards_only_windows_that_hold_something_are_read(rig: Rig) -> None:
    read: list[tuple[int, int]] = []
    runs: list[int] = []
    go_on = asyncio.Event()

    @rig.job
    async def work(n: int) -> None:
        await go_on.wait()
        runs.append(n)

    await rig.open(slots=1)
    for n in range(3):
        await work.submit(n)
    await eventually(lambda: rig.metrics.value("jobs_running", job_type=work.declared.name) == 1)
    available = rig.store.jobs.available

    async def noted(*, shard: int, priority: int, after: int, limit: int, due_before: int) -> Sequence[JobRow]:
        read.append((shard, priority))
        return await available(shard=shard, priority=priority, after=after, limit=limit, due_before=due_before)

    await rig.engine.release(range(SHARDS), timeout_s=10.0)
    rig.store.jobs.available = noted  # type: ignore[method-assign]
    await rig.engine.adopt(range(SHARDS))
    await rig.engine.ready()
    assert sorted(read) == sorted({(row.shard, row.priority) for row in rig.tables.jobs.rows.values()})
    go_on.set()
    await eventually(lambda: sorted(runs) == [0, 1, 2])
