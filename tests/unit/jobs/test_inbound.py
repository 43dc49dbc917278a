"""Jobs from other processes: under their own ids, once, however often and by whichever way they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import JobDead, JobInvalid, JobKeyConflict, JobNotFound, RunnerUnavailable
from holdfast.jobs.call import JobCall
from holdfast.jobs.definition import Job
from holdfast.jobs.door import CancelOutcome
from holdfast.model.ids import job_id
from holdfast.model.inbox import InboxKind, encode_entry
from holdfast.model.job import JobRow, JobState
from holdfast.model.message import Take

from .rig import Rig, eventually, simulated


def left(job: Job[..., Any], number: int, call: JobCall[Any]) -> JobRow:
    """The row a client leaves, which knows neither shard nor owner."""
    rules = call.rules
    return JobRow(
        number, 0, job.declared.name, rules.priority, call.payload, b"", rules.key, rules.group, 3, 60_000_000, 0,
        1, 0, 0, None, 1, 0, None, None,
    )  # fmt: skip


async def leave(rig: Rig, row: JobRow) -> Take:
    kind, body = encode_entry(row)
    assert kind is InboxKind.JOB
    await rig.store.inbox.leave([(row.id, row.shard, kind, body)])
    return Take(row.id)


@simulated
async def test_a_job_left_in_the_inbox_is_taken_and_run_once(rig: Rig) -> None:
    """Also when the client, without an answer, had sent it directly too."""
    runs = 0

    @rig.job
    async def work(n: int) -> int:
        nonlocal runs
        runs += 1
        return n

    await rig.open()
    first = await rig.store.ids.allocate(2)
    second = first + 1
    await rig.engine.take(left(work, first, work.call(7)), await leave(rig, left(work, first, work.call(7))))
    assert (await rig.engine.wait(job_id(first))).unwrap(None) == 7
    assert await rig.engine.admit([(work.call(8), second)], retry=False) == [(second, False)]
    await rig.engine.take(left(work, second, work.call(8)), await leave(rig, left(work, second, work.call(8))))
    assert await rig.engine.admit([(work.call(8), second)], retry=True) == [(second, False)]
    assert (await rig.engine.wait(job_id(second))).unwrap(None) == 8
    assert runs == 2
    assert rig.tables.inbox.rows == {}
    assert rig.metrics.value("jobs_enqueued_total", job_type=work.declared.name) == 2


@simulated
async def test_a_job_from_the_inbox_that_waited_for_its_key_is_no_duplicate_of_itself(rig: Rig) -> None:
    """It was on its way directly at the same time."""

    @rig.job
    async def work(n: int) -> int:
        return n

    await rig.open()
    number, call = await rig.store.ids.allocate(1), work.opts(key="k").call(7)
    taken = await leave(rig, left(work, number, call))
    rig.faults.latency_s = lambda: 1.0
    direct = asyncio.ensure_future(rig.engine.admit([(call, number)], retry=False))
    await asyncio.sleep(0.5)
    await rig.engine.take(left(work, number, call), taken)
    assert await direct == [(number, False)]
    assert (await rig.engine.wait(job_id(number))).unwrap(None) == 7
    assert rig.tables.inbox.rows == {}


@simulated
async def test_a_submit_that_arrives_after_the_inbox_brought_the_job_changes_nothing(rig: Rig) -> None:
    """Whether the job waits by then, runs, or has ended."""
    runs: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        await asyncio.sleep(10)
        runs.append(n)

    await rig.open(slots=1)
    first = await rig.store.ids.allocate(2)
    for number in (first, first + 1):
        row = left(work, number, work.call(number))
        await rig.engine.take(row, await leave(rig, row))
    for _ in range(3):
        for number in (first, first + 1):
            assert await rig.engine.admit([(work.call(number), number)], retry=False) == [(number, False)]
        await asyncio.sleep(12)
    assert runs == [first, first + 1]
    assert rig.metrics.value("jobs_enqueued_total", job_type=work.declared.name) == 2
    assert (await rig.counts(work.declared.name)).enqueued == 2


@simulated
async def test_a_submit_that_comes_by_two_ways_at_once_is_stored_once(rig: Rig) -> None:
    """Also where the one who sent it directly has gone away before it was stored."""
    runs: list[int] = []

    @rig.job
    async def work(n: int) -> None:
        runs.append(n)

    rig.lanes = 2
    await rig.open()
    rig.faults.latency_s = lambda: 1.0
    first = await rig.store.ids.allocate(2)
    for number in (first, first + 1):
        row = left(work, number, work.call(number))
        taken = await leave(rig, row)
        direct = asyncio.ensure_future(rig.engine.admit([(work.call(number), number)], retry=False))
        await asyncio.sleep(0.5)
        if number == first:
            direct.cancel()
        await rig.engine.take(row, taken)
        await asyncio.wait([direct])
    await eventually(lambda: rig.metrics.value("jobs_completed_total") == 2)
    assert runs == [first, first + 1] and rig.tables.inbox.rows == {}


@simulated
async def test_a_job_in_the_inbox_is_known_before_it_is_taken(rig: Rig) -> None:
    """It has a status, can be waited for, and is cancelled once it is taken; until then the cancel has not happened."""

    @rig.job
    async def work(n: int) -> int:
        await asyncio.sleep(10)
        return n

    await rig.open()
    number = await rig.store.ids.allocate(1)
    row = left(work, number, work.call(7))._replace(due_at=rig.clock.now_us() + 3_600_000_000)
    taken = await leave(rig, row)
    status = await rig.engine.status(job_id(number))
    assert (status.state, status.due_at, status.attempts) == (JobState.SCHEDULED, row.due_at, 0)
    with pytest.raises(TimeoutError):
        await rig.engine.wait(job_id(number), timeout=3.0)
    with pytest.raises(RunnerUnavailable, match="inbox"):
        await rig.engine.cancel(job_id(number))
    cancelling = asyncio.ensure_future(rig.engine.cancel(job_id(number)))
    waiting = asyncio.ensure_future(rig.engine.wait(job_id(number)))
    await asyncio.sleep(1.0)
    assert not cancelling.done() and not waiting.done()
    await rig.engine.take(row, taken)
    assert await cancelling is CancelOutcome.BEFORE_START
    assert (await waiting).state is JobState.CANCELLED


@simulated
async def test_what_is_no_job_in_the_inbox_is_no_job(rig: Rig) -> None:
    """A message, and what this version can't read."""
    await rig.open()
    number = await rig.store.ids.allocate(2)
    await rig.store.inbox.leave([(number, 0, InboxKind.MESSAGE, b""), (number + 1, 0, InboxKind.JOB, b"newer")])
    for unknown in (number, number + 1):
        with pytest.raises(JobNotFound):
            await rig.engine.status(job_id(unknown))
        with pytest.raises(JobNotFound):
            await rig.engine.wait(job_id(unknown))
        with pytest.raises(JobNotFound):
            await rig.engine.cancel(job_id(unknown))


