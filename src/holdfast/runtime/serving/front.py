"""The door that a runner opens to other processes: the socket, what is served over it, and its life.

It listens before the runner registers, so that the address in the store is one that answers; until the engines have
taken up what the store holds, whoever calls is told that the runner is starting. At the end peers are told to send
nothing new, what they asked before is answered, and then the socket goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from holdfast.entities.engine import EntityEngine
from holdfast.entities.entity_type import EntityType
from holdfast.entities.local import Finished
from holdfast.errors import MessageNotFound
from holdfast.jobs.engine import JobEngine
from holdfast.kit.clock import Clock
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.ports.reads import MessageReader
from holdfast.ports.store import RunnerStore
from holdfast.ports.transport import Identity, Listener, Network
from holdfast.runtime.node import Node
from holdfast.runtime.questions import MessageOutcome
from holdfast.settings import Settings

from .durable import DurableIntake
from .inbound import Serving
from .requests import Services
from .streams import StreamServing


class Front:
    """Listens at an address and serves one runner's engines there."""

    def __init__(
        self, *, network: Network, address: str, store: RunnerStore, clock: Clock, settings: Settings, software: str
    ) -> None:
        self._network = network
        self._wanted = address
        self._store = store
        self._clock = clock
        self._software = software
        self._serving = Serving(settings.entities)
        self._tasks = TaskOwner("holdfast-serving")
        self._listener: Listener | None = None

    async def listen(self) -> str:
        """Opens the socket and returns its address. Raises ConfigurationError where it can't be had."""
        identity = Identity(await self._store.cluster_id(), software=self._software)
        self._listener = await self._network.listen(self._wanted, identity=identity, inbound=self._serving)
        return self._listener.address

    def open(
        self,
        *,
        node: Node,
        entities: EntityEngine,
        jobs: JobEngine,
        types: Mapping[str, EntityType],
        shard_of: Callable[[Address], int],
        runner_id: int,
        inbox_taken: Callable[[int], Awaitable[None]],
    ) -> None:
        """Serves from now on."""
        durable = DurableIntake(
            admission=entities.admission,
            live=entities.manager.live,
            shard_of=shard_of,
            clock=self._clock,
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
            outcome=outcomes.of,
            inbox_taken=inbox_taken,
            tasks=self._tasks,
        )
        streams = StreamServing(entities.door, self._tasks)
        self._serving.open(entities.manager, durable=durable, streams=streams, services=services)

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
