"""A runner: the node that owns shards, hosts entities and runs jobs.

It starts from the store upwards and stops in the reverse order: nothing takes work before what it stands on is ready,
and nothing below goes away while work is under way. Under which id it does so may change while it runs: an incarnation
that was reaped is replaced by a new one in the same process.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from importlib.metadata import version
from typing import Any

from holdfast.cluster.clock import StoreClock
from holdfast.cluster.lease import Lease
from holdfast.cluster.ownership import Ownership
from holdfast.cluster.routing import Routes
from holdfast.cluster.tenant import HandOver
from holdfast.cluster.watchdog import LoopWatchdog
from holdfast.entities.door import Door, Link
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.letters import DeadMessage
from holdfast.errors import EntityNotAssignedToRunner, PersistenceError
from holdfast.jobs.definition import Job
from holdfast.jobs.door import JobDoor
from holdfast.kit.backoff import Backoff
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.eager import CHECKPOINT
from holdfast.kit.ids import IdPool
from holdfast.kit.service import Periodic
from holdfast.kit.tasks import TaskOwner
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.model.cluster import GroupRow, RunnerRow, RunnerState, ShardRow
from holdfast.model.health import Check, Health
from holdfast.model.ids import MessageId, micros
from holdfast.model.placement import Placement
from holdfast.ports.store import RunnerStore
from holdfast.settings import Settings

from .groups import group_of_type, wanted_groups
from .incarnation import Incarnation, Outfit
from .peers import Peers, way_to
from .questions import Moved
from .remote.elsewhere import Elsewhere
from .serving.front import Front
from .serving.instances import LiveInstances
from .standing import Orders

logger = logging.getLogger("holdfast.runtime")

VERSION = version("holdfast")
SOFTWARE = f"holdfast {VERSION}"
REGISTER_AGAIN = Backoff(first_s=0.2, ceiling_s=5.0)


class Runner:
    """Implements `runtime.node.Node`."""

    def __init__(
        self,
        *,
        store: RunnerStore,
        entity_types: Mapping[type[Any], EntityType],
        job_types: Mapping[str, Job[..., Any]],
        orders: Orders,
        link: Link,
        settings: Settings,
        metrics: MetricsService,
        clock: Clock,
        rng: random.Random,
        http: str | None = None,
        front: Front | None = None,
        peers: Peers | None = None,
        context: Context | None = None,
    ) -> None:
        """`front` serves other processes, without it nobody but this one is served; `peers` are other runners.

        `context` is what jobs' handlers start from, else an empty one.
        """
        self._store = store
        self._front = front
        self._peers = peers
        self.http = http
        self._entity_types = entity_types
        self._job_types = job_types
        self._orders = orders
        self._link = link
        self._group_of_type = group_of_type(entity_types.values(), job_types.values())
        self._groups = wanted_groups(entity_types.values(), self._group_of_type, shards=settings.cluster.shards)
        self._context = context or Context()
        self._settings = settings
        self._metrics = metrics
        self._clock = StoreClock(clock, alone=store.alone)
        self._rng = rng
        self.loop = asyncio.get_running_loop()
        self._watchdog = LoopWatchdog(self.loop, metrics)
        self._wheel = DeadlineWheel(self.loop)
        self._ids = IdPool(store.ids.allocate, monotonic=clock.monotonic)
        self._routes = Routes(reader=store.membership, clock=clock)
        self._elsewhere = None if peers is None else self._way_to(peers)
        self._pruning = Periodic("holdfast-pruning", self._prune, every_s=settings.retention.prune_every)
        self._tasks = TaskOwner("holdfast-runner")
        self._address = ""
        self._outfit: Outfit
        self._lease: Lease | None = None
        self._ownership: Ownership
        self._incarnation: Incarnation
        self._unwatch = metrics.storage.connections.read_with(self._connections)
        self._started = self._stopped = False

    async def start(self) -> None:
        """Registers, takes up what the store holds, and serves."""
        self._metrics.own_thread()
        if self._front is not None:
            listening = await self._front.listen(lapsed=self._lapsed)
            self._address = (self._peers and self._peers.advertise) or listening
        self._outfit = self._fitted_out(await self._store.membership.ensure_groups(self._groups))
        self._watchdog.start()
        if self._elsewhere is not None:
            await self._elsewhere.start()
        await self._register()
        await self._pruning.start()
        self._tasks.start(self._stay_registered(), name="registration")
        self._describe()
        self._started = True

    @property
    def runner_id(self) -> int:
        """Of the present incarnation; after the end, of the last."""
        return 0 if self._lease is None else self._lease.runner_id

    def serves(self, shard: int) -> bool:
        """Whether new work of the shard is admitted here now."""
        return self._ownership.serves(shard)

    @property
    def store_url(self) -> str:
        return self._store.url

    @property
    def entities(self) -> Door:
        return self._incarnation.entities.door

    @property
    def jobs(self) -> JobDoor:
        return self._incarnation.jobs

    async def broadcast(
        self, declared: EntityType, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sequence[Any]:
        with self._metrics.track_cluster(operation="broadcast", entity_type=declared.name):
            entities = self._incarnation.entities
            here = LiveInstances(entities.door, entities.manager.live).tell(declared, handler, args, kwargs)
            if self._elsewhere is None:
                return await here
            payload = handler.signature.encode(args, kwargs)
            replies = await asyncio.gather(here, self._elsewhere.broadcast(declared, handler, payload))
            return [reply for some in replies for reply in some]

    async def message_result(self, message_id: int, timeout: float | None) -> Any:
        return await self._incarnation.entities.door.result(message_id, timeout)

    async def in_inbox(self, number: int) -> bool:
        return await self._store.inbox_reader.entry(number) is not None

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        return await self._incarnation.entities.letters.page(entity_type=entity_type, limit=limit, after=after)

    async def replay_message(self, message_id: int) -> MessageId:
        try:
            return await self._incarnation.entities.letters.replay(message_id)
        except EntityNotAssignedToRunner:
            if self._elsewhere is None:
                raise
            return await self._elsewhere.replay_message(message_id)

    async def discard_message(self, message_id: int) -> None:
        try:
            await self._incarnation.entities.letters.discard(message_id)
        except EntityNotAssignedToRunner:
            if self._elsewhere is None:
                raise
            await self._elsewhere.discard_message(message_id)

    async def runners(self) -> Sequence[RunnerRow]:
        return await self._store.membership.runners()

    async def shards(self) -> Sequence[ShardRow]:
        return await self._store.membership.shards()

    async def where(self, address: Address) -> RunnerRow | None:
        number = self._outfit.placement.of_entity(*address)
        owner = next((shard.runner_id for shard in await self.shards() if shard.number == number), None)
        return next((runner for runner in await self.runners() if runner.runner_id == owner), None)

    def health(self) -> Health:
        lease, limit_s = self._lease, self._settings.cluster.loop_stall_unready
        if lease is None or not self._started or self._stopped:
            return Health.of([Check("started", False, "stopped" if self._stopped else "starting")])
        stalled_s, waiting_s = self._watchdog.stalled_s, self._incarnation.journal.stalled_s
        return Health.of(
            (
                Check("started", True, f"runner {lease.runner_id}"),
                Check("accepting", lease.state is RunnerState.ACTIVE, str(lease.state)),
                Check("event loop", stalled_s < limit_s, f"late by {stalled_s:.1f} s"),
                Check("lease", not lease.lapsed, f"{lease.remaining_s:.1f} s left"),
                Check("commits", waiting_s < limit_s, f"waiting for {waiting_s:.1f} s"),
            )
        )

    def under_way(self) -> list[str]:
        """What is being handled, commits or could run now, in words; for tests. What is due later is not."""
        return self._incarnation.under_way()

    def overdue(self) -> bool:
        """Whether the time of something has come that has not begun; for tests, whose clock can stand still then."""
        return self._incarnation.overdue()

    async def drain(self) -> None:
        """Gives its shards to other runners, one by one as their work ends; what nobody takes ends here."""
        if not self._started or self._stopped:
            return
        timeout_s = self._settings.cluster.drain_timeout
        if self._elsewhere is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._ownership.drain()
                    await self._elsewhere.told()
        if self._front is not None:
            self._front.go_away()
        await self._incarnation.drain(timeout_s)

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        await self._tasks.stop()
        if self._front is not None:
            await self._front.close()
        if self._elsewhere is not None:
            await self._elsewhere.stop()
        await self._pruning.stop()
        if self._lease is not None:
            await self._incarnation.stop()
            await self._ownership.stop()
        await self._routes.close()
        self._unwatch()
        self._watchdog.stop()
        self._wheel.close()
        await self._store.close()

    # The incarnation.

    async def _register(self) -> None:
        """Becomes a runner under a new id and serves what is due to it. Raises PersistenceError."""
        settings, outfit = self._settings.cluster, self._outfit
        lease = Lease(
            store=self._store,
            clock=self._clock,
            settings=settings,
            metrics=self._metrics,
            stalled_s=lambda: self._watchdog.stalled_s,
        )
        types = [declared.name for declared in self._entity_types.values()]
        weight, groups = 1.0 if self._peers is None else self._peers.weight, sorted(self._groups)
        wanted = RunnerState.ACTIVE if self._lease is None else self._lease.state
        await lease.start(
            address=self._address, version=VERSION, types=types, groups=groups, weight=weight, wanted=wanted
        )
        self._clock.follow(lease)
        ownership = Ownership(
            membership=self._store.membership,
            lease=lease,
            routes=self._routes,
            clock=self._clock,
            random=self._rng,
            settings=settings,
            metrics=self._metrics,
            notify=self._tell_moved,
        )
        incarnation = Incarnation(outfit, runner_id=lease.runner_id, territory=ownership, on_fenced=ownership.suspect)
        self._lease, self._ownership, self._incarnation = lease, ownership, incarnation
        await incarnation.start()
        self._link.open(self.entities)  # before there is a shard: handlers of what is stored have refs too
        if self._front is not None:
            self._open(self._front)
        await ownership.start(incarnation)

    async def _stay_registered(self) -> None:
        """Whenever the incarnation was reaped: another one in its place."""
        while True:
            await self._ownership.ended()
            failures = 0
            while True:
                await self._incarnation.stop()  # also one whose beginning failed: it would hold shards and serve none
                await self._ownership.stop()
                if failures:
                    await asyncio.sleep(REGISTER_AGAIN.delay_s(failures, self._rng))
                try:
                    await self._register()
                    break
                except PersistenceError as error:
                    failures += 1
                    logger.error("this runner was reaped and can't register anew, which is tried again: %s", error)
            self._describe()

    def _lapsed(self) -> bool:
        return self._lease is not None and self._lease.lapsed

    def _open(self, front: Front) -> None:
        incarnation = self._incarnation
        front.open(
            node=self,
            clock=self._clock,
            entities=incarnation.entities,
            jobs=incarnation.jobs,
            types={declared.name: declared for declared in self._entity_types.values()},
            shard_of=lambda address: self._outfit.placement.of_entity(*address),
            runner_id=incarnation.runner_id,
            inbox_taken=incarnation.inbox.taken,
            territory=None if self._elsewhere is None else self._ownership,
            moved=self._hear_moved,
        )

    # The others.

    def _way_to(self, peers: Peers) -> Elsewhere:
        return way_to(
            peers,
            store=self._store,
            routes=self._routes,
            runner_id=lambda: 0 if self._lease is None else self._lease.runner_id,
            software=SOFTWARE,
            entity_types=self._entity_types,
            groups=self._group_of_type,
            ids=self._ids,
            wheel=self._wheel,
            settings=self._settings,
            metrics=self._metrics,
            clock=self._clock,
            rng=self._rng,
        )

    def _tell_moved(self, receiver: RunnerRow, handovers: Sequence[HandOver]) -> None:
        """To the receiver, and to everybody who is connected here."""
        moved = [(handover.row, handover.closed_s) for handover in handovers]
        if self._elsewhere is not None:
            self._elsewhere.tell_owner(receiver, moved)
        if self._front is not None:
            self._front.tell_moved(receiver, moved)

    def _hear_moved(self, told: Moved) -> None:
        self._routes.learn([row for row, _ in told.shards], (told.runner,))
        self._ownership.handed(HandOver(row, closed_s) for row, closed_s in told.shards)

    def _fitted_out(self, groups: Sequence[GroupRow]) -> Outfit:
        return Outfit(
            store=self._store,
            entity_types=self._entity_types,
            job_types=self._job_types,
            orders=self._orders,
            link=self._link,
            settings=self._settings,
            metrics=self._metrics,
            clock=self._clock,
            random=self._rng,
            wheel=self._wheel,
            ids=self._ids,
            placement=Placement.of(groups, self._group_of_type),
            context=self._context,
            elsewhere=self._elsewhere,
            lapsed=self._lapsed,
        )

    async def _prune(self) -> None:
        """One runner does it for all: the eldest."""
        if self._lease is None or self._lease.view.runners[0].runner_id != self._lease.runner_id:
            return
        retention = self._settings.retention
        before = self._clock.now_us() - micros(retention.done)
        while await self._store.maintenance.prune(finished_before=before, limit=retention.prune_rows):
            await CHECKPOINT

    def _connections(self) -> dict[frozenset[tuple[str, str]], float]:
        busy, idle = self._store.connections()
        return {frozenset({("state", "busy")}): float(busy), frozenset({("state", "idle")}): float(idle)}

    def _describe(self) -> None:
        kind = self._store.url.partition(":")[0]
        self._metrics.runtime.info.labels(version=VERSION, python=platform.python_version(), store=kind).set(1)
        logger.info("runner %s serves %s", self._incarnation.runner_id, self._store.url)
