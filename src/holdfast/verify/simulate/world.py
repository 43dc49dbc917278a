"""The simulated world: runners on a store and a network that behave as badly as the plan says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

from holdfast.admin import reconcile as reconciling
from holdfast.admin.reconcile import Finding, disagreements, reconcile
from holdfast.errors import PersistenceError
from holdfast.metrics import Labels, MetricsService
from holdfast.model.cluster import RunnerState
from holdfast.model.message import OutcomeKind
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.store import MemoryStore
from holdfast.testing.cluster import CLIENT, OPERATOR, LiveCluster
from holdfast.testing.gate import COMMIT, Cable, GatedStore
from holdfast.testing.member import Place, member_name

from .audit import Audit
from .plan import FAULTS_TO_S, Fault, Weather
from .trace import Trace

DAY_S = 86_400.0
FIRST = 1
RUNNERS_MAX = 5
LOST_S = 0.5
"""Seconds until a process learns that an answer was lost."""
WORD = "inbox_changed"
"""Whether the store's word has come is seen in the process itself: nothing crosses, however often it looks."""
STARTS_MAX = 100
AGAIN_S = 0.5
SNAP_EVERY_S = 0.05
GAUGES_EVERY_S = 6.0
"""Some gauges are read from the store every five seconds."""
CALM = Weather()
Reap = Callable[..., Coroutine[Any, Any, Sequence[int]]]
GAUGES = frozenset(rule.metric for rule in reconciling.GAUGES)


@dataclass(slots=True)
class Sky:
    """The weather as it is now."""

    weather: Weather
    store_there: asyncio.Event = field(default_factory=asyncio.Event)
    unheard: int = 0
    """Commits of which their runner has not heard before it died."""

    def __post_init__(self) -> None:
        self.store_there.set()

    @property
    def store_away(self) -> bool:
        return not self.store_there.is_set()


class StormyWay:
    """A process's way to the store; implements `testing.gate.Way`."""

    clear = False

    def __init__(self, cable: Cable, sky: Sky, seed: int) -> None:
        self._cable = cable
        self._sky = sky
        self._random = random.Random(seed)

    async def go(self, what: str) -> None:
        await self._cable.go(what)
        if what == WORD:
            return
        await self._late()
        if self._sky.store_away or self._random.random() < self._sky.weather.store_refuses:
            raise PersistenceError(f"{what}: the store is away")
        await self._cable.go(what)

    async def back(self, what: str) -> None:
        await self._late()
        if self._sky.store_away or self._random.random() < self._sky.weather.store_loses:
            await asyncio.sleep(LOST_S)
            if what != COMMIT:
                raise PersistenceError(f"{what}: the answer was lost", executed="unknown")
            await self._sky.store_there.wait()
        try:
            await self._cable.back(what)
        except PersistenceError:
            self._sky.unheard += what == COMMIT
            raise

    async def _late(self) -> None:
        await asyncio.sleep(self._random.expovariate(1 / self._sky.weather.store_late_s))


@dataclass(frozen=True, kw_only=True)
class StormyPlace(Place):
    """Each process has its own way to the store, and the store tells who commits what."""

    sky: Sky
    audit: Audit
    seed: int

    def open_store(self, process: str, cable: Cable) -> GatedStore:
        told = StorageFaults(committed=partial(self.audit.committed, process))
        store = MemoryStore(clock=self.clock, tables=self.tables, faults=told)
        store.membership.reap = self._told_of(store.membership.reap)  # type: ignore[method-assign]
        if process == OPERATOR:  # the hand of the simulation itself
            return GatedStore(store, cable)
        return GatedStore(store, StormyWay(cable, self.sky, self.seed ^ crc32(process.encode())))

    def _told_of(self, reap: Reap) -> Reap:
        async def reaping(*, ended_by_us: int | None = None) -> Sequence[int]:
            reaped = await reap(ended_by_us=ended_by_us)
            self.audit.saw_reaped(reaped)
            return reaped

        return reaping


