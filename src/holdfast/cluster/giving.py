"""Giving shards to other runners: hold back, gate, drain, hand over, tell.

A bounded number has its turn at a time. In its turn a shard is first held back, which lets what comes in from the store
run dry while it is still served, and its gate is closed at a moment at which none of its handlers runs: [M] a handler
that waits for an entity which moves as well would keep its own shard from everybody until that one has moved. All that
are calm at the same moment go together, and the next when these have moved; those that never are go one by one, so that
a long handler in one delays no other. While a gate is closed nobody serves the shard: what ends that is the new owner,
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

CONCURRENT_MAX = 64
PATIENCE_S = 0.4
"""Seconds for which a shard whose turn has come is served on, until none of its handlers runs."""
LOOK_EVERY_S = 0.02
LOOKS_SHARE = 10
"""Looking takes at most one part in so many of the loop's time, however many entities there are."""
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
        self._turn: set[int] = set()
        """Those whose turn has come."""

    def give(self, shards: Collection[int]) -> None:
        """These are to go, and of those whose turn has not come yet no others."""
        self._waiting = dict.fromkeys(shard for shard in shards if shard not in self._turn)
        self._call_up()

    def _call_up(self) -> None:
        called = [*self._waiting][: CONCURRENT_MAX - len(self._turn)]
        if called:
            for shard in called:
                del self._waiting[shard]
            self._turn.update(called)
            self._tasks.start(self._see_off(called), name="give")

    async def _see_off(self, called: Collection[int]) -> None:
        try:
            await self._tenant.hold_back(called)
        except Exception:
            logger.exception("shards were not held back: %s", called)
            self._stay(called)
            return
        left, patient_until = set(called), self._clock.monotonic() + PATIENCE_S
        while left and (looked_at := self._clock.monotonic()) < patient_until:
            calm = left.difference(self._tenant.busy(left))
            left -= calm
            looked_s = self._clock.monotonic() - looked_at
            moving = self._close(calm)
            if not left:
                break
            if moving is None:
                await asyncio.sleep(max(LOOK_EVERY_S, LOOKS_SHARE * looked_s))
            else:
                await asyncio.wait([moving], timeout=patient_until - looked_at)
        for shard in left:
            self._close({shard})

    def _close(self, shards: set[int]) -> asyncio.Task[None] | None:
        """Closes the gates of those that are still to go, which go together from here on."""
        served = {shard for shard in shards if self._holdings.phases.get(shard) is Phase.SERVED}
        lot = {shard for shard in served if self._receiver_of(shard) is not None}
        for shard in lot:
            self._holdings.enter(shard, Phase.GIVING)
        moving = self._tasks.start(self._give(lot, self._clock.monotonic()), name="give") if lot else None
        self._stay(served - lot)
        self._over(shards - served)
        return moving

    async def _give(self, lot: Collection[int], closed_at: float) -> None:
        if await self._released(lot):
            await asyncio.gather(*[self._hand_over(shard, closed_at) for shard in lot])
        else:
            self._stay(lot)

    def _stay(self, shards: Collection[int]) -> None:
        for shard in shards:
            self._keep(shard)
        self._over(shards)

    def _over(self, shards: Collection[int]) -> None:
        self._turn.difference_update(shards)
        self._call_up()
        if shards and not self._turn:
            self._done()

    async def _released(self, lot: Collection[int]) -> bool:
        for _ in range(TRIES_MAX):
            try:
                await self._tenant.release(lot, timeout_s=self._release_s)
            except Exception:
                logger.exception("shards were not released: %s", lot)
                await asyncio.sleep(AGAIN_S)
            else:
                return True
        return False

    async def _hand_over(self, shard: int, closed_at: float) -> None:
        if await self._handed(shard, closed_at):
            self._over((shard,))
        else:
            self._stay((shard,))

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
