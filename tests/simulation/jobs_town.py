"""Several job engines on one memory store: who owns which shard is decided here, and told as a cluster would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

from holdfast.errors import EntityNotAssignedToRunner, PersistenceError, RunnerUnavailable
from holdfast.jobs.call import JobCall
from holdfast.jobs.definition import Job
from holdfast.jobs.engine import JobEngine
from holdfast.jobs.handle import JobHandle
from holdfast.jobs.job_type import Lane
from holdfast.jobs.surroundings import Lent, Surroundings
from holdfast.kit.batching import GroupCommit, Lanes
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.model.ids import JobId
from holdfast.model.inbox import AttemptEnd, decode_entry
from holdfast.model.job import JobRow
from holdfast.model.ledger import JobCounts
from holdfast.model.message import Take
from holdfast.model.placement import Placement
from holdfast.ports.commits import CommitItem
from holdfast.ports.membership import Registration
from holdfast.settings import JobSettings
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.testing.loop import LoopClock

T = TypeVar("T")

SHARDS = 6
LOOK_S = 0.2


class Served:
    """A runner's territory, as the test says."""

    def __init__(self) -> None:
        self.shards: set[int] = set()

    def serves(self, shard: int) -> bool:
        return shard in self.shards


class Node:
    """One runner."""

    def __init__(self, town: Town, store: MemoryStore, runner_id: int, placement: Placement) -> None:
        self.town = town
        self.store = store
        self.runner_id = runner_id
        self.metrics = MetricsService()
        self.territory = Served()
        self.alive = True
        loop = asyncio.get_running_loop()
        self.wheel = DeadlineWheel(loop)
        self.commits: Lanes[CommitItem] = Lanes(
            lambda: GroupCommit(store.journal.commit, loop=loop, splits=_splits), 2, loop=loop
        )
        around = Surroundings(
            commits=self.commits,
            journal=store.journal,
            reader=store.jobs,
            ids=IdPool(store.ids.allocate, block=64),
            clock=town.clock,
            random=Random(runner_id),
            wheel=self.wheel,
            metrics=self.metrics,
            settings=town.settings,
            runner_id=runner_id,
            placement=placement,
            inbox=store.inbox_reader,
            territory=self.territory,
            elsewhere=town.onward(self),  # type: ignore[arg-type]
            executors=Executors(town, self),
        )
        self.engine = JobEngine(around, types=[job.declared for job in town.jobs])
        self._looks: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.engine.start()
        self._looks = asyncio.create_task(self._look())

    async def adopt(self, shards: Collection[int]) -> None:
        await again(lambda: self.engine.adopt(shards))
        self.territory.shards.update(shards)

    async def release(self, shards: Collection[int]) -> None:
        self.territory.shards.difference_update(shards)
        await self.engine.release(shards, timeout_s=1000.0)

    async def stop(self) -> None:
        await self._end_looks()
        await self.engine.stop()
        await self.commits.close()
        await self._close()

    async def crash(self) -> None:
        """Nothing more is written, as if the process had been killed."""
        self.alive = False
        await self._end_looks()
        self.commits.abandon(RuntimeError("killed"))
        await self.engine.abandon()
        await self._close()

    async def _end_looks(self) -> None:
        if self._looks is not None:
            self._looks.cancel()
            await asyncio.gather(self._looks, return_exceptions=True)

    async def _close(self) -> None:
        self.wheel.close()
        await self.store.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for row in await self.store.inbox_reader.inbox(limit=1000, shards=self.territory.shards):
                entry = decode_entry(row.kind, row.body)
                try:
                    if isinstance(entry, AttemptEnd):
                        await self.engine.take_end(entry, Take(row.id), row.shard)
                    elif isinstance(entry, JobRow):
                        await self.engine.take(entry, Take(row.id))
                except PersistenceError:
                    continue


class Town:
    """The runners, and who owns what."""

    def __init__(self, random: Random, **settings: Any) -> None:
        self.random = random
        self.tables = Tables(shared=True)
        self.faults = StorageFaults()
        self.clock = LoopClock(asyncio.get_running_loop())
        self.settings = JobSettings(**settings)
        self.jobs: list[Job[..., Any]] = []
        self.nodes: list[Node] = []
        self.ended: list[Node] = []
        self.cut_off: set[int] = set()
        """Runners that no other one reaches, nor they them; the store is."""
        self.lossy = 0.0
        self.owner: dict[int, Node] = {}
        self._moving: dict[int, asyncio.Lock] = {shard: asyncio.Lock() for shard in range(SHARDS)}

    def declare(self, job: Job[..., Any]) -> None:
        job.door = lambda: self.anyone().engine
        self.jobs.append(job)

    def anyone(self) -> Node:
        return self.random.choice(self.nodes)

    async def open(self) -> Node:
        store = MemoryStore(clock=self.clock, tables=self.tables, faults=self.faults)
        groups = await store.membership.ensure_groups({"default": (SHARDS, ())})
        registration = Registration("", "1", (), ("default",), 1.0, 10**12)
        runner_id = await store.membership.register(registration)
        node = Node(self, store, runner_id, Placement.of(groups))
        await node.start()
        self.nodes.append(node)
        return node

    async def claim(self, node: Node, shards: Collection[int]) -> None:
        await node.store.membership.claim(node.runner_id, shards)
        for shard in shards:
            self.owner[shard] = node
        await node.adopt(shards)

    async def move(self, shard: int, to: Node) -> None:
        """A directed hand-over."""
        async with self._moving[shard]:
            giver = self.owner[shard]
            if giver is to or not (giver.alive and to.alive):
                return
            await giver.release([shard])
            if not (giver.alive and to.alive):
                return
            moved = await giver.store.membership.hand_over(giver.runner_id, [shard], to.runner_id)
            assert moved
            self.owner[shard] = to
            await to.adopt([shard])

    async def kill(self, node: Node) -> None:
        """A runner dies, is reaped, and others take its shards."""
        self.nodes.remove(node)
        await node.crash()
        await asyncio.sleep(self.random.random())
        row = self.tables.runners.rows[node.runner_id]
        with self.tables.transaction():
            self.tables.runners.put(node.runner_id, row._replace(expires_at=0))
        assert await self.nodes[0].store.membership.reap() == [node.runner_id]
        for shard, owner in sorted(self.owner.items()):
            if owner is node:
                async with self._moving[shard]:
                    await self.claim(self.anyone(), [shard])
        for other in list(self.nodes):
            other.engine.look_after()

    async def close(self) -> None:
        for node in self.nodes:
            await node.stop()

    def onward(self, node: Node) -> Onward:
        return Onward(self, node)

    async def counts(self) -> JobCounts:
        """The store's own counts of all jobs together."""
        found = (await self.nodes[0].store.ledger.ledger()).jobs
        return JobCounts("", 0, *(sum(column) for column in zip(*(one[2:] for one in found), strict=True)))

    def value(self, name: str, **labels: str) -> float:
        """A metric of all runners there are and were, as a dashboard adds them up."""
        return sum(_value(node.metrics, name, labels) for node in self.nodes)


