"""A client: the node that hosts nothing. It talks to whoever does, and leaves what nobody takes in the inbox."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from holdfast.cluster.clock import HeardClock
from holdfast.entities.door import Door
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.letters import DeadMessage
from holdfast.errors import HoldfastError, RunnerUnavailable
from holdfast.jobs.door import JobDoor
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import Request, Result
from holdfast.model.health import Check, Health
from holdfast.model.ids import MessageId, micros
from holdfast.ports.store import ClientStore
from holdfast.ports.transport import Network
from holdfast.runtime import questions
from holdfast.runtime.questions import AskWhere, pack, unpack
from holdfast.settings import Settings

from .remote.elsewhere import Elsewhere
from .remote.links import Dialling, Links, LinksByOwner, OneLink, Routes
from .remote.places import Places

IDS_TIMEOUT_S = 2.0
"""Seconds a runner gets to hand out ids; then the store does."""


class Client:
    """Implements `runtime.node.Node`."""

    http: str | None = None

    def __init__(
        self,
        *,
        store: ClientStore,
        network: Network,
        entity_types: Mapping[type[Any], EntityType],
        settings: Settings,
        metrics: MetricsService,
        clock: Clock,
        rng: random.Random,
        software: str,
        group_of_type: Mapping[str, str] | None = None,
        token: str = "",
        routes: Routes | None = None,
    ) -> None:
        """`routes`: who owns what, on a store with several runners; an embedded store has one, which owns all."""
        self._store = store
        self._metrics = metrics
        self.loop = asyncio.get_running_loop()
        self._wheel = DeadlineWheel(self.loop)
        dialling = Dialling(network=network, cluster_id=store.cluster_id, software=software, rng=rng, token=token)
        places = Places(store, shards=settings.cluster.shards, groups=group_of_type)
        self._links: Links = (
            OneLink(find=self._runner_address, dialling=dialling)
            if routes is None
            else LinksByOwner(routes=routes, dialling=dialling, shard_of=places.of_entity)
        )
        self._embedded = routes is None
        self._routes = routes
        self._clock = HeardClock(clock)
        self._elsewhere = Elsewhere(
            store=store,
            links=self._links,
            ids=IdPool(self._allocate, monotonic=clock.monotonic),
            places=places,
            entity_types=entity_types,
            wheel=self._wheel,
            settings=settings,
            metrics=metrics,
            clock=self._clock,
        )
        self._stopped = False

    async def start(self) -> None:
        """Looks for a runner once; returns whether or not there is one."""
        if not self._embedded:
            await self._clock.hear(self._store.membership)
        await self._elsewhere.start()

    @property
    def store_url(self) -> str:
        return self._store.url

    @property
    def entities(self) -> Door:
        return self._elsewhere.door

    @property
    def jobs(self) -> JobDoor:
        return self._elsewhere.jobs

    async def broadcast(
        self, declared: EntityType, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sequence[Any]:
        payload = handler.signature.encode(args, kwargs)
        meter = self._metrics.cluster.meter(operation="broadcast", entity_type=declared.name)
        started = perf_counter()
        replies = await self._elsewhere.broadcast(declared, handler, payload)
        meter.succeeded(perf_counter() - started)
        return replies

    async def message_result(self, message_id: int, timeout: float | None) -> Any:
        return await self._elsewhere.message_result(message_id, timeout)

    async def in_inbox(self, number: int) -> bool:
        return await self._store.inbox_reader.entry(number) is not None

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        return await self._elsewhere.dead_messages(entity_type=entity_type, limit=limit, after=after)

    async def replay_message(self, message_id: int) -> MessageId:
        return await self._elsewhere.replay_message(message_id)

    async def discard_message(self, message_id: int) -> None:
        await self._elsewhere.discard_message(message_id)

    async def runners(self) -> Sequence[RunnerRow]:
        return unpack(await self._elsewhere.ask(questions.RUNNERS), list[RunnerRow])

    async def shards(self) -> Sequence[ShardRow]:
        return unpack(await self._elsewhere.ask(questions.SHARDS), list[ShardRow])

    async def where(self, address: Address) -> RunnerRow | None:
        answer = await self._elsewhere.ask(questions.WHERE, pack(AskWhere(*address)))
        found: RunnerRow | None = unpack(answer, _MAYBE_RUNNER)
        return found

    def health(self) -> Health:
        return Health.of([Check("runner", *self._links.standing())])

    async def drain(self) -> None:
        """Writes what is on its way into the inbox."""
        await self._elsewhere.drain()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        await self._elsewhere.stop()
        if self._routes is not None:
            await self._routes.close()
        self._wheel.close()
        await self._store.close()

    async def _runner_address(self) -> str:
        address = await self._store.runner_address()
        if address is None:
            raise RunnerUnavailable("no runner is registered in the store")
        return address

    async def _allocate(self, count: int) -> int:
        """Ids from the store; on an embedded one, where a client's write waits for its turn, from the runner."""
        peer = self._links.anyone().peer if self._embedded else None
        if peer is not None:
            try:
                reply = await peer.call(Request(0, questions.ALLOCATE_IDS, pack(count), micros(IDS_TIMEOUT_S)))
                if isinstance(reply, Result):
                    return unpack(reply.payload, int)
            except HoldfastError:
                pass  # the store knows too, at the price of a write of our own
        return await self._store.ids.allocate(count)


_MAYBE_RUNNER: Any = RunnerRow | None
