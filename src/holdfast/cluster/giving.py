"""Giving shards to other runners: gate, drain, hand over, tell.

Each shard moves by itself, a bounded number at a time, so that a long handler in one delays no other, and a shard's
gate is closed only when its turn has come. While its gate is closed nobody serves it: what ends that is the new owner,
or, where it can't be given, this runner again. A hand-over of which nothing is known is sent again, never taken for
undone: the statement may still be on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from holdfast.kit.clock import Clock
from holdfast.kit.tasks import TaskOwner
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerRow, ShardRow

from .handovers import Answer, Given, HandOvers
from .holdings import Holdings, Phase
from .tenant import HandOver, Tenant

logger = logging.getLogger("holdfast.cluster")

CONCURRENT_MAX = 32
TRIES_MAX = 3
AGAIN_S = 0.2


class Giving:
    """Brings shards from SERVED to their next owner, or back."""

    def __init__(
        self,
        *,
        tenant: Tenant,
        holdings: Holdings,
        handovers: HandOvers,
        clock: Clock,
        metrics: MetricsService,
        tasks: TaskOwner,
        receiver_of: Callable[[int], RunnerRow | None],
        keep: Callable[[int], None],
        moved: Callable[[HandOver], None],
        read: Callable[[], Awaitable[None]],
        done: Callable[[], None],
        release_s: float,
        certain_s: float,
    ) -> None:
        """`receiver_of`: who shall have the shard now, None where it stays. `keep`: it is not given away after all.
        `read`: reads anew who owns what. `done`: all that was to go has gone, or stays.

        `release_s`: what handlers get to end. `certain_s`: after that time a statement has ended, known or not.
        """
        self._tenant = tenant
        self._holdings = holdings
        self._handovers = handovers
        self._clock = clock
        self._moves = metrics.cluster.shard_moves.labels(direction="out")
        self._tasks = tasks
        self._receiver_of = receiver_of
        self._keep = keep
        self._moved = moved
        self._read = read
        self._done = done
        self._release_s = release_s
        self._certain_s = certain_s
        self._waiting: dict[int, None] = {}
        self._workers = 0

    @property
    def busy(self) -> bool:
        return bool(self._workers)

    def give(self, shards: Collection[int]) -> None:
        """These are to go, and of those whose turn has not come yet no others."""
        self._waiting = dict.fromkeys(shards)
        for _ in range(min(len(self._waiting), CONCURRENT_MAX - self._workers)):
            self._workers += 1
            self._tasks.start(self._work(), name="give")

    async def _work(self) -> None:
        try:
            while self._waiting:
                shard = next(iter(self._waiting))
                del self._waiting[shard]
                if self._holdings.phases.get(shard) is Phase.SERVED and self._receiver_of(shard) is not None:
                    await self._give(shard)
        finally:
            self._workers -= 1
            if not self._workers:
                self._done()

    async def _give(self, shard: int) -> None:
        closed_at = self._clock.monotonic()
        self._holdings.enter(shard, Phase.GIVING)
        if not await self._released(shard) or not await self._handed(shard, closed_at):
            self._keep(shard)

    async def _released(self, shard: int) -> bool:
        for _ in range(TRIES_MAX):
            try:
                await self._tenant.release((shard,), timeout_s=self._release_s)
            except Exception:
                logger.exception("shard %s was not released", shard)
                await asyncio.sleep(AGAIN_S)
            else:
                return True
        return False

    async def _handed(self, shard: int, closed_at: float) -> bool:
        """Until it has moved, or surely has not and is to stay: once nothing is known of a statement, only the store's
        word that the shard is ours, given when that statement has surely ended, keeps it here."""
        tries, certain_at = 0, None
        while True:
            given, row = await self._asked(shard, self._receiver_of(shard))
            if given is Given.UNKNOWN:
                certain_at = self._clock.monotonic() + self._certain_s
            elif row is None and certain_at is not None:
                certain = self._clock.monotonic() >= certain_at
                seen = await self._seen(shard)
                if seen is not None and seen.runner_id != self._holdings.runner_id:
                    row = seen
                elif seen is not None and certain:
                    certain_at = None
            if row is not None:
                self._gone(row, closed_at)
                return True
            tries += 1
            if certain_at is None and (given is Given.REFUSED or tries >= TRIES_MAX):
                return False
            await asyncio.sleep(AGAIN_S)

    async def _asked(self, shard: int, receiver: RunnerRow | None) -> Answer:
        if receiver is None:
            return Given.REFUSED, None
        return await self._handovers.hand_over(self._holdings.runner_id, shard, receiver.runner_id)

    async def _seen(self, shard: int) -> ShardRow | None:
        """Its row as the store has it; None where that can't be read."""
        try:
            await self._read()
        except Exception as error:
            logger.warning("who owns shard %s could not be read: %s", shard, error)
            return None
        return self._holdings.known.rows[shard]

    def _gone(self, row: ShardRow, closed_at: float) -> None:
        self._holdings.drop(row.number)
        self._moves.inc()
        self._moved(HandOver(row, self._clock.monotonic() - closed_at))
