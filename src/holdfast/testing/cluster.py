"""A cluster for tests: several runners of an App on one store in memory, with a network between them.

Each runner is what `app.runner()` opens on PostgreSQL, with its own lease, clock and metrics; only sockets and database
are replaced by memory. All of them, and the test, share one event loop whose time is virtual. The test itself is a
client of the cluster; inside a handler the App's services are those of the runner the handler runs on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from typing import Any, TypeVar

from holdfast.cluster.assignment import assign
from holdfast.cluster.routing import Routes
from holdfast.entities.door import Link
from holdfast.entities.entity import Entity
from holdfast.errors import UsageError
from holdfast.metrics import MetricsService
from holdfast.model.cluster import RunnerState, ShardRow
from holdfast.model.placement import Placement
from holdfast.runtime.app import App
from holdfast.runtime.client import Client
from holdfast.runtime.groups import group_of_type
from holdfast.runtime.node import Node
from holdfast.runtime.runner import SOFTWARE
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.tables import Tables
from holdfast.transport.memory import MemoryNetwork

from .borrowed import virtual_time
from .clock import VirtualClock
from .gate import Cable
from .loop import LoopClock
from .member import Member, Place
from .nodes import Nodes
from .process import Freezer, current
from .runner import CATCH_UP_EVERY_S, LOOK_EVERY_S, SETTLE_TIMEOUT_S, NotSettled
from .time import VirtualTime, all_pass

R = TypeVar("R")

CLIENT = "client"
"""The test's own name in the network."""
OPERATOR = "operator"
"""Who tells runners to drain."""
NETWORK_DELAY_S = (0.0002, 0.001)
"""Seconds that what is written is under way: shortest, longest."""


