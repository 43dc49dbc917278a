"""The entity engine, put together, and its life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from holdfast.kit.service import Periodic
from holdfast.kit.tasks import together
from holdfast.metrics import MetricsService
from holdfast.model.message import InboxRow, MessageRow
from holdfast.model.unit import Row

from .admission import Admission
from .backlog import Backlog
from .bursts import Bursts
from .delivery import Delivery
from .departure import Departures
from .hosted import Hosted
from .inbound import Inbound
from .inflight import Inflight
from .letters import Letters
from .local import LocalDoor
from .manager import EntityManager
from .parting import LOST, MOVED, STOPPED
from .passivation import Passivation
from .reach import HandlerReach
from .running import TurnRunner
from .shards import Shards
from .surroundings import Surroundings
from .threads import HandlerThreads
from .units import Committer

PASSIVATION_EVERY_S = 1.0


class EntityEngine:
    """Entities of one runner, as far as their shards have been given to it. All methods belong to the loop's thread."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        reach = HandlerReach(around)
        hosted = {
            declared.name: Hosted(declared, around.settings, around.metrics, reach)
            for declared in around.types.values()
        }
        self.shards = Shards(around.territory, around.shard_of)
        self.manager = EntityManager(around, hosted=hosted, shards=self.shards)
        reach.connect(self.manager)
        self._threads = HandlerThreads(around)
        committer = Committer(around, freed=self.manager, shards=self.shards)
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
            emptied=self.delivery.catching_up.refill_soon,
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
        committer.inbox_left = lambda: self.door.inbox_left()
        self.leftovers = committer.leftovers
        self._backlog = Backlog(around, shards=self.shards, delivery=self.delivery, inflight=inflight)
        self.delivery.crowded = self._backlog.walk_again
        self._passivation = Passivation(self.manager, around.loop.time)
        self._departures = Departures(
            manager=self.manager,
            delivery=self.delivery,
            backlog=self._backlog,
            runner=runner,
            committer=committer,
            passivation=self._passivation,
        )
        self._idle_rounds = Periodic("holdfast-passivation", self._passivation.turn, every_s=PASSIVATION_EVERY_S)
        self._unwatch = self._watch(around.metrics)

    async def start(self) -> None:
        """Ready to be given shards; it has none yet."""
        await self._idle_rounds.start()

    async def adopt(self, shards: Collection[int]) -> None:
        """Takes up shards that this runner owns: delivers what is stored for them, from now on and page by page.

        Returns once the first page is handed out and it is known what is due next. Senders are let in as soon as the
        territory serves a shard. Raises what the store does; nothing of these shards is held then.
        """
        fresh = self.shards.take(shards)
        if not fresh:
            return
        self.delivery.catching_up.taking(fresh)
        self.leftovers.left(self.shards.held)
        try:
            await together(
                self._around.ids.renew(),  # what these entities send is younger than what they sent where they were
                self.delivery.due.adopt(fresh),
                self._backlog.adopt(fresh),  # after the one above has looked at the clock: nothing lies between them
            )
        except BaseException:
            await self.release(fresh, timeout_s=0.0)
            raise

    def busy(self, shards: Collection[int]) -> set[int]:
        """Those of the shards in which a handler runs, an instance loads or a commit is not known yet."""
        return {one.shard for one in self.manager.live.values() if one.shard in shards and one.busy}

    async def release(self, shards: Collection[int], *, timeout_s: float) -> None:
        """Gives shards up, so that another runner may own them.

        Handlers that run get `timeout_s` seconds; then they are cancelled, and the next owner delivers their messages
        again. Returns once nothing of these shards is in flight at the store and no instance lives.
        """
        await self._departures.leave(shards, MOVED, timeout_s=timeout_s)

    def _perhaps_stored(self, rows: list[Row]) -> None:
        """What the handlers of a commit of unknown outcome sent is delivered where it turns out to be stored."""
        self.delivery.catching_up.look_for([row.id for row in rows if isinstance(row, MessageRow)])
        if left := {row.shard for row in rows if isinstance(row, InboxRow)}:
            self.leftovers.left(left)
            self.door.inbox_left()

    def under_way(self) -> list[str]:
        """What is being handled or could be, in words."""
        found = [f"{activation.address}" for activation in self.manager.live.values() if activation.at_work]
        if self._backlog.walking:
            found.append("stored messages to be read")
        if self.delivery.busy or self.overdue():
            found.append("messages to be delivered")
        return found

    def overdue(self) -> bool:
        """Whether the time of a delayed message, a timer or a retry has come that has not begun."""
        return self.delivery.overdue(self._around.clock.now_us())

    async def drain(self, timeout_s: float) -> None:
        """Gives up all shards, because this runner stops; takes no more messages."""
        self.manager.closed = STOPPED
        await self._departures.leave(self.shards.held, STOPPED, timeout_s=timeout_s)
        await self._idle_rounds.stop()
        await self.delivery.due.stop()
        await self._around.group.drain()

    async def abandon(self) -> None:
        """The incarnation was reaped, and others own its shards: ends everything without a word to the store.

        Whoever waits hears that this runner is no longer registered; what may have been handled has the outcome that
        the store knows. The engine is of no use afterwards. Whoever owns the group commit abandons that too.
        """
        held = self.shards.held
        self.manager.closed = LOST
        self._departures.gate(held, LOST)
        self.delivery.part_with(held, LOST)
        await self.stop()

    async def stop(self) -> None:
        """Leaves nothing running; works after `drain` and without it."""
        self.manager.closed = closed = self.manager.closed or STOPPED
        await self._backlog.stop()
        await self._idle_rounds.stop()
        self._runner.interrupt(closed.unknown())
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