class Executors:
    """The way from one node to the others as executors; `town.lossy` words are lost, or their answers."""

    def __init__(self, town: Town, node: Node) -> None:
        self._town = town
        self._node = node

    def others(self) -> Sequence[int]:
        return [node.runner_id for node in self._town.nodes if node is not self._node]

    async def gone(self, executors: Collection[int], /) -> Collection[int]:
        return set(executors).difference(self._town.tables.runners.rows)

    async def borrow(self, executor: int, lane: Lane, slots: int, /) -> Lent:
        return await self._ask(executor, lambda engine: engine.lend(lane, slots))

    async def run(self, executor: int, credit: int, /) -> None:
        await self._ask(executor, lambda engine: engine.run_lent(credit))

    async def interrupt(self, executor: int, job: int, number: int, /) -> bool:
        return await self._ask(executor, lambda engine: engine.interrupt(job, number))

    async def _ask(self, executor: int, ask: Callable[[JobEngine], Coroutine[Any, Any, T]]) -> T:
        await self._pass(executor)
        node = next((node for node in self._town.nodes if node.runner_id == executor), None)
        if node is None:
            raise RunnerUnavailable(f"runner {executor} is gone")
        answer = await ask(node.engine)
        await self._pass(executor)
        return answer

    async def _pass(self, executor: int) -> None:
        await asyncio.sleep(self._town.random.uniform(0.0001, 0.002))
        cut = {executor, self._node.runner_id} & self._town.cut_off
        if cut or self._town.random.random() < self._town.lossy:
            raise RunnerUnavailable(f"runner {executor} does not answer", executed="unknown")


class Onward:
    """The door to the owner of a shard, whoever that is; it asks again while the shard is on its way."""

    def __init__(self, town: Town, node: Node) -> None:
        self._town = town
        self._node = node

    async def submit(self, call: JobCall[Any], /) -> JobHandle[Any]:
        return await self._ask(lambda engine: engine.submit(call), direct=True)

    async def submit_many(self, calls: Sequence[JobCall[Any]], /) -> list[JobHandle[Any]]:
        return [await self.submit(call) for call in calls]

    async def status(self, job: JobId, /) -> Any:
        return await self._ask(lambda engine: engine.here.status(job))

    async def wait(self, job: JobId, /, *, timeout: float | None = None) -> Any:
        return await self._ask(lambda engine: engine.here.wait(job, timeout=timeout))

    async def cancel(self, job: JobId, /) -> Any:
        return await self._ask(lambda engine: engine.here.cancel(job))

    async def replay(self, job: JobId, /) -> Any:
        return await self._ask(lambda engine: engine.here.replay(job))

    async def discard(self, job: JobId, /) -> Any:
        return await self._ask(lambda engine: engine.here.discard(job))

    async def _ask(self, ask: Callable[[JobEngine], Coroutine[Any, Any, Any]], *, direct: bool = False) -> Any:
        while True:
            for node in list(self._town.nodes):
                if direct and node is self._node:
                    continue
                try:
                    return await (self._submit(node, ask) if direct else ask(node.engine))
                except (EntityNotAssignedToRunner, RunnerUnavailable):
                    continue
            await asyncio.sleep(0.01)
            if self._node not in self._town.nodes:
                raise RunnerUnavailable("this runner is gone")

    async def _submit(self, node: Node, ask: Callable[[JobEngine], Coroutine[Any, Any, Any]]) -> Any:
        admission = node.engine._admission
        before, admission._elsewhere = admission._elsewhere, None
        try:
            return await ask(node.engine)
        finally:
            admission._elsewhere = before


async def again(act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Until the store lets it."""
    while True:
        try:
            await act()
            return
        except PersistenceError:
            await asyncio.sleep(0.1)


def _value(metrics: MetricsService, name: str, labels: dict[str, str]) -> float:
    try:
        return metrics.value(name, **labels)
    except LookupError:
        return 0.0  # nothing to tell of


def _splits(error: BaseException) -> bool:
    return isinstance(error, PersistenceError) and error.executed != "unknown"
