"""What waits in the store for shards that are being taken up: handed out page by page, so that memory stays bounded.

Each taking walks the stored messages of its shards once, by id; several may be under way. A page comes when what is in
memory is mostly done. Until a shard's walk has ended, whoever lets in a new message for one of its entities first
calls `CatchingUp.first`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from holdfast.errors import HoldfastError
from holdfast.kit.tasks import TaskOwner

from .delivery import Delivery
from .inflight import Inflight
from .shards import Shards
from .surroundings import Surroundings

logger = logging.getLogger("holdfast.entities")

PAGE_EVERY_S = 0.05


class Walk:
    """The shards that one walk is about, and how far it has come."""

    __slots__ = ("after", "ended", "moment", "shards")

    def __init__(self, shards: Collection[int], moment: int) -> None:
        self.shards = set(shards)
        self.moment = moment
        self.after = 0
        self.ended = False


class Backlog:
    """Walks through what is stored."""

    def __init__(self, around: Surroundings, *, shards: Shards, delivery: Delivery, inflight: Inflight) -> None:
        self._reader = around.reader
        self._clock = around.clock
        self._page_rows = around.settings.page_rows
        self._shards = shards
        self._delivery = delivery
        self._inflight = inflight
        self._walks: list[Walk] = []
        self._tasks = TaskOwner("holdfast-backlog")

    async def stop(self) -> None:
        await self._tasks.stop()

    @property
    def walking(self) -> bool:
        """Whether stored messages are still to be read."""
        return bool(self._walks)

    async def adopt(self, shards: Collection[int]) -> None:
        """Hands out the first page; the rest follows by itself. Raises what the store does."""
        walk = Walk(shards, self._shards.moment)
        self._walks.append(walk)
        try:
            await self._page(walk)
        except BaseException:
            self._walks.remove(walk)
            raise
        self._go_on(walk)

    def walk_again(self) -> None:
        """More is due than could be told by its time."""
        walk = Walk(self._shards.held, self._shards.moment)
        self._walks.append(walk)
        self._go_on(walk)

    def forget(self, shards: Collection[int]) -> None:
        """These shards are somebody else's now."""
        for walk in self._walks:
            walk.shards.difference_update(shards)

    def _go_on(self, walk: Walk) -> None:
        if walk.ended:
            self._walks.remove(walk)
        else:
            self._tasks.start(self._follow(walk), name="walk")

    async def _follow(self, walk: Walk) -> None:
        try:
            while walk.shards and not walk.ended:
                await asyncio.sleep(PAGE_EVERY_S)
                if len(self._inflight) <= self._page_rows // 2:
                    try:
                        await self._page(walk)
                    except HoldfastError as error:
                        logger.warning("stored messages could not be read, to be tried again: %s", error)
        finally:
            self._walks.remove(walk)

    async def _page(self, walk: Walk) -> None:
        moment = self._shards.moment
        with self._inflight.looking() as passed:
            rows = await self._reader.pending(
                after=walk.after, limit=self._page_rows, due_before=self._clock.now_us(), shards=frozenset(walk.shards)
            )
        self._delivery.catching_up.hand_out(rows, passed, moment)
        if len(rows) < self._page_rows:
            walk.ended = True
            held_since = self._shards.held_since
            self._delivery.catching_up.ended(shard for shard in walk.shards if held_since(shard, walk.moment))
        else:
            walk.after = rows[-1].id
