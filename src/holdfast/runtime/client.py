"""A client: the node of a process that hosts nothing and talks to the runner of its store.

It opens the store for what the store alone can tell and take: the runner's address, ids, and the inbox for when no
runner answers. Everything else goes over one connection, which is made anew when it breaks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from holdfast.entities.declared import decode_declared
from holdfast.entities.door import Door
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.letters import DeadMessage
from holdfast.errors import HoldfastError
from holdfast.jobs.door import JobDoor
from holdfast.kit.clock import Clock
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.hashing import payload_hash, shard_of
from holdfast.kit.ids import IdPool
from holdfast.kit.tasks import TaskOwner
from holdfast.metrics import MetricsService
from holdfast.model.address import Address
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.envelope import Call, Failure, Request, Result, Timing
from holdfast.model.health import Check, Health
from holdfast.model.ids import MessageId, micros
from holdfast.model.message import MessageRow
from holdfast.ports.store import ClientStore
from holdfast.ports.transport import Network
from holdfast.runtime import questions
from holdfast.runtime.questions import AskEach, AskLetters, AskWhere, Spoken, due_at_us, pack, unpack
from holdfast.settings import Settings
from holdfast.transport import error_of

from .remote.door import RemoteDoor
from .remote.inbox import Leavings
from .remote.jobs import RemoteJobs
from .remote.lines import Lines
from .remote.link import RunnerLink

GROUP = "default"
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
    ) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self.loop = asyncio.get_running_loop()
        self._wheel = DeadlineWheel(self.loop)
        self._tasks = TaskOwner("holdfast-client-inbox")
        self._link = RunnerLink(store=store, network=network, software=software, rng=rng)
        self._ids = IdPool(self._allocate)
        self._inbox = Leavings(store.inbox)
        self._shard_count = 0
        self._lines = Lines(
            link=self._link, leave=self._leave, writes=lambda: self._inbox.writes, ids=self._ids, wheel=self._wheel
        )
        self._door = RemoteDoor(
            link=self._link,
            lines=self._lines,
            inbox=self._inbox,
            types={declared.name: declared for declared in entity_types.values()},
            wheel=self._wheel,
            settings=settings,
            metrics=metrics,
        )
        self._jobs = RemoteJobs(
            link=self._link, inbox=self._inbox, ids=self._ids, shards=self._shards, clock=clock, settings=settings
        )
        self._stopped = False

    async def start(self) -> None:
        """Looks for a runner once; returns whether or not there is one."""
        self._link.on_connected = self._connected
        self._link.on_unreachable = self._lines.unreachable
        await self._shards()
        await self._link.start()

    @property
    def store_url(self) -> str:
        return self._store.url

    @property
    def entities(self) -> Door:
        return self._door

    @property
    def jobs(self) -> JobDoor:
        return self._jobs

    async def broadcast(
        self, declared: EntityType, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sequence[Any]:
        asked = AskEach(declared.name, handler.name, handler.signature.encode(args, kwargs))
        meter = self._metrics.cluster.meter(operation="broadcast", entity_type=declared.name)
        started = perf_counter()
        try:
            answer = await self._ask(questions.BROADCAST, pack(asked), repeatable=False)
        except HoldfastError as error:
            meter.failed(perf_counter() - started, error)
            raise
        meter.succeeded(perf_counter() - started)
        return [_heard(handler, spoken) for spoken in unpack(answer, list[Spoken])]

    async def message_result(self, message_id: int, timeout: float | None) -> Any:
        return await self._door.outcome(message_id, timeout or self._settings.entities.call_timeout)

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        asked = pack(AskLetters(limit, after, entity_type))
        return unpack(await self._ask(questions.LETTERS, asked), list[DeadMessage])

    async def replay_message(self, message_id: int) -> MessageId:
        answer = await self._ask(questions.REPLAY_LETTER, pack(message_id), repeatable=False)
        return MessageId(unpack(answer, int))

    async def discard_message(self, message_id: int) -> None:
        await self._ask(questions.DISCARD_LETTER, pack(message_id), repeatable=False)

    async def runners(self) -> Sequence[RunnerRow]:
        return unpack(await self._ask(questions.RUNNERS), list[RunnerRow])

    async def shards(self) -> Sequence[ShardRow]:
        return unpack(await self._ask(questions.SHARDS), list[ShardRow])

    async def where(self, address: Address) -> RunnerRow | None:
        found: RunnerRow | None = unpack(await self._ask(questions.WHERE, pack(AskWhere(*address))), _MAYBE_RUNNER)
        return found

    def health(self) -> Health:
        connected = self._link.peer is not None
        return Health.of([Check("runner", connected, "connected" if connected else self._link.why)])

    async def drain(self) -> None:
        """Writes what is on its way into the inbox."""
        await self._inbox.close()

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        await self._tasks.stop()
        await self._lines.stop()
        await self._inbox.close()
        await self._link.stop()
        self._wheel.close()
        await self._store.close()

    async def _ask(self, service: str, payload: bytes = b"", *, repeatable: bool = True) -> bytes:
        timeout_s = self._settings.entities.call_timeout
        return await self._link.question(service, payload, timeout_s, repeatable=repeatable)

    async def _allocate(self, count: int) -> int:
        """Ids from the runner, which has them at hand; from the store where there is none."""
        peer = self._link.peer
        if peer is not None:
            try:
                request = Request(0, questions.ALLOCATE_IDS, pack(count), micros(IDS_TIMEOUT_S))
                reply = await peer.call(request)
                if isinstance(reply, Result):
                    return unpack(reply.payload, int)
            except HoldfastError:
                pass  # the store knows too, at the price of a write of our own
        return await self._store.ids.allocate(count)

    async def _shards(self) -> int:
        """How many shards there are; before a runner has fixed it, how many there will be."""
        if not self._shard_count:
            self._shard_count = await self._store.shard_count(GROUP) or 0
        return self._shard_count or self._settings.cluster.shards

    def _leave(self, call: Call) -> asyncio.Future[None]:
        row = _row(call, self._shard_count or self._settings.cluster.shards, self._clock.now_us())
        return self._inbox.leave(row.id, row.shard, row)

    def _connected(self) -> None:
        self._lines.connected()
        if self._inbox.left:
            self._tasks.start(self._forget_inbox(), name="taken")

    async def _forget_inbox(self) -> None:
        """Once the runner has taken what was left, nobody needs to be told of it any more."""
        left, writes = self._inbox.left, self._inbox.writes
        try:
            await self._ask(questions.TAKE_INBOX, pack(left))
        except HoldfastError:
            return  # asked again with the next connection
        self._lines.inbox_taken(writes)
        self._inbox.taken(writes)


_MAYBE_RUNNER: Any = RunnerRow | None


def _heard(handler: Handler, spoken: Spoken) -> Any:
    if spoken.value is not None:
        return handler.signature.result.decode(spoken.value)
    if spoken.declared is not None:
        return decode_declared(handler, spoken.declared)
    executed = spoken.executed if spoken.executed in ("no", "yes") else "unknown"
    failure = Failure(0, spoken.reason, spoken.message, executed, spoken.error_type, spoken.incident)  # type: ignore[arg-type]
    return error_of(failure)


def _row(call: Call, shards: int, now_us: int) -> MessageRow:
    """A message as it waits in the inbox; what its owner decides is left open (0)."""
    timing = call.timing or Timing()
    return MessageRow(
        call.message_id,
        shard_of(call.entity_type, call.entity_id, shards),
        call.entity_type,
        call.entity_id,
        call.method,
        call.payload,
        payload_hash(call.payload),
        call.key,
        call.headers,
        due_at_us(timing, now_us),
        timing.name,
        timing.every_us,
        call.message_id,
        0,
        0,
        None,
        now_us,
        0,
    )
