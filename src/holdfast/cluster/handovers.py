"""The statements that give shards to other runners: those that go to the same runner at the same time go together."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Sequence

from holdfast.errors import PersistenceError
from holdfast.kit.tasks import TaskOwner
from holdfast.model.cluster import ShardRow
from holdfast.ports.membership import Membership

logger = logging.getLogger("holdfast.cluster")


class Given(enum.Enum):
    """How it went."""

    MOVED = "moved"
    REFUSED = "refused"
    """The receiver's lease has ended, or the giver owned the shard no more."""
    FAILED = "failed"
    """The store surely did nothing."""
    UNKNOWN = "unknown"
    """It may have moved, or may yet."""


Answer = tuple[Given, ShardRow | None]


class HandOvers:
    """One statement at a time for each receiver; what comes meanwhile rides in the next."""

    def __init__(self, *, membership: Membership, tasks: TaskOwner) -> None:
        self._membership = membership
        self._tasks = tasks
        self._waiting: dict[int, dict[int, asyncio.Future[Answer]]] = {}
        self._under_way: set[int] = set()

    async def hand_over(self, giver: int, shard: int, to: int) -> Answer:
        """With the shard's new row where it moved."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(to, {})[shard] = answer
        if to not in self._under_way:
            self._under_way.add(to)
            self._tasks.start(self._work(giver, to), name="hand-over")
        return await answer

    async def _work(self, giver: int, to: int) -> None:
        try:
            while waiting := self._waiting.pop(to, None):
                given, rows = await self._ask(giver, tuple(waiting), to)
                moved = {row.number: row for row in rows}
                for shard, answer in waiting.items():
                    if not answer.done():
                        row = moved.get(shard)
                        answer.set_result((given, None) if row is None else (Given.MOVED, row))
        finally:
            self._under_way.discard(to)

    async def _ask(self, giver: int, shards: Sequence[int], to: int) -> tuple[Given, Sequence[ShardRow]]:
        try:
            return Given.REFUSED, await self._membership.hand_over(giver, shards, to)
        except PersistenceError as error:
            logger.warning("shards were not handed to runner %s: %s", to, error)
            return Given.FAILED if error.executed == "no" else Given.UNKNOWN, ()
        except Exception:
            logger.exception("shards were not handed to runner %s", to)
            return Given.UNKNOWN, ()
