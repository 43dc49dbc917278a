"""Jobs run where slots are free: lent slots, and what becomes of them when somebody dies, drains or is cut off."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from holdfast import testing
from holdfast.errors import RunnerUnavailable
from holdfast.jobs.context import job_context
from holdfast.jobs.definition import Job, declare_job
from holdfast.jobs.door import CancelOutcome
from holdfast.jobs.handle import JobHandle
from holdfast.jobs.job_type import Lane
from holdfast.model.job import JobState, StartRecord, unpack_attempts

from .jobs_town import SHARDS, Node, Town

SLOTS = 2


class Shop:
    """A town whose first runner owns everything, and a job that takes five seconds."""

    def __init__(self) -> None:
        self.town = Town(Random(1), slots=SLOTS)
        self.takes_s = 5.0
        self.began: list[tuple[str, int]] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.work = self._declare()

    def _declare(self) -> Job[..., Any]:
        async def work(group: str) -> str:
            context = job_context()
            self.began.append((str(context.job_id), context.attempt))
            self.running[group] += 1
            self.most[group] = max(self.most[group], self.running[group])
            try:
                await asyncio.sleep(self.takes_s)
            finally:
                self.running[group] -= 1
            return group

        job = declare_job(work, name="work", group_limit=3)
        self.town.declare(job)
        job.door = lambda: self.owner.engine
        return job

    async def open(self, runners: int = 3) -> None:
        for _ in range(runners):
            await self.town.open()
        self.owner = self.town.nodes[0]
        await self.town.claim(self.owner, range(SHARDS))

    async def submit(self, count: int, group: str | None = None) -> list[JobHandle[Any]]:
        return [await self.work.opts(group=group).submit(group or "") for _ in range(count)]

    def elsewhere(self) -> list[StartRecord]:
        return [row for row in self.town.tables.starts.rows.values() if row.executor != self.owner.runner_id]

    def executor(self) -> tuple[Node, StartRecord]:
        """Of one of the attempts that run elsewhere."""
        record = self.elsewhere()[0]
        return next(node for node in self.town.nodes if node.runner_id == record.executor), record

    async def until(self, holds: Callable[[], object]) -> None:
        for _ in range(6000):
            if holds():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it does not come to that")

    async def close(self) -> None:
        await self.town.close()
        assert self.town.tables.starts.rows == {}
        assert self.town.tables.inbox.rows == {}


def in_a_shop(test: Callable[[Shop], Awaitable[None]]) -> Callable[[], None]:
    """In virtual time, with a shop that is closed at the end."""

    @functools.wraps(test)
    def run_it() -> None:
        async def main() -> None:
            shop = Shop()
            async with asyncio.timeout(1000):
                await test(shop)
                await shop.close()

        testing.run(main(), seed=1)

    del run_it.__wrapped__  # type: ignore[attr-defined]  # pytest would ask for its parameter
    return run_it


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@in_a_shop
async def test_what_waits_for_a_slot_runs_where_one_is_free(shop: Shop) -> None:
    """Twelve jobs of five seconds and six slots: two turns and not six."""
    await shop.open()
    began = asyncio.get_running_loop().time()
    for handle in await shop.submit(12):
        assert await handle.result() == ""
    assert asyncio.get_running_loop().time() - began < 14
    assert shop.most[""] == 3 * SLOTS, "all slots were in use, and never more"
    assert len(set(shop.began)) == len(shop.began) == 12
    counts = await shop.town.counts()
    assert (counts.completed, counts.dead) == (12, 0)
    assert shop.town.value("jobs_completed_total") == 12


@in_a_shop
async def test_short_jobs_stay_where_they_are(shop: Shop) -> None:
    """Its own slots are free again before anybody has answered."""
    await shop.open()
    shop.takes_s = 0.001
    handles = [handle for _ in range(20) for handle in await shop.submit(20)]
    while shop.town.value("jobs_completed_total") != len(handles):
        assert not shop.elsewhere()
        await asyncio.sleep(0.01)


@in_a_shop
async def test_a_groups_limit_holds_across_executors(shop: Shop) -> None:
    await shop.open(runners=4)
    for handle in await shop.submit(9, "red") + await shop.submit(9, "blue"):
        await handle.result()
    assert (shop.most["red"], shop.most["blue"]) == (3, 3)


@in_a_shop
async def test_an_executor_that_dies_costs_a_crash_and_the_owner_runs_the_job_again(shop: Shop) -> None:
    await shop.open()
    handles = await shop.submit(6)
    await shop.until(lambda: len(shop.began) == 6)
    executor, _ = shop.executor()
    lost = sum(row.executor == executor.runner_id for row in shop.elsewhere())
    await shop.town.kill(executor)
    assert sum(row.crashes for row in shop.town.tables.jobs.rows.values()) == lost == SLOTS
    for handle in handles:
        assert await handle.result() == ""
    assert len(shop.began) == 6 + lost
    assert {row.state for row in shop.town.tables.archive.rows.values()} == {JobState.COMPLETED}


@in_a_shop
async def test_an_executor_that_nobody_reaches_any_more_runs_what_is_on_record_for_it(shop: Shop) -> None:
    """Cut off between the record and the word about it: its credit lapses and it reads the store."""
    await shop.open(runners=2)
    (other,) = (node for node in shop.town.nodes if node is not shop.owner)
    commit = shop.owner.commits.add

    def cut_off(item: Any) -> None:
        if any(isinstance(row, StartRecord) and row.executor == other.runner_id for row in item.rows):
            shop.town.cut_off.add(other.runner_id)
        commit(item)

    shop.owner.commits.add = cut_off  # type: ignore[method-assign]
    shop.takes_s = 20.0
    handles = await shop.submit(SLOTS + 1)
    await shop.until(lambda: other.runner_id in shop.town.cut_off)
    await shop.until(lambda: len(shop.began) == SLOTS + 1)
    for handle in handles:
        await handle.result()
    assert len(shop.began) == SLOTS + 1, "it ran once, and its end came through the store"


@in_a_shop
async def test_an_attempt_whose_executor_is_cut_off_is_waited_for(shop: Shop) -> None:
    """Nobody knows whether it runs, so it is not started again while its executor is registered."""
    await shop.open()
    handles = await shop.submit(SLOTS + 1)
    await shop.until(lambda: len(shop.began) == SLOTS + 1)
    executor, _ = shop.executor()
    shop.town.cut_off.add(executor.runner_id)
    for handle in handles:
        assert await handle.result() == ""
    assert len(shop.began) == SLOTS + 1


@in_a_shop
async def test_a_record_for_an_executor_that_was_gone_is_taken_back(shop: Shop) -> None:
    """It was reaped before the record was written, so no reaper has seen it."""
    await shop.open()
    executor = shop.town.nodes[-1]
    commit = shop.owner.commits.add
    held_up: list[Any] = []

    def hold_up(item: Any) -> None:
        records = [row for row in item.rows if isinstance(row, StartRecord)]
        if any(row.executor == executor.runner_id for row in records) and executor.alive:
            held_up.append(item)
        else:
            commit(item)

    shop.owner.commits.add = hold_up  # type: ignore[method-assign]
    handles = await shop.submit(3 * SLOTS)
    await shop.until(lambda: held_up)
    await shop.town.kill(executor)
    for item in held_up:
        commit(item)
    for handle in handles:
        assert await handle.result() == ""
    assert len(shop.began) == 3 * SLOTS, "it never began there"


@in_a_shop
async def test_a_cancel_reaches_the_executor(shop: Shop) -> None:
    await shop.open()
    await shop.submit(SLOTS + 1)
    await shop.until(lambda: len(shop.began) == SLOTS + 1)
    shop.executor()
    job = next(handle for handle in shop.began if handle == shop.began[-1])[0]
    assert await shop.owner.engine.cancel(job) is CancelOutcome.INTERRUPTED  # type: ignore[arg-type]
    assert shop.town.tables.archive.rows[int(job)].state == JobState.CANCELLED
    assert shop.running[""] == SLOTS


@in_a_shop
async def test_a_cancel_in_between_finds_the_attempt_before_it_begins(shop: Shop) -> None:
    """The record is written, and its executor has not heard of it yet."""
    await shop.open(runners=2)
    other = shop.town.nodes[1]
    heard = asyncio.Event()
    run_lent = other.engine.run_lent

    async def late(credit: int) -> None:
        heard.set()
        await asyncio.sleep(3)
        await run_lent(credit)

    other.engine.run_lent = late  # type: ignore[assignment,method-assign]
    handles = await shop.submit(SLOTS + 1)
    await heard.wait()
    assert await shop.owner.engine.cancel(handles[-1].id) is CancelOutcome.INTERRUPTED
    assert shop.town.tables.archive.rows[int(handles[-1].id)].state == JobState.CANCELLED
    await asyncio.sleep(10)
    assert len(shop.began) == SLOTS


@in_a_shop
async def test_what_is_on_record_for_a_runner_that_drains_is_given_back(shop: Shop) -> None:
    """It costs no attempt: the owner runs it itself."""
    await shop.open(runners=2)
    other = shop.town.nodes[1]
    shop.takes_s = 3.0
    lend = other.engine.lend

    async def lend_and_drain(lane: Lane, slots: int) -> Any:
        lent = await lend(lane, slots)
        await other.engine.drain(30.0)
        return lent

    other.engine.lend = lend_and_drain  # type: ignore[assignment,method-assign]
    handles = await shop.submit(SLOTS + 1)
    for handle in handles:
        assert await handle.result() == ""
    assert {row.attempts for row in shop.town.tables.archive.rows.values()} == {1}


@in_a_shop
async def test_an_owner_that_dies_before_it_could_say_so_leaves_the_record(shop: Shop) -> None:
    """What is on record runs there all the same, once, whoever owns the job by then."""
    await shop.open()

    async def deaf(credit: int) -> None:
        raise RunnerUnavailable("it did not hear")

    for node in shop.town.nodes[1:]:
        node.engine.run_lent = deaf  # type: ignore[assignment,method-assign]
    handles = await shop.submit(SLOTS + 1)
    await shop.until(shop.elsewhere)
    executor, record = shop.executor()
    ((lent, _),) = unpack_attempts(record.attempts)
    await shop.town.kill(shop.owner)
    shop.owner = shop.town.nodes[0]
    for node in shop.town.nodes:
        del node.engine.run_lent
    archive = shop.town.tables.archive.rows
    await shop.until(lambda: len(archive) == len(handles))
    assert shop.began.count((str(lent), 1)) == 1
    assert archive[lent].attempts == 1
    assert executor.alive
