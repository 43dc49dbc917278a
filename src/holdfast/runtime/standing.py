"""Standing orders: what an App has to be done without anybody's asking, its schedules and its singletons.

A shard's owner serves them like everything else of the shard, so to ownership both are one tenant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from random import Random

from holdfast.entities.door import Door
from holdfast.entities.entity_type import EntityType
from holdfast.jobs.door import JobDoor
from holdfast.kit.clock import Clock
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.ports.commits import Commits
from holdfast.ports.reads import MessageReader
from holdfast.ports.territory import Territory
from holdfast.schedules.engine import ScheduleEngine
from holdfast.schedules.schedule import Scheduling
from holdfast.settings import SingletonSettings
from holdfast.singletons.definition import DeclaredSingleton
from holdfast.singletons.engine import SingletonEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What an App declares."""

    scheduling: Scheduling
    schedule_type: EntityType
    singletons: Mapping[str, DeclaredSingleton]


class StandingOrders:
    """Both engines of one runner, as one."""

    def __init__(
        self,
        orders: Orders,
        *,
        door: Door,
        jobs: JobDoor,
        commits: Commits,
        reader: MessageReader,
        clock: Clock,
        random: Random,
        metrics: MetricsService,
        settings: SingletonSettings,
        shard_of: Callable[[Address], int],
        territory: Territory,
    ) -> None:
        """Belongs to the running event loop; `door` reaches entities from this runner. Made before any is delivered."""
        orders.scheduling.opened(jobs=jobs, clock=clock)
        self._schedules = ScheduleEngine(
            names=orders.scheduling.declared,
            schedule_type=orders.schedule_type,
            door=door,
            shard_of=shard_of,
            territory=territory,
            random=random,
        )
        self._singletons = SingletonEngine(
            singletons=orders.singletons.values(),
            commits=commits,
            reader=reader,
            clock=clock,
            random=random,
            metrics=metrics,
            settings=settings,
            shard_of=shard_of,
        )

    async def adopt(self, shards: Collection[int]) -> None:
        """Serves what belongs to these shards from now on; returns at once."""
        await self._schedules.adopt(shards)
        await self._singletons.adopt(shards)

    def on(self, shards: Collection[int]) -> set[int]:
        """Those of the shards on which something is served that is to be ended before they can go."""
        return self._singletons.on(shards) | self._schedules.on(shards)

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        """Returns once nothing of these shards is served here, or can have an effect any more."""
        await asyncio.gather(
            self._schedules.release(shards, timeout_s=timeout_s), self._singletons.release(shards, timeout_s=timeout_s)
        )

    async def drain(self, timeout_s: float) -> None:
        """Ends everything, within the time where the tasks let it."""
        await asyncio.gather(self._schedules.stop(), self._singletons.drain(timeout_s))

    async def abandon(self) -> None:
        """Ends everything: another incarnation has taken over."""
        await asyncio.gather(self._schedules.abandon(), self._singletons.abandon())

    async def stop(self) -> None:
        """Ends everything. Works twice."""
        await asyncio.gather(self._schedules.stop(), self._singletons.stop())

    @property
    def busy(self) -> bool:
        """A schedule has not been declared yet; for tests. Singletons are never done, so they do not count."""
        return self._schedules.busy
