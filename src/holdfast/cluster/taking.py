"""Taking up shards that are this runner's own: what is stored for them is read, then they are served.

The first that arrive are taken up at once, the next beside them, and those that arrive meanwhile together after these:
[M] four singly at a time kept the rest of a draining runner's away for up to a second. Where that fails it is tried
again until it succeeds, beside the others and fewer at a time after each failure, so that one of them cannot keep the
others from being served. A shard is owned and not served meanwhile, which costs time and never a message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from holdfast.kit.backoff import Backoff
from holdfast.kit.clock import Clock
from holdfast.kit.tasks import TaskOwner
from holdfast.metrics import MetricsService

from .holdings import Holdings, Phase
from .tenant import Tenant

logger = logging.getLogger("holdfast.cluster")

TOGETHER_MAX = 256
FRESH_AT_ONCE = 2
"""Batches of shards that have not failed; of the others there is one."""
FEWER_BITS = 2
"""A quarter as many after each failure."""
AGAIN = Backoff(first_s=0.1, ceiling_s=5.0, jitter="none")


class Taking:
    """Brings shards from TAKING to SERVED."""

    def __init__(
        self,
        *,
        tenant: Tenant,
        holdings: Holdings,
        clock: Clock,
        metrics: MetricsService,
        tasks: TaskOwner,
        on_served: Callable[[], None],
    ) -> None:
        self._tenant = tenant
        self._holdings = holdings
        self._clock = clock
        self._moves = metrics.cluster.shard_moves.labels(direction="in")
        self._handoff = metrics.cluster.shard_handoff.labels()
        self._tasks = tasks
        self._on_served = on_served
        self._waiting: list[int] = []
        self._failures: dict[int, int] = {}
        self._closed_at: dict[int, float] = {}
        self._working = {False: 0, True: 0}
        """How many batches are being taken up of those that have failed before (True), and of the others."""
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self, shards: Iterable[int], *, closed_s: Mapping[int, float] | None = None, anew: bool = True) -> None:
        """Takes them up. `closed_s`: for how long each has been served by nobody, where its giver has said so.

        `anew=False` for shards that were not given away after all: they count as no move.
        """
        now = self._clock.monotonic()
        for shard in shards:
            self._holdings.enter(shard, Phase.TAKING)
            if closed_s and shard in closed_s:
                self._closed_at[shard] = now - closed_s[shard]
            self._waiting.append(shard)
            if anew:
                self._moves.inc()
        self._go()

    async def idle(self) -> None:
        """Returns when each has been tried at least once."""
        await self._idle.wait()

    def _go(self) -> None:
        for again, at_once in ((False, FRESH_AT_ONCE), (True, 1)):
            if self._working[again] < at_once and (batch := self._batch(again)):
                self._working[again] += 1
                self._idle.clear()
                self._tasks.start(self._work(again, batch), name="take")

    def _batch(self, again: bool) -> list[int]:
        """Of the shards that have failed before, or of the others, those that have failed least."""
        failures = {shard: self._failures.get(shard, 0) for shard in self._waiting}
        fewest = min((count for count in failures.values() if bool(count) is again), default=None)
        if fewest is None:
            return []
        batch = [shard for shard, count in failures.items() if count == fewest]
        batch = batch[: max(1, TOGETHER_MAX >> FEWER_BITS * fewest)]
        taken = set(batch)
        self._waiting = [shard for shard in failures if shard not in taken]
        return batch

    async def _work(self, again: bool, batch: list[int]) -> None:
        try:
            while batch:
                await self._take(batch)
                batch = self._batch(again)
        finally:
            self._working[again] -= 1
            if not any(self._working.values()):
                self._idle.set()

    async def _take(self, batch: list[int]) -> None:
        try:
            await self._tenant.adopt(batch)
        except Exception:
            logger.exception("shards were not taken up; it is tried again: %s", batch)
            self._try_again(batch)
            return
        now = self._clock.monotonic()
        for shard in batch:
            self._failures.pop(shard, None)
            closed_at = self._closed_at.pop(shard, None)
            if self._holdings.phases.get(shard) is Phase.TAKING:
                self._holdings.enter(shard, Phase.SERVED)
                if closed_at is not None:
                    self._handoff.observe(now - closed_at)
        self._on_served()

    def _try_again(self, batch: list[int]) -> None:
        self._failures.update({shard: self._failures.get(shard, 0) + 1 for shard in batch})
        pause_s = AGAIN.ceiling_of(max(self._failures[shard] for shard in batch))
        asyncio.get_running_loop().call_later(pause_s, self._retry, batch)

    def _retry(self, batch: Sequence[int]) -> None:
        for shard in batch:
            if self._holdings.phases.get(shard) is Phase.TAKING:
                self._waiting.append(shard)
            else:
                self._failures.pop(shard, None)
        self._go()
