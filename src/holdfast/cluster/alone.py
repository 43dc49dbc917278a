"""The lease of a runner that serves all shards of its store or none.

The lease is renewed on the store's clock; what is known here is its local deadline, on this process's monotonic clock,
taken before the renewal was sent. Past it the runner must assume that it has been replaced.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from holdfast.errors import PersistenceError, RunnerNotRegistered, StoreUnavailable
from holdfast.kit.clock import Clock
from holdfast.kit.service import Periodic
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerRow, RunnerState, ShardRow
from holdfast.model.ids import micros
from holdfast.ports.membership import LeaseLine, Membership, Registration
from holdfast.settings import ClusterSettings

logger = logging.getLogger("holdfast.cluster")


CLAIM_AGAIN_S = 0.25
CLAIM_GRACE_S = 2.0


class LeaseAlone:
    """Registers, renews, claims and leaves, for one incarnation."""

    def __init__(
        self,
        *,
        membership: Membership,
        line: Callable[[], Awaitable[LeaseLine]],
        clock: Clock,
        settings: ClusterSettings,
        metrics: MetricsService,
    ) -> None:
        self._membership = membership
        self._open_line = line
        self._line: LeaseLine
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._renewals = Periodic("holdfast-lease", self._renew, every_s=settings.lease_renewal)
        self._deadline = 0.0
        self._runners = (0, 0)
        self._unwatch: list[Callable[[], None]] = []
        self.runner_id = 0
        self.state = RunnerState.ACTIVE
        self.shards: Sequence[ShardRow] = ()

    async def start(self, *, address: str, version: str, types: tuple[str, ...], group: str) -> None:
        """Becomes a runner and claims every shard of the group.

        This version's engines serve all shards or none, so where another incarnation owns some it waits until that
        one's lease must have ended. Raises StoreUnavailable where it has not, or where another holds the store.
        """
        asked_at = self._clock.monotonic()
        ttl_us = micros(self._settings.lease_ttl)
        self.runner_id = await self._membership.register(Registration(address, version, types, (group,), 1.0, ttl_us))
        self._line = await self._open_line()
        self._deadline = asked_at + self._settings.lease_ttl
        await self._renewals.start()
        await self._claim_all(group, types)
        self._metrics.cluster.shard_moves.labels(direction="in").inc(len(self.shards))
        self._look_around(self._clock.now_us(), await self._membership.runners())
        self._watch()

    async def _claim_all(self, group: str, types: tuple[str, ...]) -> None:
        give_up_at = self._clock.monotonic() + self._settings.lease_ttl + CLAIM_GRACE_S
        groups = await self._membership.ensure_groups({group: (self._settings.shards, types)})
        (first, shards) = next((row.first, row.shards) for row in groups if row.name == group)
        while True:
            await self._membership.reap()
            await self._membership.claim(self.runner_id, range(first, first + shards))
            self.shards = [row for row in await self._membership.shards() if row.runner_id == self.runner_id]
            if len(self.shards) == shards:
                return
            if self._clock.monotonic() >= give_up_at:
                owned = len(self.shards)
                await self.stop()
                raise StoreUnavailable(
                    f"another runner owns {shards - owned} of the {shards} shards; several runners of one store are "
                    "not built yet"
                )
            await asyncio.sleep(CLAIM_AGAIN_S)

    async def stop(self) -> None:
        """Gives the shards back and ends the incarnation."""
        await self._renewals.stop()
        for unwatch in self._unwatch:
            unwatch()
        self._unwatch = []
        if self.runner_id:
            runner_id, self.runner_id = self.runner_id, 0
            self._metrics.cluster.shard_moves.labels(direction="out").inc(len(self.shards))
            await self._line.close()
            await self._membership.leave(runner_id)

    @property
    def remaining_s(self) -> float:
        """Seconds until the lease ends as far as this process can know; callable from any thread."""
        return self._deadline - self._clock.monotonic()

    async def _renew(self) -> None:
        outcome = self._metrics.cluster.lease_renewals
        asked_at = self._clock.monotonic()
        try:
            renewal = await self._line.renew(
                self.runner_id, lease_ttl_us=micros(self._settings.lease_ttl), state=self.state
            )
        except PersistenceError:
            outcome.labels(outcome="error").inc()
            raise
        if renewal is None:
            outcome.labels(outcome="lost").inc()
            raise RunnerNotRegistered("another runner has taken this one's place")
        outcome.labels(outcome="ok").inc()
        self._deadline = asked_at + self._settings.lease_ttl
        self._look_around(renewal.now_us, renewal.runners)

    def _look_around(self, now: int, runners: Sequence[RunnerRow]) -> None:
        self._runners = (len(runners), sum(runner.expires_at > now for runner in runners))

    def _watch(self) -> None:
        cluster, everywhere = self._metrics.cluster, frozenset[tuple[str, str]]()
        self._unwatch = [
            cluster.runners.read_with(lambda: {everywhere: float(self._runners[0])}),
            cluster.runners_healthy.read_with(lambda: {everywhere: float(self._runners[1])}),
            cluster.shards.read_with(lambda: {everywhere: float(len(self.shards))}),
            cluster.shards_assigned.read_with(lambda: {everywhere: float(len(self.shards))}),
            cluster.lease_remaining.read_with(lambda: {everywhere: max(0.0, self.remaining_s)}),
        ]
