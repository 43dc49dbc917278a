"""What works under one runner id: the engines, the group commit they share, the inbox of their shards.

An incarnation is given shards and gives them up again (it is the cluster's `Tenant`). Where it was reaped it ends
without a word to the store, and the runner makes another one under a new id.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping
from contextvars import Context
from random import Random
from typing import Any

from holdfast.entities.door import Link
from holdfast.entities.engine import EntityEngine
from holdfast.entities.entity_type import EntityType
from holdfast.entities.surroundings import Surroundings as EntitySurroundings
from holdfast.errors import FencedOut, PersistenceError
from holdfast.jobs.definition import Job
from holdfast.jobs.engine import JobEngine
from holdfast.jobs.surroundings import ALONE, nowhere
from holdfast.jobs.surroundings import Surroundings as JobSurroundings
from holdfast.kit.batching import GroupCommit, Lanes
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.kit.tasks import together
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.model.placement import Placement
from holdfast.ports.commits import CommitItem
from holdfast.ports.store import RunnerStore
from holdfast.ports.territory import Territory
from holdfast.settings import Settings

from .commits import MeteredJournal
from .inbox import InboxTaking
from .remote.elsewhere import Elsewhere
from .standing import Orders, StandingOrders

logger = logging.getLogger("holdfast.runtime")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outfit:
    """What a runner's process has, under whichever id it runs."""

    store: RunnerStore
    entity_types: Mapping[type[Any], EntityType]
    job_types: Mapping[str, Job[..., Any]]
    orders: Orders
    link: Link
    settings: Settings
    metrics: MetricsService
    clock: Clock
    random: Random
    wheel: DeadlineWheel
    ids: IdPool
    placement: Placement
    context: Context
    """Of jobs' handlers."""
    elsewhere: Elsewhere | None
    """The way to other runners; None on a store that has one runner."""
    lapsed: Callable[[], bool]
    """Whether the lease may have ended."""


