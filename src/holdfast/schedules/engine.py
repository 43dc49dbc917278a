"""The owner's part in schedules: it tells each schedule of a shard that it takes what its code declares.

That is all there is to adopting one: timers and state are the entity engine's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextvars import Context
from random import Random

from holdfast.entities.door import DEFAULTS, Door
from holdfast.entities.entity_type import EntityType
from holdfast.errors import HoldfastError
from holdfast.kit.backoff import Backoff
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.ports.territory import Territory

from .schedule import SCHEDULE_TYPE

LOOK_EVERY_S = 0.01
"""A shard is served moments after it was adopted."""
RETRY = Backoff(first_s=0.1, ceiling_s=5.0)

log = logging.getLogger(__name__)


class ScheduleEngine:
    """Declares the schedules of the shards it is given."""

    def __init__(
        self,
        *,
        names: Iterable[str],
        schedule_type: EntityType,
        door: Door,
        shard_of: Callable[[Address], int],
        territory: Territory,
        random: Random,
    ) -> None:
        """Belongs to the running event loop."""
        self._declare_handler = schedule_type.handlers["declare"]
        self._shards = {name: shard_of(Address(SCHEDULE_TYPE, name)) for name in names}
        self._door = door
        self._territory = territory
        self._random = random
        self._tasks = TaskOwner("schedules")
        self._declaring: dict[str, asyncio.Task[None]] = {}

    async def adopt(self, shards: Collection[int]) -> None:
        """Returns at once: a schedule hears as soon as its shard is served, unless that is released before."""
        for name, shard in self._shards.items():
            if shard in shards and name not in self._declaring:
                start = Context().run  # what the caller has in its context is none of an entity's business
                task = start(self._tasks.start, self._declare(name), name=name)
                self._declaring[name] = task
                task.add_done_callback(lambda _, name=name: self._declaring.pop(name, None))  # type: ignore[misc]

    def on(self, shards: Collection[int]) -> set[int]:
        """Those of the shards on which a schedule has not heard yet."""
        return {self._shards[name] for name in self._declaring}.intersection(shards)

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        """Ends what is under way for these shards; the next owner declares anew."""
        for name in [name for name in self._declaring if self._shards[name] in shards]:
            await self._tasks.cancel(self._declaring[name])

    async def abandon(self) -> None:
        await self._tasks.stop()

    async def stop(self) -> None:
        await self._tasks.stop()

    @property
    def busy(self) -> bool:
        """Some schedule has not heard yet; for tests."""
        return bool(self._declaring)

    async def _declare(self, name: str) -> None:
        address, attempt = Address(SCHEDULE_TYPE, name), 0
        while True:
            if not self._territory.serves(self._shards[name]):
                await asyncio.sleep(LOOK_EVERY_S)
                continue
            try:
                await self._door.call(address, self._declare_handler, (), {}, DEFAULTS)
            except HoldfastError as error:
                attempt += 1
                log.warning("schedule %s can't be declared yet: %s", name, error)
                await asyncio.sleep(RETRY.delay_s(attempt, self._random))
            else:
                return
