"""Jobs while shards move, runners die and the store has its moods, under a hundred schedules.

`HOLDFAST_SEED=1234 pytest tests/simulation/test_jobs_moves.py` runs one seed, `HOLDFAST_SEEDS=1000` as many.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from holdfast import testing
from holdfast.errors import HoldfastError, PersistenceError
from holdfast.jobs.context import job_context
from holdfast.jobs.definition import Job, declare_job
from holdfast.model.ids import JobId
from holdfast.model.job import TERMINAL, JobState

from .jobs_town import SHARDS, Town


def seeds() -> list[int]:
    if one := os.environ.get("HOLDFAST_SEED"):
        return [int(one)]
    return list(range(int(os.environ.get("HOLDFAST_SEEDS", "100"))))


class Diary:
    """What handlers saw of themselves."""

    def __init__(self) -> None:
        self.begun: Counter[tuple[str, int]] = Counter()
        self.ended: Counter[tuple[str, int]] = Counter()
        self.running: Counter[str] = Counter()
        self.crowded: set[str] = set()


class Story:
    """One town, its jobs and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.town = Town(
            self.random,
            retry_first=0.2,
            retry_max=1.0,
            window=self.random.choice([4, 1000]),
            slots=self.random.choice([2, 100]),
        )
        self.town.lossy = self.random.choice([0.0, 0.2])
        self.diary = Diary()
        self.ids: list[JobId] = []
        self.deaths = 0
        self.job = self._job()
        self.town.declare(self.job)

    def _job(self) -> Job[..., Any]:
        diary, random = self.diary, self.random

        async def work(group: str) -> int:
            context = job_context()
            me = (str(context.job_id), context.attempt)
            diary.begun[me] += 1
            diary.running[group] += 1
            if group and diary.running[group] > 1:
                diary.crowded.add(group)
            try:
                await asyncio.sleep(random.choice([0, 0, 0.3, 3.0]))
                if random.random() < 0.3:
                    raise OSError(group)
            finally:
                diary.running[group] -= 1
            diary.ended[me] += 1
            return 1

        return declare_job(work, name="work", max_attempts=3)

    async def act(self) -> None:
        """Something that a client does. Whoever asked a process that was killed waits in vain: nobody is left there."""
        with suppress(HoldfastError, TimeoutError):
            async with asyncio.timeout(30):
                await self._act()

    async def _act(self) -> None:
        if self.ids and self.random.random() < 0.15:
            await self.town.anyone().engine.cancel(self.random.choice(self.ids))
            return
        group = self.random.choice(["", "", "a", "b"])
        bound = self.job.opts(
            group=group or None,
            key=self.random.choice([None, None, f"k{self.random.randrange(30)}"]),
            delay=self.random.choice([None, None, 1.0]),
            priority=self.random.choice([None, "low"]),
        )
        self.ids.append((await bound.submit(group)).id)

    async def submits(self) -> None:
        for _ in range(15):
            await self.act()
            await asyncio.sleep(self.random.random() * 0.3)

    async def moves(self) -> None:
        for _ in range(8):
            await asyncio.sleep(self.random.random())
            await self.town.move(self.random.randrange(SHARDS), self.town.anyone())

    async def settled(self) -> None:
        for _ in range(100):
            await asyncio.sleep(5.0)
            if (await self.town.counts()).live == 0:
                return
        raise AssertionError(f"still live: {self.town.tables.jobs.rows}, {self.town.tables.starts.rows}")


async def scenario(seed: int, *, deaths: bool, trouble: bool) -> None:
    story = Story(seed)
    town, random = story.town, story.random
    calm = False

    def before_commit(_units: object) -> None:
        if trouble and not calm and random.random() < 0.1:
            raise PersistenceError("the disk refuses")

    town.faults.before_commit = before_commit
    if random.random() < 0.5:
        town.faults.latency_s = lambda: random.expovariate(200)
    for _ in range(3):
        await town.open()
    for shard in range(SHARDS):
        await town.claim(town.nodes[shard % 3], [shard])
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(story.submits())
        group.create_task(story.moves())
        if deaths:
            await asyncio.sleep(random.uniform(1, 4))
            await town.kill(town.anyone())
    calm = True
    await story.settled()
    await asyncio.sleep(6)  # beyond the gauges' period
    await reconcile(story, deaths=deaths)
    await town.close()
    assert town.tables.starts.rows == {}
    assert town.tables.inbox.rows == {}


async def reconcile(story: Story, *, deaths: bool) -> None:
    town, diary = story.town, story.diary
    archive = town.tables.archive.rows
    assert {JobState(row.state) for row in archive.values()} <= TERMINAL
    for job in story.ids:
        assert int(job) in archive, "an accepted job is in exactly one state, a terminal one"
    if not deaths:
        doubled = {attempt: count for attempt, count in diary.begun.items() if count > 1}
        assert not doubled, "no attempt runs twice while its executor lives"
        assert not diary.crowded, "one at a time in a group, wherever its shard is"
        counts = await town.counts()
        found = {
            "enqueued": town.value("jobs_enqueued_total"),
            "completed": town.value("jobs_completed_total"),
            "cancelled": town.value("jobs_cancelled_total"),
            "dead": town.value("jobs_dead_lettered_total"),
            "dlq": town.value("jobs_dlq_size"),
            "waiting": town.value("jobs_queue_depth"),
            "later": town.value("jobs_scheduled"),
            "running": town.value("jobs_running"),
        }
        expected = {
            "enqueued": counts.enqueued,
            "completed": counts.completed,
            "cancelled": counts.cancelled,
            "dead": counts.dead,
            "dlq": counts.dlq_size,
            "waiting": 0,
            "later": 0,
            "running": 0,
        }
        assert found == expected
    for job, row in archive.items():
        ended = sum(diary.ended[str(job), number] for number in range(1, 5))
        if row.state == JobState.COMPLETED:
            assert ended >= 1
            if not deaths:
                assert ended == 1


@pytest.mark.parametrize("seed", seeds())
def test_every_job_ends_once_wherever_its_shard_goes(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Moves alone; moves with a store that refuses; and with a runner that dies."""
    caplog.set_level(logging.CRITICAL)
    deaths, trouble = seed % 3 == 2, seed % 3 == 1
    testing.run(scenario(seed, deaths=deaths, trouble=trouble), seed=seed)