class Incarnation:
    """Implements `cluster.tenant.Tenant`. Belongs to the runner's loop."""

    def __init__(self, outfit: Outfit, *, runner_id: int, territory: Territory, on_fenced: Callable[[], None]) -> None:
        """`on_fenced` is called when a write was fenced out."""
        self.runner_id = runner_id
        self._outfit = outfit
        self._settings = outfit.settings
        self.journal = MeteredJournal(outfit.store.journal, outfit.metrics, on_fenced=on_fenced)
        lanes, loop = outfit.store.lanes, asyncio.get_running_loop()
        self._group = self._lane() if lanes == 1 else Lanes(self._lane, lanes, loop=loop)
        self.entities = self._entity_engine(territory)
        self.jobs = self._job_engine(territory)
        self.inbox = InboxTaking(store=outfit.store, territory=territory, entities=self.entities, jobs=self.jobs)
        self.entities.door.inbox_left = self.inbox.left
        self.standing = self._standing_orders(territory)
        self._over = False

    async def start(self) -> None:
        """Ready to be given shards."""
        await self.jobs.start()
        await self.entities.start()
        await self.inbox.start()

    # What the cluster asks of its tenant.

    async def adopt(self, shards: Collection[int]) -> None:
        """The engines read first what is stored, then the inbox: it holds what came later. Raises the first error once
        both have come to an end; what one of them holds by then it passes over the next time."""
        await together(self.entities.adopt(shards), self.jobs.adopt(shards))
        self.inbox.adopt(shards)
        await self.standing.adopt(shards)

    async def hold_back(self, shards: Collection[int]) -> None:
        await self.inbox.release(shards)

    def busy(self, shards: Collection[int]) -> set[int]:
        return self.entities.busy(shards) | self.standing.on(shards)

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        await asyncio.gather(
            self.entities.release(shards, timeout_s=timeout_s),
            self.jobs.release(shards, timeout_s=timeout_s),
            self.standing.release(shards, timeout_s=timeout_s),
        )

    def departed(self) -> None:
        self.jobs.look_after()

    async def lost(self) -> None:
        """Cancels whatever runs, and writes nothing more: others own the shards."""
        self._over = True
        gone = FencedOut(f"runner {self.runner_id} was reaped: another runner has taken its shards")
        await self.inbox.stop()
        self._group.abandon(gone)
        await asyncio.gather(self.standing.abandon(), self.jobs.abandon(), self.entities.abandon())

    # The end.

    async def drain(self, timeout_s: float) -> None:
        """Takes nothing more and lets what runs end."""
        await self.inbox.stop()
        await asyncio.gather(self.entities.drain(timeout_s), self.jobs.drain(timeout_s), self.standing.drain(timeout_s))
        await self._group.drain()

    async def stop(self) -> None:
        """Leaves nothing running; after `drain`, after `lost`, and without either."""
        await self.inbox.stop()
        if not self._over:
            await self.standing.stop()
            await self.jobs.stop()
            await self.entities.stop()
        await self._group.close()

    def under_way(self) -> list[str]:
        """What is being handled, commits or could run now, in words. What is due later is not."""
        found = self.entities.under_way()
        if self.inbox.busy:
            found.append("the inbox")
        if self._group.busy:
            found.append("a commit")
        if jobs := self.jobs.under_way(self._outfit.clock.now_us()):
            found.append(f"{jobs} jobs")
        if self.standing.busy:
            found.append("a schedule's declaration")
        return found

    def overdue(self) -> bool:
        """Whether the time of something has come that has not begun."""
        return self.entities.overdue() or self.jobs.overdue(self._outfit.clock.now_us())

    # The engines, and what they share.

    def _lane(self) -> GroupCommit[CommitItem]:
        bounds = self._settings.commit
        return GroupCommit(
            self.journal.commit,
            loop=asyncio.get_running_loop(),
            splits=_splits,
            rows_max=bounds.batch_rows_max,
            bytes_max=bounds.batch_bytes_max,
        )

    def _shard_of(self, address: Address) -> int:
        return self._outfit.placement.of_entity(*address)

    def _entity_engine(self, territory: Territory) -> EntityEngine:
        outfit = self._outfit
        around = EntitySurroundings(
            types=outfit.entity_types,
            link=outfit.link,
            group=self._group,
            journal=self.journal,
            reader=outfit.store.messages,
            ids=outfit.ids,
            clock=outfit.clock,
            random=outfit.random,
            wheel=outfit.wheel,
            metrics=outfit.metrics,
            settings=outfit.settings.entities,
            shard_of=self._shard_of,
            runner_id=self.runner_id,
            loop=asyncio.get_running_loop(),
            territory=territory,
        )
        engine = EntityEngine(around)
        if outfit.elsewhere is not None:
            engine.door.lead_to(outfit.elsewhere.door, lapsed=outfit.lapsed)
        return engine

    def _job_engine(self, territory: Territory) -> JobEngine:
        outfit, elsewhere = self._outfit, self._outfit.elsewhere
        around = JobSurroundings(
            commits=self._group,
            journal=self.journal,
            reader=outfit.store.jobs,
            ids=outfit.ids,
            clock=outfit.clock,
            random=outfit.random,
            wheel=outfit.wheel,
            metrics=outfit.metrics,
            settings=outfit.settings.jobs,
            runner_id=self.runner_id,
            placement=outfit.placement,
            inbox=outfit.store.inbox_reader,
            territory=territory,
            elsewhere=None if elsewhere is None else elsewhere.jobs,
            left_in=nowhere if elsewhere is None else elsewhere.left_in,
            executors=ALONE if elsewhere is None else elsewhere.executors,
            context=outfit.context,
            transaction_timeout_s=outfit.settings.entities.transaction_timeout,
        )
        return JobEngine(around, types=[job.declared for job in outfit.job_types.values()])

    def _standing_orders(self, territory: Territory) -> StandingOrders:
        outfit = self._outfit
        return StandingOrders(
            outfit.orders,
            door=self.entities.door,
            jobs=self.jobs,
            commits=self._group,
            reader=outfit.store.messages,
            clock=outfit.clock,
            random=outfit.random,
            metrics=outfit.metrics,
            settings=outfit.settings.singletons,
            shard_of=self._shard_of,
            territory=territory,
        )


def _splits(error: BaseException) -> bool:
    """Whether some unit of the batch is to blame, so that the others may pass without it."""
    if isinstance(error, FencedOut) or not isinstance(error, PersistenceError):
        return False
    return error.executed != "unknown"  # then all of it may be written
