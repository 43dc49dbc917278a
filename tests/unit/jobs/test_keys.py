"""Same key, same job: duplicates, conflicts, and what happens at the same time."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import JobKeyConflict
from holdfast.model.job import JobState

from .rig import Rig, eventually, simulated


@simulated
async def test_a_repeated_key_answers_with_the_first_job(rig: Rig) -> None:
    """While it runs, and when it is finished; it runs once."""
    runs = 0

    @rig.job
    async def charge(order: str) -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(5)
        return runs

    await rig.open()
    first = await charge.opts(key="k").submit("o-1")
    second = await charge.opts(key="k").submit("o-1")
    assert (second.id, first.duplicate, second.duplicate) == (first.id, False, True)
    assert await second.result() == 1
    third = await charge.opts(key="k").submit("o-1")
    assert (third.id, third.duplicate, await third.result()) == (first.id, True, 1)
    assert runs == 1
    assert rig.metrics.value("jobs_deduplicated_total", job_type=charge.declared.name) == 2
    assert rig.metrics.value("jobs_enqueued_total", job_type=charge.declared.name) == 1


@simulated
async def test_duplicates_at_the_same_moment_become_one_job(rig: Rig) -> None:
    """All of them learn the id of the one that was first."""

    @rig.job
    async def charge(order: str) -> str:
        return order

    await rig.open()
    rig.faults.latency_s = lambda: 0.01
    handles = await asyncio.gather(*(charge.opts(key="k").submit("o-1") for _ in range(20)))
    assert len({handle.id for handle in handles}) == 1
    assert sorted(handle.duplicate for handle in handles) == [False] + [True] * 19
    assert (await rig.counts("charge")).enqueued == 1


@simulated
async def test_another_payload_under_a_key_is_a_conflict(rig: Rig) -> None:
    """Named, and counted; the first job is untouched."""

    @rig.job
    async def charge(order: str) -> str:
        return order

    await rig.open()
    first = await charge.opts(key="k").submit("o-1")
    with pytest.raises(JobKeyConflict, match=f"job {first.id}"):
        await charge.opts(key="k").submit("o-2")
    assert await first.result() == "o-1"
    assert rig.metrics.value("jobs_failed_total", reason="Validation") == 1


@simulated
async def test_a_key_is_unique_per_type_and_group(rig: Rig) -> None:
    """Neither another type nor another group sees it."""

    @rig.job
    async def one(n: int) -> None: ...

    @rig.job
    async def two(n: int) -> None: ...

    await rig.open()
    handles = [
        await one.opts(key="k").submit(1),
        await two.opts(key="k").submit(1),
        await one.opts(key="k", group="g").submit(2),
        await one.opts(key="k", group="h").submit(3),
    ]
    assert len({handle.id for handle in handles}) == 4
    assert not any(handle.duplicate for handle in handles)


@simulated
async def test_a_cancelled_submit_leaves_a_key_that_the_next_one_finds(rig: Rig) -> None:
    """The row was on its way when the caller gave up: it is one job all the same."""

    @rig.job
    async def charge(order: str) -> str:
        return order

    await rig.open()
    rig.faults.latency_s = lambda: 1.0
    submit = asyncio.ensure_future(charge.opts(key="k").submit("o-1"))
    await asyncio.sleep(0.5)
    submit.cancel()
    handle = await charge.opts(key="k").submit("o-1")
    assert handle.duplicate
    assert await handle.result() == "o-1"
    assert (await rig.counts("charge")).enqueued == 1


@simulated
async def test_a_key_whose_job_was_stored_and_ended_since_it_was_looked_up_is_found_after_all(rig: Rig) -> None:
    """The first submit was given up while its commit was under way; the second found nothing, and waits behind it while
    the job runs and its end is written by the other of the store's two writers."""
    runs = 0

    @rig.job
    async def charge(order: str) -> str:
        nonlocal runs
        runs += 1
        return order

    rig.lanes = 2
    await rig.open()
    latencies = iter((1.0, 1.0, 0.1))
    rig.faults.latency_s = lambda: next(latencies, 0.1)
    key = next(key for key in "abcdefgh" if rig.around.placement.of_job(0, charge.declared.name, key, None) % 2)
    first = asyncio.ensure_future(charge.opts(key=key).submit("o-1"))
    await asyncio.sleep(0.5)
    first.cancel()
    second = await charge.opts(key=key).submit("o-1")
    assert second.duplicate
    assert await second.result() == "o-1"
    assert runs == 1


@simulated
async def test_a_staged_key_whose_job_was_stored_and_ended_meanwhile_commits_nothing(rig: Rig) -> None:
    """The handler runs again, and finds it."""
    go_on, runs = asyncio.Event(), 0

    @rig.job
    async def charge(order: str) -> str:
        nonlocal runs
        runs += 1
        return order

    @rig.job
    async def parent() -> str:
        child = await charge.opts(key="k").submit("o-1")
        await go_on.wait()
        return child.id

    await rig.open()
    handle = await parent.submit()
    await eventually(lambda: rig.metrics.value("jobs_running", job_type=parent.declared.name) == 1)
    direct = await charge.opts(key="k").submit("o-1")
    await direct.result()
    go_on.set()
    assert await handle.result() == direct.id
    assert runs == 1


@simulated
async def test_a_key_staged_twice_in_one_handler_is_one_job(rig: Rig) -> None:
    """Though neither is in the store yet."""

    @rig.job
    async def charge(order: str) -> str:
        return order

    @rig.job
    async def parent() -> tuple[str, str]:
        one = await charge.opts(key="k").submit("o-1")
        two = await charge.opts(key="k").submit("o-1")
        return one.id, two.id

    await rig.open()
    first, second = await (await parent.submit()).result()
    assert first == second
    assert (await rig.engine.wait(first)).state == JobState.COMPLETED
