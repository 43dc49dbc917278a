"""What this runner sees of the cluster: who runs, who owns what; and its part in ending who is dead.

Rows come with each renewal of the lease, with readings of the store, and from other runners. Whatever is learnt goes on
to the routes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from random import Random

from holdfast.errors import FencedOut
from holdfast.kit.clock import Clock
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.ports.membership import Membership

from .holdings import Holdings
from .lease import Lease
from .outlook import Outlook
from .routing import Routes

logger = logging.getLogger("holdfast.cluster")

REAP_SPREAD_S = 0.1
"""All runners see a lease end at the same moment; they go and reap within so many seconds of it."""
CHECK_EVERY_S = 10.0
"""Seconds after which the store is read although nothing seems to have changed."""
ANSWER_S = 1.0
"""Seconds that a renewal may take that somebody waits for."""
AGAIN_S = 0.25


class Lookout:
    """Keeps the rows fresh. Belongs to the runner's loop; moments are on the monotonic clock."""

    def __init__(
        self, *, membership: Membership, lease: Lease, routes: Routes, holdings: Holdings, clock: Clock, random: Random
    ) -> None:
        self._membership = membership
        self._lease = lease
        self._routes = routes
        self._holdings = holdings
        self._clock = clock
        self._random = random
        self._reap_at: tuple[int, float] = (0, 0.0)
        self._read_at = float("-inf")
        self.outlook = Outlook()
        self.stale = True
        """Whether something may have changed that has not been read."""

    def see(self, rows: Sequence[RunnerRow]) -> None:
        """All runners' rows, as they have just come from the store."""
        self._routes.replace_runners(rows)
        if self.outlook.see(rows, now_us=self._lease.store_now_us, at=self._clock.monotonic()):
            self.stale = True

    @property
    def check_due(self) -> bool:
        """Whether it is time to read although nothing seems to have changed."""
        return self._clock.monotonic() >= self._read_at + CHECK_EVERY_S

    def learn(self, rows: Iterable[ShardRow]) -> list[int]:
        """Some shards' rows; returns those that by them are one's own and were not."""
        rows = tuple(rows)
        self._routes.learn(rows)
        return self._holdings.learn(rows)

    async def read(self) -> list[int]:
        """Reads all of it; returns the shards that are one's own and were not. Raises FencedOut for who was reaped.

        Who owns what, then who runs: so each owner named is among the runners, or gone.
        """
        self.stale = False
        self._read_at = self._clock.monotonic()
        shards = await self._membership.shards()
        self.outlook.groups = await self._membership.groups()
        rows = await self._membership.runners()
        self.see(rows)
        self.stale = False
        fresh = self.learn(shards)
        strayed = self._holdings.strayed()
        if strayed or self.outlook.row(self._lease.runner_id) is None:
            for shard in strayed:
                self._holdings.drop(shard)
            self._lease.renew_now()
            raise FencedOut(f"runner {self._lease.runner_id} was reaped")
        return fresh

    async def reap(self) -> None:
        """Ends who is due by a fresh word of the store, and nobody else: its clock may have jumped since the last one,
        and again since this one."""
        if self._may_reap() and await self._lease.fresh_view(timeout_s=ANSWER_S) and self._may_reap():
            reaped = await self._membership.reap(ended_by_us=self._lease.store_now_us)
            if reaped:
                logger.warning("runners whose lease had ended were reaped: %s", ", ".join(map(str, reaped)))
            self.stale = True

    @property
    def next_moment(self) -> float:
        """When to look again at the latest."""
        now = self._clock.monotonic()
        moments = [self._read_at + CHECK_EVERY_S]
        first = self.outlook.next_expiry(self._lease.runner_id)
        if first is not None:
            due_at = max(self._due_at(first), self._lease.may_reap_at)
            moments.append(due_at if due_at > now else now + AGAIN_S)
        if self.outlook.calm_at > now:
            moments.append(self.outlook.calm_at)
        return min(moments)

    def check_within(self, seconds: float) -> None:
        """Lets the next reading come so soon, whatever is seen until then."""
        self._read_at = min(self._read_at, self._clock.monotonic() + seconds - CHECK_EVERY_S)

    @property
    def is_calm(self) -> bool:
        """Whether nobody has come or gone for a while."""
        return self._clock.monotonic() >= self.outlook.calm_at

    def _may_reap(self) -> bool:
        first = self.outlook.next_expiry(self._lease.runner_id)
        return first is not None and self._clock.monotonic() >= self._due_at(first) and self._lease.may_reap

    def _due_at(self, row: RunnerRow) -> float:
        expiry, spread_s = self._reap_at
        if expiry != row.expires_at:
            self._reap_at = expiry, spread_s = row.expires_at, self._random.uniform(0.0, REAP_SPREAD_S)
        return self._lease.local(expiry) + spread_s
