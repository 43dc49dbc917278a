"""The entity engine, put together, and its life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.kit.service import Periodic
from holdfast.metrics import MetricsService
from holdfast.model.message import InboxRow, MessageRow
from holdfast.model.unit import Row

from .admission import Admission
from .backlog import Backlog
from .bursts import Bursts
from .delivery import Delivery
from .hosted import Hosted
from .inbound import Inbound
from .inflight import Inflight
from .letters import Letters
from .local import LocalDoor
from .manager import EntityManager
from .passivation import Passivation
from .reach import HandlerReach
from .running import TurnRunner
from .surroundings import Surroundings
from .threads import HandlerThreads
from .units import Committer

PASSIVATION_EVERY_S = 1.0
LOOK_EVERY_S = 0.005
"""Seconds between two looks at who still works, while draining."""
INTERRUPTED_S = 5.0
"""Seconds that handlers get to end which were interrupted."""


class EntityEngine:
    """Entities of one runner that owns every shard. All methods belong to the loop's thread."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        reach = HandlerReach(around)
        hosted = {
            declared.name: Hosted(declared, around.settings, around.metrics, reach)
            for declared in around.types.values()
        }
        self.manager = EntityManager(around, hosted=hosted)
        reach.connect(self.manager)
        self._threads = HandlerThreads(around)
        committer = Committer(around, freed=self.manager)
        self._runner = runner = TurnRunner(
            around, committer=committer, threads=self._threads, freed=self.manager.advance
        )
        self._bursts = Bursts(runner.start, around.loop)
        runner.serve_bursts(self._bursts)
        inflight = Inflight()
        self.delivery = Delivery(around, manager=self.manager, inflight=inflight, committer=committer)
        self.manager.connect(
            bursts=self._bursts,
            committer=committer,
            emptied=self.delivery.refill_soon,
            perhaps_stored=self._perhaps_stored,
        )
        self.admission = Admission(
            around, manager=self.manager, delivery=self.delivery, inflight=inflight, committer=committer
        )
        self.inbound = Inbound(
            around, manager=self.manager, delivery=self.delivery, inflight=inflight, committer=committer
        )
        self.letters = Letters(around, manager=self.manager, delivery=self.delivery, committer=committer)
        self.door = LocalDoor(
            around, manager=self.manager, runner=runner, admission=self.admission, delivery=self.delivery
        )
        self._backlog = Backlog(around, delivery=self.delivery, inflight=inflight)
        self._passivation = Passivation(self.manager, around.loop.time)
        self._idle_rounds = Periodic("holdfast-passivation", self._passivation.turn, every_s=PASSIVATION_EVERY_S)
        self._unwatch = self._watch(around.metrics)

    async def start(self) -> None:
        """Takes up what earlier incarnations left in the store."""
        await self.delivery.due.start()
        await self._backlog.start()
        await self._idle_rounds.start()

    def _perhaps_stored(self, rows: list[Row]) -> None:
        """What the handlers of a commit of unknown outcome sent is delivered where it turns out to be stored."""
        self.delivery.look_for([row.id for row in rows if isinstance(row, MessageRow)])
        if any(isinstance(row, InboxRow) for row in rows):
            self.door.inbox_left()

    def under_way(self) -> list[str]:
        """What is being handled or could be, in words."""
        found = [f"{activation.address}" for activation in self.manager.live.values() if activation.at_work]
        if not self._backlog.done.is_set():
            found.append("stored messages to be read")
        if self.delivery.busy or self.overdue():
            found.append("messages to be delivered")
        return found

    def overdue(self) -> bool:
        """Whether the time of a delayed message, a timer or a retry has come that has not begun."""
        return self.delivery.overdue(self._around.clock.now_us())

    async def drain(self, timeout_s: float) -> None:
        """Takes no more messages, lets running handlers end, cancels those that do not, commits what ended."""
        self.manager.draining = True
        await self._backlog.stop()
        await self._idle_rounds.stop()
        await self.delivery.due.stop()
        if not await self._at_rest(timeout_s):
            self._runner.interrupt()
            await self._at_rest(INTERRUPTED_S)
        await self._around.group.drain()
        self.delivery.refuse_unstored()
        for activation in list(self.manager.live.values()):
            await self._passivation.deactivate(activation, "stopped")

    async def _at_rest(self, timeout_s: float) -> bool:
        """Whether within so many seconds no entity is at work any more. Nothing new begins while draining."""
        loop = self._around.loop
        until = loop.time() + timeout_s
        at_work = list(self.manager.live.values())
        while at_work := [activation for activation in at_work if activation.at_work]:
            if loop.time() >= until:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    async def stop(self) -> None:
        """Leaves nothing running; works after `drain` and without it."""
        self.manager.draining = True
        await self._backlog.stop()
        await self._idle_rounds.stop()
        self._runner.interrupt()
        for task in list(self._bursts.tasks):
            task.cancel()
        if self._bursts.tasks:
            await asyncio.wait(self._bursts.tasks)
        await self.manager.stop()
        await self.delivery.stop()
        for unwatch in self._unwatch:
            unwatch()
        self._threads.close()

    def _watch(self, metrics: MetricsService) -> list[Callable[[], None]]:
        """Gauges that are read from what the engine knows anyway."""
        hosted, mailboxes, cluster = self.manager.hosted.values(), self.manager.mailboxes, metrics.cluster
        return [
            cluster.entities.read_with(lambda: {frozenset(): float(sum(each.instances for each in hosted))}),
            cluster.mailbox_depth.read_with(mailboxes.depths),
            cluster.mailbox_oldest_age.read_with(mailboxes.oldest_ages_s),
        ]
