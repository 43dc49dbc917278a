"""Two runners that share the shards: whoever asks, wherever it lives, the answer is the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from holdfast import JobState
from holdfast.errors import AlreadyCancelled, CallCircle, JobDead, SendTimeout
from holdfast.jobs.door import CancelOutcome
from tests.integration.pair import PATIENCE_S, Pair, Process, Refused, Stall, until


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    pair = Pair()
    async with pair.runs():
        yield pair


@pytest.fixture
async def here(pair: Pair) -> str:
    """A stall on runner one."""
    return await pair.stall_of(pair.one)


@pytest.fixture
async def there(pair: Pair) -> str:
    """A stall on runner two."""
    return await pair.stall_of(pair.two)


@pytest.mark.parametrize("asking", ["one", "two", "client"])
async def test_calls_sends_and_streams_reach_the_owner_from_everywhere(
    pair: Pair, here: str, there: str, asking: str
) -> None:
    process: Process = getattr(pair, asking)
    for name in (here, there):
        stall = process.stall(name)
        assert await stall.count() == 0
        assert await stall.note(1) == [1]
        receipt = await stall.note.opts(key="k").send(2)
        again = await stall.note.opts(key="k").send(2)
        assert (receipt.duplicate, again.duplicate) == (False, True)
        assert await process.app.cluster.result(receipt) == [1, 2]
        assert [number async for number in stall.numbers(40)] == list(range(40))
        with pytest.raises(Refused, match="no"):
            await stall.refuse("no")
    for other in (pair.one, pair.two, pair.client):
        assert await other.stall(there).count() == 2


async def test_a_handler_asks_across_runners(pair: Pair, here: str, there: str) -> None:
    await pair.client.stall(there).note(1)
    assert await pair.client.stall(here).ask(there, "") == 1
    assert await pair.client.stall(here).ask_durably(there, "") == 1


async def test_a_circle_over_two_runners_is_an_error_and_no_deadlock(pair: Pair, here: str, there: str) -> None:
    with pytest.raises(CallCircle, match="waits for"):
        await pair.client.stall(here).ask.opts(timeout=PATIENCE_S)(there, here)


async def test_a_circle_of_durable_calls_is_seen_too(pair: Pair, here: str, there: str) -> None:
    assert await pair.client.stall(here).ask_durably.opts(timeout=PATIENCE_S)(there, here) == -1


async def test_a_call_from_a_handler_ends_with_its_caller(pair: Pair, here: str, there: str) -> None:
    await pair.client.stall(here).count()  # the way is known: what comes now fails for its deadline only

    async def interrupted() -> bool:
        with pytest.raises(SendTimeout):  # again, where the deadline came before the other handler began
            await pair.client.stall(here).sleep_elsewhere.opts(timeout=0.3)(there, 3600.0)
        return await pair.client.stall(there).interruptions() > 0

    await until(interrupted)


@pytest.mark.parametrize("asking", ["one", "client"])
async def test_a_broadcast_reaches_the_instances_of_both(pair: Pair, here: str, there: str, asking: str) -> None:
    for name, count in ((here, 1), (there, 2)):
        for number in range(count):
            await pair.client.stall(name).note(number)
    process: Process = getattr(pair, asking)
    assert sorted(await process.app.cluster.broadcast(Stall.count)) == [1, 2]


@pytest.mark.parametrize("asking", ["one", "two", "client"])
async def test_jobs_are_asked_about_from_everywhere(pair: Pair, asking: str) -> None:
    process: Process = getattr(pair, asking)
    jobs = [await process.twice.opts(key=f"{asking}-{number}").submit(number) for number in range(8)]
    for other in (pair.one, pair.two, pair.client):
        assert [await other.app.jobs.wait(job.id, timeout=PATIENCE_S) for job in jobs] == [
            2 * number for number in range(8)
        ]
    again = await process.twice.opts(key=f"{asking}-3").submit(3)
    assert (again.id, again.duplicate) == (jobs[3].id, True)


@pytest.mark.parametrize("asking", ["one", "two", "client"])
async def test_a_running_job_is_cancelled_by_its_owner_wherever_that_is(pair: Pair, asking: str) -> None:
    process: Process = getattr(pair, asking)
    for number in range(4):
        job = await pair.client.linger.opts(key=f"k{number}").submit()

        async def runs(job_id: object = job.id) -> bool:
            status = await process.app.jobs.status(job_id)  # type: ignore[arg-type]
            return status.state is JobState.RUNNING and status.progress == 0.5

        await until(runs)
        assert await process.app.jobs.cancel(job.id) is CancelOutcome.INTERRUPTED
        with pytest.raises(AlreadyCancelled):
            await process.app.jobs.cancel(job.id)


@pytest.mark.parametrize("asking", ["one", "two", "client"])
async def test_a_dead_job_is_replayed_and_discarded_by_its_owner(pair: Pair, asking: str) -> None:
    process: Process = getattr(pair, asking)
    for number in range(4):
        job = await pair.client.fail.opts(key=f"k{number}").submit()
        with pytest.raises(JobDead):
            await job.result(timeout=PATIENCE_S)
        again = await process.app.jobs.replay(job.id)
        with pytest.raises(JobDead):
            await again.result(timeout=PATIENCE_S)
        await process.app.jobs.discard(again.id)


async def test_a_drain_under_load_is_not_noticed_by_callers(pair: Pair) -> None:
    stalls = [pair.client.stall(f"s{number}") for number in range(8)]
    over, calls = False, 0

    async def call(place: int) -> int:
        nonlocal calls
        number = 0
        while not over:
            await (stalls[place].count() if number % 2 else stalls[place].note(number))
            number, calls = number + 1, calls + 1
        return number

    callers = [asyncio.create_task(call(place)) for place in range(8)]

    async def called() -> bool:
        for task in callers:
            if task.done():
                await task
        return calls > before + 200

    before = 0
    await until(called)
    await pair.stop(pair.two)
    before = calls
    await until(called)
    over = True
    counts = [(number + 1) // 2 for number in await asyncio.gather(*callers)]
    assert [await stall.count() for stall in stalls] == counts
