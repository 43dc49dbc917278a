"""The entity engine, put together: what comes in from outside, and how its parts know each other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from holdfast.errors import ConfigurationError, UsageError
from holdfast.kit.batching import GroupCommit
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.kit.service import Periodic
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.ports.commits import CommitItem
from holdfast.ports.journal import Journal, Transaction
from holdfast.ports.reads import MessageReader
from holdfast.ports.turn import current_turn
from holdfast.settings import EntitySettings

from .admission import Admission
from .backlog import Backlog
from .delivery import Delivery
from .door import Link
from .durable import DurableRules
from .entity_type import EntityType
from .hosted import Hosted
from .inflight import Inflight
from .local import LocalDoor
from .manager import EntityManager
from .passivation import Passivation
from .ref import Ref, bound
from .running import Bursts, TurnRunner
from .streams import Streams
from .threads import HandlerThreads
from .turns import HandlerTurn
from .units import Committer

PASSIVATION_EVERY_S = 1.0


class EntityEngine:
    """Entities of one runner that owns every shard. All methods belong to the loop's thread."""

    def __init__(
        self,
        *,
        types: Mapping[type[Any], EntityType],
        link: Link,
        journal: Journal,
        group: GroupCommit[CommitItem],
        reader: MessageReader,
        ids: IdPool,
        clock: Clock,
        rng: random.Random,
        settings: EntitySettings,
        metrics: MetricsService,
        shard_of: Callable[[Address], int],
        incarnation: int,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._types = types
        self._link = link
        self._journal = journal
        self._settings = settings
        self._group = group
        self._loop = loop
        hosted = {declared.name: Hosted(declared, settings, metrics, self) for declared in types.values()}
        self.manager = EntityManager(hosted=hosted, reader=reader, shard_of=shard_of, loop=loop)
        self._wheel = DeadlineWheel(loop)
        self._threads = HandlerThreads(threads_max=settings.threads, metrics=metrics, loop=loop)
        committer = Committer(group, self.manager, unit_messages_max=settings.unit_messages_max)
        runner = TurnRunner(committer=committer, wheel=self._wheel, threads=self._threads, freed=self.manager.advance)
        self._bursts = Bursts(runner.start, loop)
        runner.serve_bursts(self._bursts)
        inflight = Inflight()
        self.delivery = Delivery(
            manager=self.manager,
            inflight=inflight,
            committer=committer,
            reader=reader,
            ids=ids,
            clock=clock,
            settings=settings,
            loop=loop,
        )
        self.delivery.govern(
            DurableRules(settings=settings, clock=clock, rng=rng, incarnation=incarnation, deliveries=self.delivery)
        )
        self.manager.connect(bursts=self._bursts, committer=committer, emptied=self.delivery.refill_soon)
        self.admission = Admission(
            manager=self.manager,
            delivery=self.delivery,
            inflight=inflight,
            committer=committer,
            reader=reader,
            ids=ids,
        )
        self.door = LocalDoor(
            manager=self.manager,
            admission=self.admission,
            runner=runner,
            delivery=self.delivery,
            wheel=self._wheel,
            ids=ids,
            clock=clock,
            incarnation=incarnation,
            settings=settings,
            loop=loop,
        )
        streams = Streams(
            manager=self.manager,
            invoke=self.door.invoke,
            metrics=metrics,
            loop=loop,
            duration_max_s=settings.handler_timeout,
        )
        self.door.stream_with(streams)
        self._backlog = Backlog(
            delivery=self.delivery, inflight=inflight, reader=reader, clock=clock, page_rows=settings.page_rows
        )
        self._passivation = Passivation(self.manager, loop.time)
        self._idle_rounds = Periodic("holdfast-passivation", self._passivation.turn, every_s=PASSIVATION_EVERY_S)
        self._unwatch = self._watch(metrics)

    async def start(self) -> None:
        """Takes up what earlier incarnations left in the store."""
        await self.delivery.due.start()
        await self._backlog.start()
        await self._idle_rounds.start()

    async def drain(self, timeout_s: float) -> None:
        """Takes no more messages, lets running handlers end, cancels those that do not, commits what ended."""
        self.manager.draining = True
        await self._backlog.stop()
        await self._idle_rounds.stop()
        tasks = set(self._bursts.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=timeout_s)
        await self._group.drain()
        self.delivery.refuse_unstored()
        for activation in list(self.manager.live.values()):
            await self._passivation.deactivate(activation, "stopped")

    async def stop(self) -> None:
        """Leaves nothing running; works after `drain` and without it."""
        self.manager.draining = True
        await self._backlog.stop()
        await self._idle_rounds.stop()
        for task in list(self._bursts.tasks):
            task.cancel()
        if self._bursts.tasks:
            await asyncio.wait(self._bursts.tasks)
        await self.delivery.stop()
        await self.manager.stop()
        self._unwatch()
        self._wheel.close()
        self._threads.close()

    # What handlers reach through their instance (hosted.Surroundings).

    def ref(self, entity: type[Any], entity_id: str) -> Any:
        declared = self._types.get(entity)
        if declared is None:
            raise ConfigurationError(f"{entity.__name__} is not declared on this App")
        return Ref(self._link, Address(declared.name, entity_id), declared.handlers)

    def own(self, address: Address, message: str) -> Any:
        handler = self.manager.hosted_type(address.entity_type).handlers[message]
        return bound(self._link, address, handler)

    def cancel_timer(self, address: Address, name: str) -> Coroutine[Any, Any, bool]:
        return self.door.cancel_timer(address, name)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Transaction]:
        turn = current_turn.get()
        if not isinstance(turn, HandlerTurn):
            raise UsageError("self.transaction() belongs to a running handler")
        turn.check_open()
        if turn.handler.readonly:
            raise UsageError(f"{turn.handler.signature.name} is readonly: it has no transaction")
        if turn.transaction is None:
            await self.manager.settled(turn.activation)
            turn.transaction = await self._journal.begin(timeout_s=self._settings.transaction_timeout)
        transaction = turn.transaction
        await transaction.execute("SAVEPOINT holdfast_block")
        try:
            yield transaction
        except BaseException:
            await transaction.execute("ROLLBACK TO holdfast_block")
            raise
        finally:
            await transaction.execute("RELEASE holdfast_block")

    def _watch(self, metrics: MetricsService) -> Callable[[], None]:
        """Gauges that are read from what the engine knows anyway."""
        hosted = self.manager.hosted.values()
        return metrics.cluster.entities.read_with(lambda: {frozenset(): float(sum(each.instances for each in hosted))})