@simulated
async def test_a_key_that_was_taken_leads_a_job_from_the_inbox_to_the_first_one(rig: Rig) -> None:
    """Its id was acknowledged, so it answers; the job runs once."""
    runs = 0

    @rig.job
    async def work(n: int) -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(10)
        return n

    await rig.open()
    first = await work.opts(key="k").submit(7)
    number = await rig.store.ids.allocate(1)
    row = left(work, number, work.opts(key="k").call(7))
    await rig.engine.take(row, await leave(rig, row))
    assert (await rig.engine.wait(job_id(number))).id == first.id
    assert (await rig.engine.wait(job_id(number))).unwrap(None) == 7
    assert runs == 1
    assert (await work.opts(key="k").submit(7)).id == first.id
    assert rig.metrics.value("jobs_deduplicated_total") == 2


@simulated
async def test_a_conflict_found_in_the_inbox_is_stored_as_the_outcome(rig: Rig) -> None:
    """Nobody is there any more to be told."""

    @rig.job
    async def work(n: int) -> int:
        return n

    await rig.open()
    await work.opts(key="k").submit(7)
    number = await rig.store.ids.allocate(1)
    row = left(work, number, work.opts(key="k").call(8))
    await rig.engine.take(row, await leave(rig, row))
    finished = await rig.engine.wait(job_id(number))
    assert (finished.state, finished.reason) == (JobState.DEAD, "Validation")
    with pytest.raises(JobDead, match="other arguments"):
        finished.unwrap(None)
    counts = await rig.counts(work.declared.name)
    assert rig.metrics.value("jobs_enqueued_total", job_type=work.declared.name) == counts.enqueued
    assert rig.metrics.value("jobs_dead_lettered_total", reason="Validation") == counts.dead == 1


@simulated
async def test_submits_of_another_process_are_deduplicated_by_key(rig: Rig) -> None:
    """With the first one's id, or a conflict; several at once can't have keys."""

    @rig.job
    async def work(n: int) -> int:
        return n

    await rig.open()
    first = await rig.store.ids.allocate(4)
    keyed = work.opts(key="k").call(7)
    assert await rig.engine.admit([(keyed, first)], retry=False) == [(first, False)]
    assert await rig.engine.admit([(keyed, first + 1)], retry=False) == [(first, True)]
    with pytest.raises(JobKeyConflict):
        await rig.engine.admit([(work.opts(key="k").call(8), first + 2)], retry=False)
    with pytest.raises(JobInvalid):
        await rig.engine.admit([(keyed, first + 2), (keyed, first + 3)], retry=False)


@simulated
async def test_a_job_counts_and_runs_also_where_its_taking_is_cancelled_while_it_commits(rig: Rig) -> None:
    @rig.job
    async def work() -> None: ...

    await rig.open()
    rig.faults.latency_s = lambda: 1.0
    number = await rig.store.ids.allocate(1)
    row = left(work, number, work.call())
    taking = asyncio.create_task(rig.engine.take(row, await leave(rig, row)))
    await asyncio.sleep(0.5)
    taking.cancel()
    await asyncio.sleep(60)
    await rig.engine.wait(job_id(number))
    assert rig.metrics.value("jobs_enqueued_total", job_type=work.declared.name) == 1