class LiveCluster:
    """An App's runners in the hands of a test. They are numbered from 1, in the order they were started."""

    def __init__(self, place: Place, *, time: VirtualTime, seed: int) -> None:
        self._place = place
        self._time = time
        self._random = random.Random(seed)
        self._freezer = Freezer(asyncio.get_running_loop())
        self._open = AsyncExitStack()
        self._members: dict[int, Member] = {}
        self._started = 0
        self._operator = place.open_store(OPERATOR, Cable())
        self._link: Link
        self._client: Client
        self._walls: list[tuple[str, str]] = []
        self.clock = VirtualClock(asyncio.get_running_loop(), time, self._caught_up)

    async def open(self, runners: int) -> None:
        """Starts so many at the same moment; returns when they have shared out the shards."""
        self._time.sift = self._freezer.sift

        async def opening(link: Link) -> Nodes:
            self._link = link
            await asyncio.gather(*(self.start() for _ in range(runners)))
            self._client = await self._open_client()
            return Nodes(mine=self._mine, drain=self._drain_all, stop=self._stop_all)

        await self._open.enter_async_context(self._place.app.opened(opening))
        await self.settle()

    async def close(self) -> None:
        """Drains and stops all that are left."""
        self.heal()
        for number in list(self._members):
            self.thaw(number)
        await self._open.aclose()
        await asyncio.gather(*(self.stop(number) for number in self.runners))
        self._time.sift = all_pass

    # The runners.

    @property
    def runners(self) -> Sequence[int]:
        """The numbers of those that have neither crashed nor stopped."""
        return list(self._members)

    async def start(self) -> int:
        """Starts one more; returns its number when it serves. Raises what `app.runner()` raises."""
        self._started += 1
        number = self._started
        member = Member(number, self._place, self._link, seed=self._random.getrandbits(32))
        await member.start()
        self._members[number] = member
        return number

    async def crash(self, runner: int) -> None:
        """As kill -9: nothing more of it reaches the store or anybody else. Its lease runs out, and others reap it.

        What runs on it is cancelled, since it shares this process; what its `finally` blocks do reaches nobody.
        """
        member = self._members.pop(runner)
        self._freezer.thaw(member.process)
        await member.die()

    def freeze(self, runner: int) -> None:
        """As SIGSTOP: it does nothing at all until it is thawed, while time goes on and its lease may run out."""
        self._freezer.freeze(self._member(runner).process)

    def thaw(self, runner: int) -> None:
        """It goes on where it was, with whatever was due meanwhile."""
        self._freezer.thaw(self._member(runner).process)

    async def drain(self, runner: int) -> None:
        """Its operator wants it drained: it gives its shards to the others, and stays. Returns when it has none.

        Raises NotSettled where nobody takes them.
        """
        member = self._member(runner)
        await self.wish(runner, RunnerState.DRAINING)
        await self._until(lambda: [f"runner {runner} gives its shards away"] if self._owned_by(member) else [])

    async def wish(self, runner: int, state: RunnerState) -> None:
        """What its operator wants it to be from now on: it obeys when it next renews its lease."""
        await self._operator.membership.want(self._member(runner).runner_id, state)

    async def stop(self, runner: int) -> None:
        """As SIGTERM: it drains, leaves and ends."""
        member = self._member(runner)
        await member.drain()
        await member.stop()
        del self._members[runner]

    async def inside(self, runner: int, coroutine: Coroutine[Any, Any, R]) -> R:
        """Runs it as code of this runner's process, as in a program that hosts: the App's services are the runner's."""
        return await self._member(runner).process.run(coroutine)

    def set_clock(self, runner: int, ahead_s: float) -> None:
        """Sets its wall clock wrong, by so many seconds from now on."""
        self._member(runner).clock.ahead_us = round(ahead_s * 1_000_000)

    def metrics(self, runner: int) -> MetricsService:
        """Its own; `app.metrics` has what the test counts, as a client."""
        return self._member(runner).metrics

    def runner_id(self, runner: int) -> int:
        """As which it is registered in the store; another one after it was reaped."""
        return self._member(runner).runner_id

    def owner_of(self, entity: type[Entity[Any]], entity_id: str) -> int | None:
        """Which of the running ones owns the entity, by the store; None where nobody does, or a dead one."""
        app, tables = self._place.app, self._place.tables
        groups = group_of_type(app.entity_types.values(), app.job_types.values())
        shard = Placement.of(tables.groups.rows.values(), groups).of_entity(app.entity_types[entity].name, entity_id)
        owner = tables.shards.rows[shard].runner_id
        return next((number for number, member in self._members.items() if member.runner_id == owner), None)

    # The network.

    def partition(self, *runners: int, store: bool = False) -> None:
        """Nothing passes any more between these runners and all others, the test included.

        With `store` they don't reach the store either, as where a whole rack is cut off.
        """
        inside = [self._member(number) for number in runners]
        outside = [member.name for number, member in self._members.items() if number not in runners]
        for one, other in product((member.name for member in inside), [*outside, CLIENT]):
            self._place.network.partition(one, other)
            self._walls.append((one, other))
        for member in inside:
            member.cable.cut = store

    def heal(self) -> None:
        """Ends all partitions."""
        for one, other in self._walls:
            self._place.network.heal(one, other)
        self._walls.clear()
        for member in self._members.values():
            member.cable.cut = False

    # Time.

    async def settle(self, *, timeout: float = SETTLE_TIMEOUT_S) -> None:
        """Returns when nothing is under way on runners that work, and they have and serve all shards.

        So where one has crashed, is frozen or cut off, it returns when others have taken its place. What sleeps in a
        handler gets the virtual time it needs, at most `timeout` seconds in all; what is due later (delays, timers,
        retries) is left for later. Raises NotSettled, naming what is under way.
        """
        await self._until(self._under_way, timeout=timeout)

    async def _until(self, under_way: Any, *, timeout: float = SETTLE_TIMEOUT_S) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        while True:
            await self._time.rest()
            if not (found := under_way()):
                return
            if loop.time() >= until:
                raise NotSettled(f"after {timeout:g} s still under way: {', '.join(found)}")
            await asyncio.sleep(LOOK_EVERY_S)

    def _under_way(self) -> list[str]:
        working = [member for member in self._members.values() if member.works]
        if not working:
            return []
        found = [f"{each} on {member.name}" for member in working for each in member.under_way()]
        return found or self._inbox_under_way() or self._shards_under_way(working)

    def _inbox_under_way(self) -> list[str]:
        left = len(self._place.tables.inbox.rows)
        return [f"{left} in the inbox"] if left else []

    def _shards_under_way(self, working: list[Member]) -> list[str]:
        tables = self._place.tables
        shards = tables.shards.rows.values()
        if tables.runners.rows.keys() != {member.runner_id for member in working}:
            return ["who is registered"]
        if unserved := sum(not any(member.serves(shard.number) for member in working) for shard in shards):
            return [f"{unserved} of {len(shards)} shards, which nobody serves"]
        current = {shard.number: shard.runner_id for shard in shards}
        runners, groups = tables.runners.rows.values(), tables.groups.rows.values()
        plan = assign(runners, groups, current, now_us=self._place.clock.now_us())
        return [] if plan == current else ["the balance of the shards"]

    async def _caught_up(self) -> None:
        await self._time.rest()
        while any(member.works and member.overdue() for member in self._members.values()):
            await asyncio.sleep(CATCH_UP_EVERY_S)
            await self._time.rest()

    # The App's nodes.

    async def _open_client(self) -> Client:
        app, place = self._place.app, self._place
        store = place.open_store(CLIENT, Cable())
        client = Client(
            store=store,
            network=place.network.node(CLIENT),
            entity_types=app.entity_types,
            settings=app.settings,
            metrics=app.metrics,
            clock=place.clock.another(),
            rng=random.Random(self._random.getrandbits(32)),
            software=SOFTWARE,
            group_of_type=group_of_type(app.entity_types.values(), app.job_types.values()),
            routes=Routes(reader=store.membership, clock=place.clock),
        )
        await client.start()
        return client

    def _mine(self) -> Node:
        process = current()
        return self._client if process is None or process.node is None else process.node

    async def _drain_all(self) -> None:
        """At the same moment, so that none hands anything to the others."""
        await self._client.drain()
        await asyncio.gather(*(member.drain() for member in self._members.values()))

    async def _stop_all(self) -> None:
        await asyncio.gather(*(self.stop(number) for number in self.runners))
        await self._client.stop()

    def _owned_by(self, member: Member) -> list[ShardRow]:
        return [row for row in self._place.tables.shards.rows.values() if row.runner_id == member.runner_id]

    def _member(self, number: int) -> Member:
        member = self._members.get(number)
        if member is None:
            raise UsageError(f"no runner {number} is running: {list(self._members) or 'none'}")
        return member


@asynccontextmanager
async def cluster(
    app: App, *, runners: int = 3, seed: int = 0, faults: StorageFaults | None = None
) -> AsyncGenerator[LiveCluster]:
    """Hosts the App on several runners in this test; what it does reaches them as a client.

    `seed`: of all randomness. `faults`: what the store is to suffer. Raises UsageError on an event loop whose time
    can't be moved, and what `app.runner()` raises.
    """
    loop = asyncio.get_running_loop()
    with virtual_time(loop) as time:
        network = MemoryNetwork(
            settings=app.settings.transport, randomness=random.Random(seed), delay_s=NETWORK_DELAY_S
        )
        clock = LoopClock(loop, origin=loop.time())
        place = Place(app=app, tables=Tables(shared=True), network=network, clock=clock, faults=faults)
        live = LiveCluster(place, time=time, seed=seed)
        try:
            await live.open(runners)
            yield live
        finally:
            await live.close()
