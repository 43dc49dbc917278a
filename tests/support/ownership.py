"""Whole runners as far as shards go: a lease, an ownership, and a tenant that only keeps books."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from random import Random

from holdfast.cluster.lease import Lease
from holdfast.cluster.ownership import Ownership
from holdfast.cluster.routing import Routes
from holdfast.cluster.tenant import HandOver
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerRow
from holdfast.settings import ClusterSettings
from holdfast.testing.loop import LoopClock

from .shared_store import FakeStore, SharedStore

SETTINGS = ClusterSettings(drain_timeout=5.0)


class BookKeeper:
    """A tenant that notes what it has. `before` is awaited first in each call but `busy`, which answers `at_work`."""

    def __init__(self) -> None:
        self.has: set[int] = set()
        self.held_back: set[int] = set()
        """They are released next, or taken up anew; also those for which holding back or the release has failed."""
        self.at_work: set[int] = set()
        self.told: list[tuple[str, tuple[int, ...]]] = []
        self.takes_s = 0.0
        self.departures = 0

    async def before(self, what: str, shards: Collection[int]) -> None:
        if self.takes_s:
            await asyncio.sleep(self.takes_s)

    async def adopt(self, shards: Collection[int]) -> None:
        await self.before("adopt", shards)
        assert not (self.has - self.held_back) & set(shards), "taken up twice"
        self.held_back -= set(shards)
        self.told.append(("adopt", tuple(shards)))
        self.has |= set(shards)

    async def hold_back(self, shards: Collection[int]) -> None:
        self.held_back |= set(shards)
        await self.before("hold_back", shards)

    def busy(self, shards: Collection[int]) -> set[int]:
        return self.at_work.intersection(shards)

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        assert self.held_back.issuperset(shards), "released out of turn"
        await self.before("release", shards)
        self.held_back -= set(shards)
        self.told.append(("release", tuple(shards)))
        self.has -= set(shards)

    def departed(self) -> None:
        self.departures += 1

    async def lost(self) -> None:
        await self.before("lost", ())
        self.told.append(("lost", ()))
        self.has.clear()


class Member:
    """One incarnation of one runner, on a shared store."""

    def __init__(
        self,
        shared: SharedStore,
        *,
        settings: ClusterSettings = SETTINGS,
        seed: int = 0,
        types: Sequence[str] = ("Cart",),
        groups: Sequence[str] = ("default",),
        weight: float = 1.0,
        wire: dict[int, Member] | None = None,
        store: FakeStore | None = None,
        metrics: MetricsService | None = None,
    ) -> None:
        """`wire`: who can be told of a hand-over, by runner id; without it nobody is."""
        self.store = store or FakeStore(shared)
        self.metrics = metrics or MetricsService()
        self.tenant = BookKeeper()
        self.stalled_s = 0.0
        clock = LoopClock(asyncio.get_running_loop())
        self.lease = Lease(
            store=self.store,
            clock=clock,
            settings=settings,
            metrics=self.metrics,
            stalled_s=lambda: self.stalled_s,
        )
        self.routes = Routes(reader=self.store.membership, clock=clock)
        self.ownership = Ownership(
            membership=self.store.membership,
            lease=self.lease,
            routes=self.routes,
            clock=clock,
            random=Random(seed),
            settings=settings,
            metrics=self.metrics,
            notify=self._notify,
        )
        self._said = types, groups, weight
        self._wire = wire

    @property
    def id(self) -> int:
        return self.lease.runner_id

    async def start(self) -> Member:
        types, groups, weight = self._said
        await self.lease.start(address="", version="1", types=types, groups=groups, weight=weight)
        if self._wire is not None:
            self._wire[self.id] = self
        await self.ownership.start(self.tenant)
        return self

    async def stop(self) -> None:
        await self.ownership.stop()
        await self.routes.close()

    async def crash(self) -> None:
        """Ends at once, without a word to the store."""
        await self.lease.stop()
        self.ownership._close()
        await self.ownership._tasks.stop()
        await self.routes.close()

    def serves(self) -> set[int]:
        return {shard for shard in self.ownership.served if self.ownership.serves(shard)}

    def _notify(self, receiver: RunnerRow, handovers: Sequence[HandOver]) -> None:
        if self._wire is not None and (member := self._wire.get(receiver.runner_id)) is not None:
            asyncio.get_running_loop().call_later(0.001, member.ownership.handed, handovers)


async def until(condition: object, *, within_s: float = 60.0) -> float:
    """Returns when the condition, a callable, is true, and how long that took on the loop's clock."""
    assert callable(condition)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < within_s, "it does not become true"
        await asyncio.sleep(0.005)
    return loop.time() - began
