"""The door that a runner opens to other processes: the socket, what is served over it, and its life.

It listens before the runner registers, so that the address in the store is one that answers; until the engines have
taken up what the store holds, whoever calls is told that the runner is starting. At the end peers are told to send
nothing new, what they asked before is answered, and then the socket goes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from holdfast.entities.engine import EntityEngine
from holdfast.entities.entity_type import EntityType
from holdfast.entities.listeners import Finished
from holdfast.errors import HoldfastError, MessageNotFound
from holdfast.jobs.engine import JobEngine
from holdfast.kit.clock import Clock
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import Reply, Request
from holdfast.ports.reads import MessageReader
from holdfast.ports.store import RunnerStore
from holdfast.ports.territory import Territory
from holdfast.ports.transport import Identity, Listener, Network
from holdfast.runtime.node import Node
from holdfast.runtime.questions import MOVED, MessageOutcome, Moved, pack
from holdfast.settings import Settings

from .durable import DurableIntake
from .here import Here
from .inbound import Serving
from .instances import LiveInstances
from .parking import Parking
from .requests import Services
from .streams import StreamServing

MOVED_TIMEOUT_US = 2_000_000
WINDOWS = 2
"""Of a peer that keeps to its own window one is enough; the other is for settings that differ."""


class Front:
    """Listens at an address and serves one runner's engines there."""

    def __init__(
        self,
        *,
        network: Network,
        address: str,
        store: RunnerStore,
        settings: Settings,
        software: str,
        token: str = "",
    ) -> None:
        """`token`: what peers have to show, and what no address beyond this machine is opened without."""
        self._network = network
        self._wanted = address
        self._token = token
        self._store = store
        self._software = software
        self._serving = Serving(settings.entities, waiting_max=WINDOWS * settings.transport.window)
        self._tasks = TaskOwner("holdfast-serving")
        self._listener: Listener | None = None

    async def listen(self, *, lapsed: Callable[[], bool] | None = None) -> str:
        """Opens the socket and returns its address. Raises ConfigurationError where it can't be had.

        `lapsed`: whether this runner may have been replaced, so that no answer of it counts any more.
        """
        identity = Identity(await self._store.cluster_id(), software=self._software, token=self._token)
        self._listener = await self._network.listen(
            self._wanted, identity=identity, inbound=self._serving, silenced=lapsed
        )
        return self._listener.address

    def open(
        self,
        *,
        node: Node,
        clock: Clock,
        entities: EntityEngine,
        jobs: JobEngine,
        types: Mapping[str, EntityType],
        shard_of: Callable[[Address], int],
        runner_id: int,
        inbox_taken: Callable[[int, Collection[int]], Awaitable[None]],
        territory: Territory | None = None,
        moved: Callable[[Moved], None] | None = None,
    ) -> None:
        """Serves from now on: the shards of `territory`, or all. `moved` hears what other runners say of shards."""
        here = Here(territory=territory, shard_of=shard_of, jobs=self._store.jobs, messages=self._store.messages)
        durable = DurableIntake(
            admission=entities.admission,
            live=entities.manager.live,
            shard_of=shard_of,
            clock=clock,
            runner_id=runner_id,
            inbox_taken=inbox_taken,
            tasks=self._tasks,
        )
        outcomes = Outcomes(entities, self._store.messages)
        services = Services(
            node=node,
            jobs=jobs,
            types=types,
            ids=self._store.ids,
            here=here,
            instances=LiveInstances(entities.door, entities.manager.live),
            moved=moved or _nothing_moves,
            outcome=outcomes.of,
            inbox_taken=inbox_taken,
            tasks=self._tasks,
        )
        unknown = Parking(
            inbox=self._store.inbox,
            inbox_taken=inbox_taken,
            shard_of=shard_of,
            clock=clock,
            tasks=self._tasks,
        )
        streams = StreamServing(entities.door, here, self._tasks)
        self._serving.open(entities.manager, durable=durable, unknown=unknown, streams=streams, services=services)

    def tell_moved(self, runner: RunnerRow, shards: Sequence[tuple[ShardRow, float]]) -> None:
        """Tells everybody who is connected whose these shards are now, so that they need not ask the store."""
        if self._listener is None:
            return
        told = pack(Moved(runner, list(shards)))
        for peer in self._listener.peers:
            with contextlib.suppress(HoldfastError):  # it asks the store when it is refused
                peer.call(Request(0, MOVED, told, MOVED_TIMEOUT_US)).add_done_callback(_heard)

    def go_away(self) -> None:
        """Takes nothing new; what was asked before is still answered."""
        if self._listener is not None:
            self._listener.go_away("this runner is stopping")

    async def close(self) -> None:
        """Ends what is still under way, then every connection. Works twice and before `listen`."""
        self._serving.shut()
        await self._tasks.stop()
        if self._listener is not None:
            await self._listener.close()


def _heard(answer: asyncio.Future[Reply]) -> None:
    if not answer.cancelled():
        answer.exception()


def _nothing_moves(told: Moved) -> None:
    """On an embedded store."""


class Outcomes:
    """How durable messages ended, or end: as their done rows keep it."""

    def __init__(self, entities: EntityEngine, reader: MessageReader) -> None:
        self._entities = entities
        self._reader = reader

    async def of(self, message_id: int) -> MessageOutcome:
        """Returns once it is known. Raises MessageNotFound."""
        found = await self._read(message_id)
        if found is not None:
            return found
        waiter = Finished(asyncio.get_running_loop())
        await self._entities.admission.listen(message_id, waiter)
        try:
            await waiter.future
        finally:
            self._entities.admission.forget(message_id, waiter)
        found = await self._read(message_id)
        if found is None:
            raise MessageNotFound(f"message {message_id} has ended, and its retention has passed")
        return found

    async def _read(self, message_id: int) -> MessageOutcome | None:
        done = await self._reader.done(message_id)
        if done is None:
            return None
        return MessageOutcome(done.entity_type, done.method, done.kind, done.outcome)
