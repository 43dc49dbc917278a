from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

import pytest

from holdfast.cluster.alone import LeaseAlone
from holdfast.errors import StoreUnavailable
from holdfast.metrics import MetricsService
from holdfast.model.cluster import GroupRow, RunnerRow, ShardRow
from holdfast.ports.membership import LeaseLine, Registration, Renewal
from holdfast.settings import ClusterSettings
from holdfast.testing.loop import LoopClock, run

SHARDS = 4


class SharedMembership:
    """A store where another incarnation owns some shards until a moment on the loop's clock."""

    def __init__(self, clock: LoopClock, *, theirs: int, until_s: float) -> None:
        self._clock = clock
        self._theirs = theirs
        self._until = clock.monotonic() + until_s
        self.left: list[int] = []

    async def register(self, registration: Registration) -> int:
        return 7

    async def renew(self, runner_id: int, *, lease_ttl_us: int, state: str) -> Renewal:
        return Renewal(0, ())

    async def close(self) -> None: ...

    async def line(self) -> LeaseLine:
        return self

    async def ensure_groups(self, wanted: Mapping[str, tuple[int, Collection[str]]]) -> list[GroupRow]:
        return await self.groups()

    async def groups(self) -> list[GroupRow]:
        return [GroupRow("default", 0, SHARDS, ())]

    async def reap(self) -> list[int]:
        return []

    async def hand_over(self, runner_id: int, shards: Collection[int], to: int) -> list[ShardRow]:
        return []

    async def want(self, runner_id: int, state: str) -> bool:
        return False

    async def claim(self, runner_id: int, shards: Collection[int]) -> list[ShardRow]:
        return [shard for shard in await self.shards() if shard.runner_id == runner_id]

    async def leave(self, runner_id: int) -> None:
        self.left.append(runner_id)

    async def runners(self) -> list[RunnerRow]:
        return []

    async def shards(self) -> list[ShardRow]:
        theirs = self._theirs if self._clock.monotonic() < self._until else 0
        return [ShardRow("default", number, 6 if number < theirs else 7, 1) for number in range(SHARDS)]


def lease_on(membership: SharedMembership, clock: LoopClock) -> LeaseAlone:
    settings = ClusterSettings(shards=SHARDS)
    return LeaseAlone(
        membership=membership, line=membership.line, clock=clock, settings=settings, metrics=MetricsService()
    )


def test_a_runner_waits_for_the_shards_of_a_dead_one() -> None:
    async def main() -> None:
        clock = LoopClock(asyncio.get_running_loop())
        lease = lease_on(SharedMembership(clock, theirs=3, until_s=5.0), clock)
        await lease.start(address="", version="1", types=(), group="default")
        assert len(lease.shards) == SHARDS
        await lease.stop()

    run(main())


def test_a_runner_does_not_start_beside_a_live_one() -> None:
    async def main() -> None:
        clock = LoopClock(asyncio.get_running_loop())
        membership = SharedMembership(clock, theirs=3, until_s=3600.0)
        lease = lease_on(membership, clock)
        with pytest.raises(StoreUnavailable, match="3 of the 4 shards"):
            await lease.start(address="", version="1", types=(), group="default")
        assert membership.left == [7]

    run(main())
