"""Counters and gauges agree with the store's ledger, whatever happened in between."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import pytest

from holdfast.errors import HoldfastError, PersistenceError
from holdfast.jobs.definition import Job
from holdfast.model.ids import JobId
from holdfast.model.unit import Unit

from .rig import Rig, simulated


async def settle(rig: Rig, name: str) -> None:
    """Until nothing is live any more."""
    for _ in range(2000):
        await asyncio.sleep(5)
        if (await rig.counts(name)).live == 0:
            return
    raise AssertionError(f"still live: {await rig.counts(name)}")


async def reconciled(rig: Rig, name: str) -> None:
    counts = await rig.counts(name)
    value = rig.metrics.value
    found = {
        "enqueued": value("jobs_enqueued_total", job_type=name),
        "completed": value("jobs_completed_total", job_type=name),
        "cancelled": value("jobs_cancelled_total", job_type=name),
        "dead": value("jobs_dead_lettered_total", job_type=name),
        "replayed": value("jobs_replayed_total", job_type=name),
        "discarded": value("jobs_discarded_total", job_type=name),
        "dlq_size": value("jobs_dlq_size", job_type=name),
        "scheduled and retrying": value("jobs_scheduled", job_type=name),
        "available": value("jobs_queue_depth", job_type=name),
        "running": value("jobs_running", job_type=name),
    }
    assert found == {
        "enqueued": counts.enqueued,
        "completed": counts.completed,
        "cancelled": counts.cancelled,
        "dead": counts.dead,
        "replayed": counts.replayed,
        "discarded": counts.discarded,
        "dlq_size": counts.dlq_size,
        "scheduled and retrying": counts.scheduled + counts.retrying,
        "available": counts.available,
        "running": counts.running,
    }
    assert counts.enqueued + counts.replayed == counts.completed + counts.cancelled + counts.dead + counts.live


@pytest.mark.parametrize("seed", range(12))
def test_every_count_agrees_with_the_ledger(seed: int) -> None:
    """After a storm of submits, failures, cancels, replays, restarts, slow and refusing commits."""
    simulated(storm)(seed)


async def act(rig: Rig, job: Job[[int], int], random: Random, ids: list[JobId]) -> None:
    """Something that a client or an operator does."""
    with suppress(HoldfastError):
        match random.randrange(10):
            case 0 if ids:
                await rig.engine.cancel(random.choice(ids))
            case 1:
                for letter in await rig.engine.dead_letters(limit=2):
                    await random.choice((rig.engine.replay, rig.engine.discard))(letter.id)
            case _:
                bound = job.opts(
                    delay=random.choice((None, 2.0, 8.0)),
                    priority=random.choice((None, "low", "critical")),
                    key=random.choice((None, f"k{random.randrange(20)}")),
                )
                ids.append((await bound.submit(random.randrange(100))).id)


async def storm(rig: Rig, seed: int) -> None:
    random = Random(seed)

    @rig.job(max_attempts=2, timeout=3.0, name="mixed")
    async def mixed(n: int) -> int:
        await asyncio.sleep(random.choice((0, 0, 0.5, 5.0)))
        if random.random() < 0.4:
            raise OSError(n)
        return n

    def trouble(units: Sequence[Unit]) -> None:
        if random.random() < 0.05:
            raise PersistenceError("now and then")

    settings = {"slots": 3, "window": 2, "retry_first": 1.0, "retry_max": 4.0}
    await rig.open(**settings)
    rig.faults.latency_s = lambda: random.uniform(0, 0.02)
    rig.faults.before_commit = trouble
    ids: list[JobId] = []

    for part in range(3):
        for _ in range(15):
            await asyncio.gather(*(act(rig, mixed, random, ids) for _ in range(4)))
            await asyncio.sleep(random.uniform(0, 0.3))
        if part < 2:
            rig.faults.before_commit = lambda units: None  # what a stop can't write, a start counts as a crash
            await rig.close()
            await rig.open(**settings)
            rig.faults.before_commit = trouble
    rig.faults.before_commit = lambda units: None
    await settle(rig, "mixed")
    await asyncio.sleep(10)
    await reconciled(rig, "mixed")
    assert rig.tables.starts.rows == {}
    assert len(rig.engine._roster) == 0
    await rig.close()


@simulated
async def test_a_submit_counts_even_if_its_submitter_was_cancelled(rig: Rig) -> None:
    """What is on disk is counted by its commit: the submitter may be gone before it hears of it."""

    @rig.job
    async def noop(number: int) -> int:
        return number

    await rig.open()
    for slow_s in (0.0, 0.01):
        rig.faults.latency_s = lambda slow_s=slow_s: slow_s
        submit = asyncio.create_task(noop.submit(1))
        for _ in range(3):
            await asyncio.sleep(0)
        submit.cancel()
        with suppress(asyncio.CancelledError):
            await submit
        await settle(rig, "noop")
    stored = (await rig.counts("noop")).enqueued
    assert stored > 0
    assert rig.metrics.value("jobs_enqueued_total", job_type="noop") == stored


@simulated
async def test_a_request_takes_effect_even_if_who_made_it_was_cancelled(rig: Rig) -> None:
    """Its commit was on the way: what was replayed runs, what was cancelled is let go, and both are counted."""

    @rig.job(max_attempts=1)
    async def noop(fails: bool) -> bool:
        if fails:
            raise OSError("failed")
        return fails

    await rig.open()
    for _ in range(2):
        with suppress(HoldfastError):
            await (await noop.submit(True)).result()
    later = await noop.opts(delay=3600.0).submit(False)
    first, second = await rig.engine.dead_letters()
    rig.faults.latency_s = lambda: 1.0
    for request in (rig.engine.replay(first.id), rig.engine.discard(second.id), rig.engine.cancel(later.id)):
        asked = asyncio.create_task(request)
        await asyncio.sleep(0.5)
        asked.cancel()
        with suppress(asyncio.CancelledError):
            await asked
    await settle(rig, "noop")
    await asyncio.sleep(10)
    counts = await rig.counts("noop")
    assert (counts.replayed, counts.discarded, counts.cancelled, counts.dead) == (1, 1, 1, 3)
    assert len(rig.engine._roster) == 0
    await reconciled(rig, "noop")
