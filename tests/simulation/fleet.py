"""Machines that start, crash, freeze and drain, on a store that is slow, fails, loses answers and sets its clock.

A machine does what a runner's process does with an `Ownership`: it starts one, and when its incarnation was reaped
starts the next. What a frozen machine would do waits until it is thawed. `Fleet.check` looks whether two serve the same
shard, or one serves what the store gives to another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from holdfast.cluster.tenant import HandOver
from holdfast.errors import PersistenceError
from holdfast.metrics import MetricsService
from tests.support.ownership import BookKeeper, Member
from tests.support.shared_store import FakeStore, SharedStore

TTL_S = 6.0


class Weather:
    """How bad things are, for all machines."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.failing = random.choice([0.0, 0.02, 0.1])
        self.losing = random.choice([0.0, 0.02, 0.05])
        self.late_s = random.choice([0.002, 0.02])
        self.dropping = random.choice([0.0, 0.3, 1.0])
        self.store_away = False

    def clear(self) -> None:
        self.failing = self.losing = self.dropping = 0.0
        self.store_away = False


class Machine:
    """One process, with one incarnation after another."""

    def __init__(self, fleet: Fleet, name: int) -> None:
        self.fleet = fleet
        self.name = name
        self.member: Member | None = None
        self.thawed = asyncio.Event()
        self.thawed.set()
        self._living: asyncio.Task[None] | None = None

    @property
    def frozen(self) -> bool:
        return not self.thawed.is_set()

    def start(self) -> None:
        self._living = asyncio.ensure_future(self._live())

    async def crash(self) -> None:
        assert self._living is not None
        self._living.cancel()
        await asyncio.wait([self._living])
        if self.member is not None:
            member, self.member = self.member, None
            await member.crash()

    async def freeze(self, seconds: float) -> None:
        self.thawed.clear()
        await asyncio.sleep(seconds)
        self.thawed.set()
        self.fleet.check()  # before anything of it has run

    async def restart(self, *, patience_s: float) -> None:
        """In order: drains, leaves, starts again."""
        member = self.member
        if member is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await member.ownership.drain()
            await self.stop()
            self.start()

    async def stop(self) -> None:
        assert self._living is not None
        self._living.cancel()
        await asyncio.wait([self._living])
        member, self.member = self.member, None
        if member is not None:
            try:
                await member.stop()
            except PersistenceError:
                await member.crash()

    async def _live(self) -> None:
        while True:
            member = self.member = self._incarnation()
            try:
                await member.start()
            except PersistenceError:
                await member.crash()
                self.member = None
                await asyncio.sleep(0.5)
                continue
            await member.ownership.ended()
            await self.thawed.wait()
            await member.stop()

    def _incarnation(self) -> Member:
        store = FakeStore(self.fleet.shared)
        for calls in (store.calls, store.lease_calls):
            calls.before, calls.after = self._before, self._after
        wire = _Wire(self)
        member = Member(
            self.fleet.shared,
            seed=self.fleet.random.getrandbits(32),
            store=store,
            wire=wire,
            metrics=self.fleet.metrics,
        )
        member.tenant = _Tenant(self)
        return member

    async def pass_time(self) -> None:
        """Something takes its time; of a frozen process, until it is thawed."""
        await asyncio.sleep(self.fleet.random.expovariate(1 / self.fleet.weather.late_s))
        await self.thawed.wait()

    async def _before(self, name: str) -> None:
        weather = self.fleet.weather
        await self.pass_time()
        if weather.store_away or weather.random.random() < weather.failing:
            raise PersistenceError(f"{name}: the store is away")

    async def _after(self, name: str) -> None:
        weather = self.fleet.weather
        lost = weather.store_away or weather.random.random() < weather.losing
        await self.pass_time()
        if lost:
            raise PersistenceError(f"{name}: the answer is lost", executed="unknown")


