"""Two runners and a client of one store, in one process: the store and the network are in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from holdfast import App, Entity, message, stream
from holdfast.cluster.routing import Routes
from holdfast.entities.door import Link
from holdfast.errors import CallCircle
from holdfast.jobs.context import job_context
from holdfast.kit.clock import SystemClock
from holdfast.runtime.client import Client
from holdfast.runtime.node import Node
from holdfast.runtime.peers import Peers
from holdfast.runtime.runner import Runner
from holdfast.runtime.serving.front import Front
from holdfast.settings import ClusterSettings, Settings
from holdfast.storage.memory.store import MemoryStore
from holdfast.storage.memory.tables import Tables
from holdfast.transport import MemoryNetwork

PATIENCE_S = 120.0


class Refused(Exception):
    """What a stall declares."""


@dataclass
class Ledger:
    entries: list[int] = field(default_factory=list)


class Stall(Entity[Ledger]):
    """Lives in one of two processes, and talks to others of its kind, wherever they are."""

    def __init__(self) -> None:
        self.interrupted = 0

    @message
    async def count(self) -> int:
        return len(self.state.entries)

    @message(durable=True)
    async def note(self, number: int) -> list[int]:
        self.state.entries.append(number)
        return self.state.entries

    @message(durable=True, errors=(Refused,))
    async def refuse(self, why: str) -> None:
        raise Refused(why)

    @message
    async def ask(self, other: str, again: str) -> int:
        """Asks another, who asks a third."""
        return await self.ref(Stall, other).count() if not again else await self.ref(Stall, other).ask(again, "")

    @message(durable=True)
    async def ask_durably(self, other: str, again: str) -> int:
        """The same; -1 where that would be a circle."""
        stall = self.ref(Stall, other)
        try:
            return await (stall.ask_durably(again, "") if again else stall.count())
        except CallCircle:
            return -1

    @message
    async def sleep(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.interrupted += 1
            raise

    @message
    async def sleep_elsewhere(self, other: str, seconds: float) -> None:
        await self.ref(Stall, other).sleep(seconds)

    @message
    async def interruptions(self) -> int:
        return self.interrupted

    @stream
    async def numbers(self, upto: int) -> AsyncIterator[int]:
        for number in range(upto):
            yield number


async def twice(number: int) -> int:
    return 2 * number


async def linger() -> None:
    job_context().progress(0.5)
    await asyncio.sleep(3600.0)


async def fail() -> None:
    raise ValueError("as it does")


class Process:
    """An App as one process has it."""

    def __init__(self, settings: Settings) -> None:
        self.app = App("stalls", settings=settings)
        self.app.entity(Stall)
        self.twice = self.app.job(twice)
        self.linger = self.app.job(linger)
        self.fail = self.app.job(max_attempts=1)(fail)
        self.runner_id = 0

    def stall(self, entity_id: str) -> Stall:
        return self.app.ref(Stall, entity_id)


class Pair:
    """Runners `one` and `two`, and `client`, which hosts nothing."""

    def __init__(self) -> None:
        self.settings = Settings(cluster=ClusterSettings(shards=16, lease_renewal=0.2, drain_timeout=5.0))
        self.network = MemoryNetwork(settings=self.settings.transport)
        self.clock = SystemClock()
        self.tables = Tables(shared=True)
        self.one, self.two, self.client = (Process(self.settings) for _ in range(3))
        self._running: dict[Process, AsyncExitStack] = {}

    def store(self) -> MemoryStore:
        return MemoryStore(clock=self.clock, tables=self.tables)

    async def start(self, process: Process, name: str) -> None:
        stack = self._running[process] = AsyncExitStack()
        await stack.enter_async_context(process.app.opened(self._runner(process, name)))

    async def stop(self, process: Process) -> None:
        """A drain in order."""
        await self._running.pop(process).aclose()

    async def settled(self) -> None:
        """Returns once both runners have shards, and every shard an owner."""

        async def shared() -> bool:
            owners = {shard.runner_id for shard in await self.one.app.cluster.shards()}
            return len(owners) == 2 and 0 not in owners

        await until(shared)

    async def stall_of(self, process: Process, *, but: tuple[str, ...] = ()) -> str:
        """The id of a stall that lives in this process."""
        for number in range(1000):
            name = f"s{number}"
            owner = await process.app.cluster.where(Stall, name)
            if name not in but and owner is not None and owner.runner_id == process.runner_id:
                return name
        raise AssertionError("it owns nothing")

    def _runner(self, process: Process, name: str) -> Callable[[Link], Awaitable[Node]]:
        async def opened(link: Link) -> Node:
            store, network = self.store(), self.network.node(name)
            front = Front(
                network=network,
                address=f"memory:{name}",
                store=store,
                settings=self.settings,
                software="test",
            )
            runner = Runner(
                store=store,
                entity_types=process.app.entity_types,
                job_types=process.app.job_types,
                orders=process.app.orders,
                link=link,
                settings=self.settings,
                metrics=process.app.metrics,
                clock=self.clock,
                rng=random.Random(0),
                front=front,
                peers=Peers(network=network),
            )
            await runner.start()
            (row,) = [row for row in await runner.runners() if row.address == f"memory:{name}"]
            process.runner_id = row.runner_id
            return runner

        return opened

    async def _client(self, link: Link) -> Node:
        store = self.store()
        client = Client(
            store=store,
            network=self.network.node("client"),
            entity_types=self.client.app.entity_types,
            settings=self.settings,
            metrics=self.client.app.metrics,
            clock=self.clock,
            rng=random.Random(0),
            software="test",
            routes=Routes(reader=store.membership, clock=self.clock),
        )
        await client.start()
        return client

    @asynccontextmanager
    async def runs(self) -> AsyncGenerator[None]:
        try:
            await self.start(self.one, "one")
            await self.start(self.two, "two")
            await self.settled()
            async with self.client.app.opened(self._client):
                yield
        finally:
            for process in list(self._running):
                await self.stop(process)


async def until(seen: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await seen():  # noqa: ASYNC110 - there is no event to wait for in another process
            await asyncio.sleep(0.01)
