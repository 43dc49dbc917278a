"""One runner of a simulated cluster: a process with its own node, clock, metrics and way to the store."""

from __future__ import annotations

import random
from dataclasses import dataclass

from holdfast.entities.door import Link
from holdfast.metrics import MetricsService
from holdfast.runtime.app import App
from holdfast.runtime.peers import Peers
from holdfast.runtime.runner import SOFTWARE, Runner
from holdfast.runtime.serving.front import Front
from holdfast.runtime.standing import Orders
from holdfast.schedules.schedule import SCHEDULE_TYPE, Scheduling, schedule_type
from holdfast.storage.memory.journal import StorageFaults
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.transport.memory import MemoryNetwork

from .gate import Cable, GatedStore
from .loop import LoopClock
from .process import Process


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the runners of a cluster share: tables, network, and the time."""

    app: App
    tables: Tables
    network: MemoryNetwork
    clock: LoopClock
    """The store's."""
    faults: StorageFaults | None = None

    def open_store(self, process: str, cable: Cable) -> GatedStore:
        """The store as this process reaches it."""
        return GatedStore(MemoryStore(clock=self.clock, tables=self.tables, faults=self.faults), cable)


def member_name(number: int) -> str:
    """In the network."""
    return f"runner-{number}"


class Member:
    """One runner, from its start to its end."""

    def __init__(self, number: int, place: Place, link: Link, *, seed: int) -> None:
        """`link`: the App's."""
        self.number = number
        self.process = Process(member_name(number))
        self.cable = Cable()
        self.clock = place.clock.another()
        self.metrics = MetricsService()
        self.runner: Runner | None = None
        self._place = place
        self._link = Link(place.app.name, link.run_blocking, link.side_door)
        self._random = random.Random(seed)

    @property
    def name(self) -> str:
        return self.process.name

    @property
    def works(self) -> bool:
        """Whether it has started and nothing keeps it from working."""
        return self.runner is not None and not self.process.frozen and not self.cable.cut

    @property
    def runner_id(self) -> int:
        """As which it is registered, or was last; 0 before it has started."""
        return 0 if self.runner is None else self.runner.runner_id

    def serves(self, shard: int) -> bool:
        return self.runner is not None and self.runner.serves(shard)

    def under_way(self) -> list[str]:
        return [] if self.runner is None else self.runner.under_way()

    def overdue(self) -> bool:
        return self.runner is not None and self.runner.overdue()

    async def start(self) -> None:
        """Returns when it serves. Raises what `app.runner()` raises."""
        await self.process.run(self._open())

    async def drain(self) -> None:
        if self.runner is not None:
            await self.process.run(self.runner.drain())

    async def stop(self) -> None:
        if self.runner is not None:
            await self.process.run(self.runner.stop())

    async def die(self) -> None:
        """Nothing of it reaches anybody any more; what is left of it in this process is cleared away."""
        self.cable.end()
        self._place.network.vanish(self.name)
        await self.stop()

    async def _open(self) -> None:
        place = self._place
        app, settings, network = place.app, place.app.settings, place.network.node(self.name)
        store = place.open_store(self.name, self.cable)
        front = Front(
            network=network,
            address=f"memory:{self.name}",
            store=store,
            settings=settings,
            software=SOFTWARE,
        )
        orders = self._orders()
        entity_types = {cls: declared for cls, declared in app.entity_types.items() if declared.name != SCHEDULE_TYPE}
        if len(entity_types) < len(app.entity_types):
            entity_types[orders.schedule_type.cls] = orders.schedule_type
        runner = Runner(
            store=store,
            entity_types=entity_types,
            job_types=app.job_types,
            orders=orders,
            link=self._link,
            settings=settings,
            metrics=self.metrics,
            clock=self.clock,
            rng=self._random,
            front=front,
            peers=Peers(network=network),
            context=self.process.context,
        )
        self.process.node = runner
        try:
            await runner.start()
        except BaseException:
            await runner.stop()
            raise
        self.runner = runner

    def _orders(self) -> Orders:
        """The App's, but with schedules of this runner's own: they know the runner they are on."""
        scheduling = Scheduling(self._place.app.declared_schedules, self.metrics)
        singletons = self._place.app.declared_singletons
        return Orders(scheduling=scheduling, schedule_type=schedule_type(scheduling), singletons=singletons)