class _Wire(dict[int, Member]):
    """Whom a machine can tell of a hand-over: anybody, with luck."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def get(self, runner_id: int, default: Any = None) -> Any:
        fleet = self._machine.fleet
        for machine in fleet.machines:
            member = machine.member
            if member is not None and member.id == runner_id and fleet.random.random() >= fleet.weather.dropping:
                return _Delayed(machine, member)
        return default


class _Delayed:
    """A member behind a network: what it is told comes late, and to a frozen one when it is thawed."""

    def __init__(self, machine: Machine, member: Member) -> None:
        self.ownership = self
        self._machine = machine
        self._member = member

    def handed(self, handovers: Sequence[HandOver]) -> None:
        self._machine.fleet.aside(self._deliver(handovers))

    async def _deliver(self, handovers: Sequence[HandOver]) -> None:
        fleet = self._machine.fleet
        if fleet.random.random() < 0.1:
            await asyncio.sleep(fleet.random.uniform(0.0, 10.0))
        await self._machine.pass_time()
        if self._member is self._machine.member:
            self._member.ownership.handed(handovers)


class _Tenant(BookKeeper):
    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    async def before(self, what: str, shards: Collection[int]) -> None:
        random, weather = self._machine.fleet.random, self._machine.fleet.weather
        await self._machine.pass_time()
        if what == "release" and random.random() < 0.1:
            await asyncio.sleep(random.uniform(0.0, 4.0))  # a long handler
            await self._machine.thawed.wait()
        if what != "lost" and random.random() < weather.failing:
            raise PersistenceError(f"{what}: the store is away")

    def busy(self, shards: Collection[int]) -> set[int]:
        random = self._machine.fleet.random
        return {shard for shard in sorted(shards) if random.random() < 0.1}


class Fleet:
    """All machines and their store."""

    def __init__(self, seed: int, *, machines: int, shards: int) -> None:
        self.random = Random(seed)
        self.weather = Weather(self.random)
        self.shared = SharedStore(shards=shards)
        self.metrics = MetricsService()
        self.machines = [Machine(self, name) for name in range(machines)]
        self._aside: set[asyncio.Task[None]] = set()

    def aside(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(coroutine)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    @property
    def members(self) -> list[Member]:
        return [machine.member for machine in self.machines if machine.member is not None]

    def check(self) -> None:
        """Nobody who could answer now serves a shard that is another's, so no two serve the same."""
        for machine in self.machines:
            if machine.member is None or machine.frozen:
                continue
            member = machine.member
            for shard in member.ownership.served if not member.lease.lapsed else ():
                row = self.shared.shards[shard]
                assert row.runner_id == member.id, f"runner {member.id} serves {row}"

    def served(self) -> int:
        return sum(len(member.serves()) for member in self.members)

    def settled(self) -> bool:
        """Every machine runs, nobody else is registered, every shard is served, and the load is even."""
        members = self.members
        if len(members) < len(self.machines) or {member.id for member in members} != self.shared.runners.keys():
            return False
        loads = [len(member.serves()) for member in members]
        return sum(loads) == len(self.shared.shards) and max(loads) - min(loads) <= 1

    async def watch(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            self.check()
            await asyncio.sleep(0.1)

    async def settle(self, within_s: float) -> float:
        """Returns when it is `settled`, and how long that took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not self.settled():
            assert loop.time() - began < within_s, f"not settled: {self.picture()}"
            self.check()
            await asyncio.sleep(0.05)
        return loop.time() - began

    def picture(self) -> dict[str, Any]:
        members = {member.id: (len(member.serves()), len(member.ownership.owned)) for member in self.members}
        return {"serves and owns": members, "store": sorted(self.shared.runners)}

    async def stop(self) -> None:
        self.weather.clear()
        for machine in self.machines:
            machine.thawed.set()
            await machine.stop()
        for task in list(self._aside):
            task.cancel()
        await asyncio.gather(*self._aside, return_exceptions=True)
