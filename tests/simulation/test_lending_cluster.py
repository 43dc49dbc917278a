"""Lent slots over the whole runtime: three runners with a transport between them, on one store in memory."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from holdfast import App, testing
from holdfast.jobs.context import job_context
from holdfast.settings import JobSettings, Settings
from holdfast.testing.process import current

SLOTS = 2
JOBS = 9
TAKES_S = 5.0

app = App("busy", settings=Settings(jobs=JobSettings(slots=SLOTS)))
began: Counter[str] = Counter()
ended: Counter[str] = Counter()
ran_on: Counter[str] = Counter()


@app.job(group_limit=JOBS)
async def work() -> None:
    process, job = current(), str(job_context().job_id)
    began[job] += 1
    ran_on["" if process is None else process.name] += 1
    await asyncio.sleep(TAKES_S)
    ended[job] += 1


@pytest.fixture
async def t(caplog: pytest.LogCaptureFixture) -> AsyncIterator[testing.LiveCluster]:
    caplog.set_level(logging.CRITICAL)
    for notes in (began, ended, ran_on):
        notes.clear()
    async with testing.cluster(app) as live:
        yield live


async def busy(t: testing.LiveCluster) -> tuple[str, str]:
    """Jobs of one owner, some of which run elsewhere by now; who owns them, and who else runs some."""
    for _ in range(JOBS):
        await work.opts(group="all of one shard").submit()
    async with asyncio.timeout(60):
        while ran_on.total() < 3 * SLOTS:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.01)
    first, *others = ran_on
    return first, others[0]


async def test_jobs_run_where_slots_are_free(t: testing.LiveCluster) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    await busy(t)
    assert loop.time() - start < TAKES_S, "all slots of all runners are in use before the first attempt ends"
    assert set(ran_on) == {"runner-1", "runner-2", "runner-3"}
    await t.settle()
    assert set(ended.values()) == {1} == set(began.values())
    assert ended.total() == JOBS


@pytest.mark.parametrize("store", [False, True])
async def test_an_executor_that_is_cut_off(t: testing.LiveCluster, store: bool) -> None:
    """From its owner only: its attempts end, and count. From the store too: it is reaped, and they run again."""
    _, executor = await busy(t)
    t.partition(int(executor[-1]), store=store)
    await t.settle(timeout=120)
    t.heal()
    await t.settle(timeout=120)
    doubled = sum(count > 1 for count in began.values())
    assert len(ended) == JOBS
    assert doubled == (SLOTS if store else 0)


async def test_an_executor_that_is_killed(t: testing.LiveCluster) -> None:
    _, executor = await busy(t)
    await t.crash(int(executor[-1]))
    await t.settle(timeout=120)
    assert len(ended) == JOBS
    assert set(ended.values()) == {1}
    assert sum(count > 1 for count in began.values()) == SLOTS


async def test_an_owner_that_is_killed(t: testing.LiveCluster) -> None:
    """What runs elsewhere goes on there, and the next owner hears how it ends."""
    owner, _ = await busy(t)
    await t.crash(int(owner[-1]))
    await t.settle(timeout=120)
    assert len(ended) == JOBS
    assert sum(count > 1 for count in began.values()) == SLOTS, "only what ran on the dead one ran again"
