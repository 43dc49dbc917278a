"""A job engine over the memory store in virtual time, started and stopped as often as a test likes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import wraps
from random import Random
from typing import Any, Concatenate, ParamSpec

from holdfast.errors import Conflict
from holdfast.jobs.definition import Job, declare_job
from holdfast.jobs.door import JobDoor
from holdfast.jobs.engine import JobEngine
from holdfast.jobs.surroundings import Surroundings, nowhere
from holdfast.kit.batching import GroupCommit, Lanes
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.model.cluster import GroupRow
from holdfast.model.ledger import JobCounts
from holdfast.model.placement import Placement
from holdfast.ports.commits import CommitItem
from holdfast.ports.membership import Registration
from holdfast.settings import JobSettings
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.testing.loop import LoopClock, run

P = ParamSpec("P")

SHARDS = 8
DAY_S = 24 * 3600.0


class Rig:
    """One runner. `tables` and `faults` outlive the engines: `crash` and `open` again is a runner's death."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.faults = StorageFaults()
        self.metrics = MetricsService()
        self.settings = JobSettings()
        self.jobs: list[Job[..., Any]] = []
        self.clock = LoopClock(asyncio.get_running_loop())
        self.engine: JobEngine
        self.lanes = 1
        """Commits that may be in flight at a time."""
        self.left_in: Callable[[int], bool] = nowhere
        self.elsewhere: JobDoor | None = None

    def job(self, fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Declares a job as `app.job` would."""
        if fn is None:
            return lambda function: self._declare(function, options)
        return self._declare(fn, options)

    def _declare(self, fn: Callable[..., Any], options: dict[str, Any]) -> Job[..., Any]:
        job = declare_job(fn, **options)
        job.door = lambda: self.engine
        self.jobs.append(job)
        return job

    async def open(self, **settings: Any) -> JobEngine:
        """A new incarnation over the same tables."""
        if settings:
            self.settings = JobSettings(**settings)
        loop = asyncio.get_running_loop()
        self.store = MemoryStore(clock=self.clock, tables=self.tables, faults=self.faults)
        runner_id = await self.store.membership.register(Registration("", "1", (), (), 1.0, 6_000_000))
        self.wheel = DeadlineWheel(loop)
        journal = self.store.journal

        def lane() -> GroupCommit[CommitItem]:
            return GroupCommit(journal.commit, loop=loop, splits=lambda error: isinstance(error, Conflict))

        self.commits = lane() if self.lanes == 1 else Lanes(lane, self.lanes, loop=loop)
        self.around = Surroundings(
            commits=self.commits,
            journal=journal,
            reader=self.store.jobs,
            ids=IdPool(self.store.ids.allocate),
            clock=self.clock,
            random=Random(7),
            wheel=self.wheel,
            metrics=self.metrics,
            settings=self.settings,
            runner_id=runner_id,
            placement=Placement.of([GroupRow("default", 0, SHARDS, ())]),
            inbox=self.store.inbox_reader,
            elsewhere=self.elsewhere,
            left_in=self.left_in,
        )
        self.engine = JobEngine(self.around, types=[job.declared for job in self.jobs])
        await self.engine.start()
        await self.engine.adopt(range(SHARDS))
        await self.engine.ready()
        return self.engine

    async def close(self) -> None:
        """An orderly end."""
        await self.engine.stop()
        await self.commits.close()
        await self._close_store()

    async def crash(self) -> None:
        """Nothing more is written, as if the process had been killed."""
        self.commits.abandon(RuntimeError("killed"))
        await self.engine.abandon()
        await self._close_store()

    async def _close_store(self) -> None:
        self.wheel.close()
        await self.store.close()

    async def counts(self, job_type: str) -> JobCounts:
        """The store's own counts of a type, all priorities together."""
        found = [one for one in (await self.store.ledger.ledger()).jobs if one.job_type == job_type]
        numbers = zip(*(one[2:] for one in found), strict=True)
        return JobCounts(job_type, 0, *(sum(column) for column in numbers)) if found else JobCounts(job_type, *[0] * 11)


def simulated(
    test: Callable[Concatenate[Rig, P], Awaitable[None]],
) -> Callable[P, None]:
    """Runs the test in virtual time with a rig of its own, closed at its end."""

    @wraps(test)
    def run_it(*args: P.args, **kwargs: P.kwargs) -> None:
        async def main() -> None:
            async with AsyncExitStack() as closing:
                rig = Rig()
                closing.push_async_callback(_closed, rig)
                async with asyncio.timeout(DAY_S):  # virtual: a test that waits for ever fails soon
                    await test(rig, *args, **kwargs)

        run(main())

    del run_it.__wrapped__  # type: ignore[attr-defined]
    return run_it


async def _closed(rig: Rig) -> None:
    if hasattr(rig, "engine") and not rig.store._session.closed:
        await rig.close()


async def eventually(condition: Callable[[], bool | Awaitable[bool]], *, within_s: float = 60.0) -> None:
    """Lets virtual time pass until the condition holds; fails after so many virtual seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        found = condition()
        if await found if not isinstance(found, bool) else found:
            return
        assert loop.time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def until(event: threading.Event) -> None:
    """Lets the loop pass without moving virtual time, since a thread is at work."""
    for _ in iter(event.is_set, True):
        await asyncio.sleep(0)
