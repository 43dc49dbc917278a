"""A job's life: submitted, run, tried again, ended, and what the numbers say of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from holdfast.errors import JobDead, JobInvalid, JobNotFound
from holdfast.jobs.context import job_context
from holdfast.jobs.definition import declare_job
from holdfast.model.ids import JobId
from holdfast.model.job import JobState

from .rig import SHARDS, Rig, eventually, simulated


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
    pauses = [later - earlier for earlier, later in pairwise(began)]
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


@simulated
async def test_an_attempt_that_uses_up_its_time_is_interrupted_and_tried_again(rig: Rig) -> None:
    """Where it waits; its slot serves on."""
    cleaned: list[int] = []

    @rig.job(timeout=2.0, max_attempts=2)
    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(job_context().attempt)

    await rig.open(slots=1)
    with pytest.raises(JobDead, match="MaxRetries: JobTimeout"):
        await (await slow.submit()).result()
    assert cleaned == [1, 2]
    assert rig.metrics.value("jobs_timeouts_total", job_type=slow.declared.name) == 2
    assert rig.metrics.value("jobs_failed_total", reason="Timeout") == 2


@simulated
async def test_a_handler_may_use_timeouts_and_task_groups_of_its_own(rig: Rig) -> None:
    """They work on the slot's task as on any other."""

    @rig.job(max_attempts=1)
    async def careful() -> str:
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(60)
        except TimeoutError:
            pass
        async with asyncio.TaskGroup() as group:
            one = group.create_task(asyncio.sleep(1, "a"))
            two = group.create_task(asyncio.sleep(2, "b"))
        return one.result() + two.result()

    await rig.open()
    assert await (await careful.submit()).result() == "ab"


@simulated
async def test_a_slot_survives_a_handler_that_cancels_itself(rig: Rig) -> None:
    """It failed, and the next job runs in the same slot."""

    @rig.job(max_attempts=1)
    async def wild() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    @rig.job(max_attempts=1)
    async def raising() -> None:
        raise asyncio.CancelledError

    @rig.job
    async def tame() -> int:
        await asyncio.sleep(1)
        return 1

    await rig.open(slots=1)
    await raising.submit()
    assert await (await tame.submit()).result() == 1
    with pytest.raises(JobDead, match="CancelledError"):
        await (await raising.submit()).result()
    with pytest.raises(JobDead, match="CancelledError"):
        await (await wild.submit()).result()
    assert await (await tame.submit()).result() == 1


@simulated
async def test_no_more_than_the_slots_run_at_once_and_none_stays_idle(rig: Rig) -> None:
    """Nothing is started without a free slot."""
    running = most = 0

    @rig.job
    async def busy(seconds: float) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(seconds)
        running -= 1

    await rig.open(slots=4)
    loop = asyncio.get_running_loop()
    began = loop.time()
    handles = await rig.engine.submit_many([busy.call(1.0 if n % 4 else 3.0) for n in range(40)])
    for handle in handles:
        await handle.result()
    assert most == 4
    assert loop.time() - began < 17  # 60 s of work in 4 slots, one long one at the end
    assert (
        rig.metrics.value("jobs_worker_slots", state="free")
        == 4 + rig.settings.thread_slots + rig.settings.process_slots
    )


@simulated
async def test_a_delayed_job_starts_when_its_time_has_come(rig: Rig) -> None:
    """By `delay` and by `at`; its wait counts from then."""
    began: dict[str, float] = {}
    loop = asyncio.get_running_loop()

    @rig.job
    async def note(name: str) -> None:
        began[name] = loop.time()

    await rig.open()
    now = loop.time()
    at = datetime.fromtimestamp(rig.clock.now_us() / 1e6 + 20, UTC)
    later = await note.opts(delay=50.0).submit("delay")
    exact = await note.opts(at=at).submit("at")
    past = await note.opts(at=at - timedelta(days=1)).submit("past")
    assert (await rig.engine.status(later.id)).state == JobState.SCHEDULED
    assert rig.metrics.value("jobs_scheduled", job_type=note.declared.name) == 2
    for handle in (past, exact, later):
        await handle.result()
    assert began == pytest.approx({"past": now, "at": now + 20, "delay": now + 50}, abs=0.05)
    assert rig.metrics.value("jobs_wait_duration_seconds_sum", job_type=note.declared.name) < 0.2
    assert rig.metrics.value("jobs_scheduled", job_type=note.declared.name) == 0


@simulated
async def test_higher_priorities_get_more_slots_and_the_lowest_gets_some(rig: Rig) -> None:
    """Four to one, while both wait."""
    order: list[str] = []

    @rig.job
    async def work(name: str) -> None:
        order.append(name)
        await asyncio.sleep(1)

    await rig.open(slots=1)
    blocker = await work.submit("first")
    await eventually(lambda: order == ["first"])
    low = [await work.opts(priority="low").submit("low") for _ in range(20)]
    critical = [await work.opts(priority="critical").submit("critical") for _ in range(20)]
    assert rig.metrics.value("jobs_queue_depth", priority="low") == 20
    for handle in (blocker, *low, *critical):
        await handle.result()
    assert Counter(order[1:21]) == {"critical": 16, "low": 4}


