"""A runner: the node that owns shards, hosts entities and runs jobs.

It starts from the store upwards and stops in the reverse order: nothing takes work before what it stands on is ready,
and nothing below goes away while work is under way.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from holdfast.cluster.alone import LeaseAlone
from holdfast.cluster.watchdog import LoopWatchdog
from holdfast.entities.door import DEFAULTS, Door, Link
from holdfast.entities.engine import EntityEngine
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.letters import DeadMessage
from holdfast.entities.surroundings import Surroundings as EntitySurroundings
from holdfast.errors import FencedOut, PersistenceError
from holdfast.jobs.definition import Job
from holdfast.jobs.door import JobDoor
from holdfast.jobs.engine import JobEngine
from holdfast.jobs.surroundings import Surroundings as JobSurroundings
from holdfast.kit.batching import GroupCommit
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.eager import CHECKPOINT
from holdfast.kit.hashing import shard_of
from holdfast.kit.ids import IdPool
from holdfast.kit.service import Periodic
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.model.cluster import RunnerRow, RunnerState, ShardRow
from holdfast.model.health import Check, Health
from holdfast.model.ids import MessageId, micros
from holdfast.model.placement import Placement
from holdfast.ports.commits import CommitItem
from holdfast.ports.store import RunnerStore
from holdfast.settings import Settings

from .commits import MeteredJournal
from .inbox import InboxTaking
from .serving.front import Front

logger = logging.getLogger("holdfast.runtime")

GROUP = "default"
VERSION = version("holdfast")


class Runner:
    """One incarnation of a runner on a store that it holds alone."""

    def __init__(
        self,
        *,
        store: RunnerStore,
        entity_types: Mapping[type[Any], EntityType],
        job_types: Mapping[str, Job[..., Any]],
        link: Link,
        settings: Settings,
        metrics: MetricsService,
        clock: Clock,
        rng: random.Random,
        http: str | None = None,
        front: Front | None = None,
    ) -> None:
        """`front` serves other processes; without it nobody but this one is served."""
        self._store = store
        self._front = front
        self.http = http
        self._entity_types = entity_types
        self._job_types = job_types
        self._link = link
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._rng = rng
        self.loop = asyncio.get_running_loop()
        self._watchdog = LoopWatchdog(self.loop, metrics)
        self._lease = LeaseAlone(
            membership=store.membership,
            line=store.lease_line,
            clock=clock,
            settings=settings.cluster,
            metrics=metrics,
        )
        self._wheel = DeadlineWheel(self.loop)
        journal = MeteredJournal(store.journal, metrics)
        self._group: GroupCommit[CommitItem] = GroupCommit(
            journal.commit,
            loop=self.loop,
            splits=_splits,
            rows_max=settings.commit.batch_rows_max,
            bytes_max=settings.commit.batch_bytes_max,
        )
        self._journal = journal
        self._ids = IdPool(store.ids.allocate)
        self._pruning = Periodic("holdfast-pruning", self._prune, every_s=settings.retention.prune_every)
        self._engine: EntityEngine
        self._jobs: JobEngine
        self._inbox: InboxTaking
        self._started = self._stopped = False

    async def start(self) -> None:
        """Registers, takes up what the store holds, and serves."""
        self._metrics.own_thread()
        types = tuple(sorted(declared.name for declared in self._entity_types.values()))
        address = "" if self._front is None else await self._front.listen()
        await self._lease.start(address=address, version=VERSION, types=types, group=GROUP)
        self._engine = self._entity_engine()
        self._jobs = self._job_engine(Placement.of(await self._store.membership.groups()))
        self._watchdog.start()
        await self._jobs.start()
        await self._jobs.adopt([shard.number for shard in self._lease.shards])
        await self._engine.start()
        await self._engine.adopt([shard.number for shard in self._lease.shards])
        await self._pruning.start()
        self._inbox = InboxTaking(store=self._store, entities=self._engine, jobs=self._jobs)
        self._engine.door.inbox_left = self._inbox.left
        await self._inbox.start()
        if self._front is not None:
            self._open(self._front)
        self._describe()
        self._started = True

    @property
    def store_url(self) -> str:
        return self._store.url

    @property
    def entities(self) -> Door:
        return self._engine.door

    @property
    def jobs(self) -> JobDoor:
        return self._jobs

    async def broadcast(
        self, declared: EntityType, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sequence[Any]:
        door = self._engine.door
        live = [address for address in self._engine.manager.live if address.entity_type == declared.name]
        meter = self._metrics.cluster.meter(operation="broadcast", entity_type=declared.name)
        started = time.perf_counter()
        replies = await asyncio.gather(
            *(door.call(address, handler, args, kwargs, DEFAULTS) for address in live), return_exceptions=True
        )
        meter.succeeded(time.perf_counter() - started)
        return replies

    async def message_result(self, message_id: int, timeout: float | None) -> Any:
        return await self._engine.door.result(message_id, timeout)

    async def in_inbox(self, number: int) -> bool:
        return await self._store.inbox_reader.holds(number)

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        return await self._engine.letters.page(entity_type=entity_type, limit=limit, after=after)

    async def replay_message(self, message_id: int) -> MessageId:
        return await self._engine.letters.replay(message_id)

    async def discard_message(self, message_id: int) -> None:
        await self._engine.letters.discard(message_id)

    async def runners(self) -> Sequence[RunnerRow]:
        return await self._store.membership.runners()

    async def shards(self) -> Sequence[ShardRow]:
        return await self._store.membership.shards()

    async def where(self, address: Address) -> RunnerRow | None:
        number = self._shard_of(address)
        owner = next((shard.runner_id for shard in await self.shards() if shard.number == number), None)
        return next((runner for runner in await self.runners() if runner.runner_id == owner), None)

    def health(self) -> Health:
        stalled_s, remaining_s = self._watchdog.stalled_s, self._lease.remaining_s
        limit_s = self._settings.cluster.loop_stall_unready
        return Health.of(
            (
                Check("started", self._started and not self._stopped, "serving" if self._started else "starting"),
                Check("accepting", self._lease.state is RunnerState.ACTIVE, str(self._lease.state)),
                Check("event loop", stalled_s < limit_s, f"late by {stalled_s:.1f} s"),
                Check("lease", remaining_s > 0, f"{remaining_s:.1f} s left"),
                Check("commits", self._journal.stalled_s < limit_s, f"waiting for {self._journal.stalled_s:.1f} s"),
            )
        )

    def under_way(self) -> list[str]:
        """What is being handled, commits or could run now, in words; for tests. What is due later is not."""
        found = self._engine.under_way()
        if self._inbox.busy:
            found.append("the inbox")
        if self._group.busy:
            found.append("a commit")
        if jobs := self._jobs.under_way(self._clock.now_us()):
            found.append(f"{jobs} jobs")
        return found

    def overdue(self) -> bool:
        """Whether the time of something has come that has not begun; for tests, whose clock can stand still then."""
        return self._engine.overdue() or self._jobs.overdue(self._clock.now_us())

    async def drain(self) -> None:
        if not self._started or self._stopped:
            return
        self._lease.state = RunnerState.DRAINING
        timeout_s = self._settings.cluster.drain_timeout
        if self._front is not None:
            self._front.go_away()
        await self._inbox.stop()
        await asyncio.gather(self._engine.drain(timeout_s), self._jobs.drain(timeout_s))
        await self._group.drain()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        if self._front is not None:
            await self._front.close()
        if self._started:
            await self._inbox.stop()
            await self._pruning.stop()
            await self._jobs.stop()
            await self._engine.stop()
            await self._group.close()
        self._watchdog.stop()
        await self._lease.stop()
        self._wheel.close()
        await self._store.close()

    def _open(self, front: Front) -> None:
        front.open(
            node=self,
            entities=self._engine,
            jobs=self._jobs,
            types={declared.name: declared for declared in self._entity_types.values()},
            shard_of=self._shard_of,
            runner_id=self._lease.runner_id,
            inbox_taken=self._inbox.taken,
        )

    def _entity_engine(self) -> EntityEngine:
        return EntityEngine(
            EntitySurroundings(
                types=self._entity_types,
                link=self._link,
                group=self._group,
                journal=self._journal,
                reader=self._store.messages,
                ids=self._ids,
                clock=self._clock,
                random=self._rng,
                wheel=self._wheel,
                metrics=self._metrics,
                settings=self._settings.entities,
                shard_of=self._shard_of,
                runner_id=self._lease.runner_id,
                loop=self.loop,
            )
        )

    def _job_engine(self, placement: Placement) -> JobEngine:
        around = JobSurroundings(
            commits=self._group,
            journal=self._journal,
            reader=self._store.jobs,
            ids=self._ids,
            clock=self._clock,
            random=self._rng,
            wheel=self._wheel,
            metrics=self._metrics,
            settings=self._settings.jobs,
            runner_id=self._lease.runner_id,
            placement=placement,
            inbox=self._store.inbox_reader,
            transaction_timeout_s=self._settings.entities.transaction_timeout,
        )
        types = [job.declared for job in self._job_types.values()]
        return JobEngine(around, types=types)

    def _shard_of(self, address: Address) -> int:
        return shard_of(address.entity_type, address.entity_id, len(self._lease.shards))

    async def _prune(self) -> None:
        retention = self._settings.retention
        before = self._clock.now_us() - micros(retention.done)
        while await self._store.maintenance.prune(finished_before=before, limit=retention.prune_rows):
            await CHECKPOINT

    def _describe(self) -> None:
        kind = self._store.url.partition(":")[0]
        info = self._metrics.runtime.info.labels(version=VERSION, python=platform.python_version(), store=kind)
        info.set(1)
        logger.info("runner %s serves %s", self._lease.runner_id, self._store.url)


def _splits(error: BaseException) -> bool:
    """Whether some unit of the batch is to blame, so that the others may pass without it."""
    if isinstance(error, FencedOut) or not isinstance(error, PersistenceError):
        return False
    return error.executed != "unknown"  # then all of it may be written