class World:
    """The cluster, and what befalls it."""

    def __init__(self, live: LiveCluster, place: StormyPlace, trace: Trace, *, inside: bool) -> None:
        """`inside`: users are at work in the process of the first runner."""
        self.live = live
        self._inside = inside
        self.place = place
        self._trace = trace
        self._frozen: set[int] = set()
        self._leaving: set[int] = set()
        self._counted: list[MetricsService] = []
        """Of all runners that ever were."""
        self._faults: dict[str, Callable[[int, Fault], Awaitable[None]]] = {
            "crash": self._crash,
            "stop": self._stop,
            "freeze": self._freeze,
            "partition": self._partition,
            "cut off": self._partition,
            "deaf": self._deafen,
            "snap": self._snap,
            "drain": self._drain,
            "start": self._one_more,
            "clock": self._set_clock,
            "store away": self._outage,
        }

    async def begin(self, runners: int) -> None:
        await self.live.open(runners)
        self._counted += [self.live.metrics(number) for number in self.live.runners]

    def get_worse(self, weather: Weather) -> None:
        self.place.sky.weather = weather
        network = self.place.network
        network.delay_range_s, network.break_rate = weather.network_s, weather.network_breaks

    async def suffer(self, faults: Sequence[Fault]) -> None:
        """Returns when all faults are over, the weather is fine and somebody is there."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(FAULTS_TO_S))
            for fault in faults:
                group.create_task(self._befall(fault))
        self.get_worse(CALM)
        if not self.live.runners:
            await self._start()
        self._trace.note("calm")

    async def end(self) -> None:
        """Everything has been seen: nobody needs to leave in order."""
        for number in list(self.live.runners):
            await self.live.crash(number)
        await self.live.close()

    async def miscounted(self, *, gauges: bool) -> list[str]:
        """Where the counters of all runners that ever were, and the gauges of those that are, contradict the store."""
        if gauges:
            await self.live.clock.advance(GAUGES_EVERY_S)
        samples: dict[tuple[str, Labels], float] = {}
        for metrics in self._counted:
            gone = metrics not in [self.live.metrics(number) for number in self.live.runners]
            for (name, labels), value in metrics.snapshot().items():
                if not (name in GAUGES and (gone or not gauges)):
                    samples[name, labels] = samples.get((name, labels), 0.0) + value
        ledger = await MemoryStore(clock=self.place.clock, tables=self.place.tables).ledger.ledger()
        return [
            f"metrics: {finding}"
            for finding in disagreements(reconcile(samples, ledger))
            if not self._went_with_its_runner(finding) and not self._is_repeated(finding)
        ]

    def _went_with_its_runner(self, finding: Finding) -> bool:
        """What was counted by a runner that could not write it any more, or written by one that never heard of it."""
        if finding.what == "redeliveries" and finding.counted > finding.stored:
            return any(shard.epoch > 1 for shard in self.place.tables.shards.rows.values())
        return self.place.sky.unheard > 0 and finding.what != "stored as taken in"

    def _is_repeated(self, finding: Finding) -> bool:
        """A message that died is stored as dead once more for each that came by the inbox under its key."""
        done = self.place.tables.done.rows.values()
        repeats = sum(row.kind == OutcomeKind.DEAD and row.deliveries == 0 for row in done)
        return finding.what == "dead messages" and 0 < finding.stored - finding.counted <= repeats

    async def _befall(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        spared = {FIRST} if self._inside and fault.kind in ("crash", "stop", "freeze") else set[int]()
        free = [number for number in self.live.runners if number not in self._leaving | spared]
        if not free:
            return
        number = free[fault.place % len(free)]
        self._trace.note(f"{fault.kind} of runner {number} for {fault.for_s:.3f} s")
        await self._faults[fault.kind](number, fault)
        self._trace.note(f"{fault.kind} of runner {number} is over")

    async def _crash(self, number: int, fault: Fault) -> None:
        self._leaving.add(number)
        await self.live.crash(number)
        await asyncio.sleep(fault.for_s)
        await self._start()

    async def _stop(self, number: int, fault: Fault) -> None:
        if number not in self._frozen:
            self._leaving.add(number)
            await self.live.stop(number)
            await asyncio.sleep(fault.for_s)
            await self._start()

    async def _freeze(self, number: int, fault: Fault) -> None:
        if number in self._frozen:
            return
        self._frozen.add(number)
        self.live.freeze(number)
        await asyncio.sleep(fault.for_s)
        self._frozen.discard(number)
        if number in self.live.runners:
            self.live.thaw(number)

    async def _partition(self, number: int, fault: Fault) -> None:
        self.live.partition(number, store=fault.kind == "cut off")
        await asyncio.sleep(fault.for_s)
        self.live.heal()

    async def _deafen(self, number: int, fault: Fault) -> None:
        """It is heard, and hears nobody."""
        network, name = self.place.network, member_name(number)
        others = [CLIENT, *(member_name(other) for other in self.live.runners if other != number)]
        for other in others:
            network.block(other, name)
        await asyncio.sleep(fault.for_s)
        for other in others:
            network.heal(other, name)

    async def _snap(self, number: int, fault: Fault) -> None:
        """Its connections break, again and again."""
        loop = asyncio.get_running_loop()
        until = loop.time() + fault.for_s
        while loop.time() < until:
            await asyncio.sleep(SNAP_EVERY_S)
            for other in (CLIENT, *map(member_name, self.live.runners)):
                self.place.network.cut(other, member_name(number))

    async def _drain(self, number: int, fault: Fault) -> None:
        await self.live.wish(number, RunnerState.DRAINING)
        await asyncio.sleep(fault.for_s)
        if number in self.live.runners:
            await self.live.wish(number, RunnerState.ACTIVE)

    async def _one_more(self, number: int, fault: Fault) -> None:
        if len(self.live.runners) < RUNNERS_MAX:
            await self._start()

    async def _set_clock(self, number: int, fault: Fault) -> None:
        self.live.set_clock(number, DAY_S if fault.place % 2 else -DAY_S)

    async def _outage(self, number: int, fault: Fault) -> None:
        self.place.sky.store_there.clear()
        await asyncio.sleep(fault.for_s)
        self.place.sky.store_there.set()

    async def _start(self) -> None:
        for _ in range(STARTS_MAX):
            try:
                self._counted.append(self.live.metrics(await self.live.start()))
                return
            except PersistenceError:
                await asyncio.sleep(AGAIN_S)
        raise AssertionError(f"no runner could be started in {STARTS_MAX} tries")