@simulated
async def test_a_job_of_an_unknown_type_is_parked_and_runs_where_it_is_known(rig: Rig) -> None:
    """It costs no attempt, and is counted."""

    async def future_work() -> int:
        return 7

    unknown = declare_job(future_work)
    unknown.door = lambda: rig.engine
    await rig.open()
    handle = await unknown.submit()
    assert rig.metrics.value("jobs_failed_total", reason="HandlerMissing") == 1
    assert (await rig.engine.status(handle.id)).state == JobState.AVAILABLE
    await rig.close()
    rig.jobs.append(unknown)
    await rig.open()
    finished = await rig.engine.wait(handle.id)
    assert finished.unwrap(unknown.declared.signature.result) == 7
    assert (await rig.engine.status(handle.id)).attempts == 1


@simulated
async def test_a_payload_that_no_longer_decodes_is_dead_with_validation(rig: Rig) -> None:
    """The handler changed since the job was stored; nothing runs."""

    async def changed(n: int) -> None: ...

    async def changed_since(n: list[str]) -> None: ...

    old, new = declare_job(changed, name="changed"), declare_job(changed_since, name="changed")
    new.door = old.door = lambda: rig.engine
    rig.jobs.append(new)
    await rig.open()
    with pytest.raises(JobDead, match="Validation"):
        await (await old.submit(5)).result()
    assert rig.metrics.value("jobs_dead_lettered_total", reason="Validation") == 1
    (letter,) = await rig.engine.dead_letters()
    assert letter.arguments is None


@simulated
async def test_a_payload_or_result_that_is_too_large_is_refused(rig: Rig) -> None:
    """The first at submit, the second where it is returned."""

    @rig.job
    async def echo(data: bytes, times: int) -> bytes:
        return data * times

    await rig.open(payload_bytes_max=1000)
    with pytest.raises(JobInvalid, match="payload_bytes_max"):
        await echo.submit(b"x" * 1001, 1)
    with pytest.raises(JobDead, match="SerializationError"):
        await (await echo.submit(b"x" * 900, 2)).result()
    assert rig.metrics.value("jobs_enqueued_total") == 1


@simulated
async def test_waiting_ends_after_its_timeout_and_the_job_goes_on(rig: Rig) -> None:
    """A waiter's patience is its own."""

    @rig.job
    async def slow() -> int:
        await asyncio.sleep(100)
        return 5

    await rig.open()
    handle = await slow.submit()
    with pytest.raises(TimeoutError):
        await handle.result(timeout=1.0)
    assert await handle.result() == 5
    assert await handle.result() == 5  # from the archive
    with pytest.raises(JobNotFound):
        await rig.engine.wait(JobId("999999"))
    with pytest.raises(JobNotFound):
        await rig.engine.status(JobId("no number"))


@simulated
async def test_many_jobs_submitted_together_are_all_run(rig: Rig) -> None:
    """Also when they are more than memory holds, in a small window per shard and priority."""
    seen: set[int] = set()

    @rig.job
    async def take(n: int) -> None:
        await asyncio.sleep(0.5)
        seen.add(n)

    await rig.open(window=4, slots=8)
    handles = await rig.engine.submit_many([take.call(n) for n in range(600)])
    assert len({handle.id for handle in handles}) == 600
    assert rig.metrics.value("jobs_enqueued_total", job_type=take.declared.name) == 600
    assert len(rig.engine._roster) <= 4 * SHARDS + 8 + SHARDS
    await eventually(lambda: len(seen) == 600, within_s=120)
    await eventually(lambda: rig.metrics.value("jobs_completed_total") == 600)
    assert rig.metrics.value("jobs_queue_depth", job_type=take.declared.name) == 0


@simulated
async def test_many_jobs_due_at_one_moment_are_not_all_held(rig: Rig) -> None:
    """Memory stays bounded before and after the moment, and each of them runs."""
    done: set[int] = set()
    held: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        held.append(len(rig.engine._roster))
        await asyncio.sleep(0.1)
        done.add(n)

    await rig.open(window=5, slots=4)
    at = datetime.fromtimestamp(rig.clock.now_us() / 1e6 + 3600, UTC)
    await rig.engine.submit_many([work.opts(at=at, priority="low").call(n) for n in range(500)])
    assert len(rig.engine._roster) <= 11
    assert rig.metrics.value("jobs_scheduled", job_type=work.declared.name) == 500
    await asyncio.sleep(3599)
    assert not done
    await eventually(lambda: rig.metrics.value("jobs_completed_total") == 500, within_s=120)
    assert len(done) == 500
    assert max(held) <= 5 * SHARDS + 4 + 10
    assert rig.metrics.value("jobs_scheduled", job_type=work.declared.name) == 0
    assert rig.metrics.value("jobs_queue_depth", job_type=work.declared.name) == 0
