"""The services of an App: `app.cluster` and `app.jobs`. They hold nothing; the node that is open does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any, ParamSpec, TypeVar, overload

from holdfast.entities.definition import DurableMessage, Message
from holdfast.entities.door import DEFAULTS, Receipt
from holdfast.entities.entity import Entity
from holdfast.entities.entity_type import EntityType
from holdfast.entities.letters import DeadMessage
from holdfast.errors import MessageNotFound, SendTimeout, UsageError
from holdfast.jobs.call import JobCall
from holdfast.jobs.definition import BoundJob, Job
from holdfast.jobs.door import CancelOutcome, DeadLetter, JobDoor, JobStatus
from holdfast.jobs.handle import JobHandle
from holdfast.metrics import error_tag
from holdfast.model.address import Address, checked_entity_id
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.health import Health
from holdfast.model.ids import JobId, MessageId

from .node import Node
from .outside import SideDoor

P = ParamSpec("P")
R = TypeVar("R")

LOOK_EVERY_S = 0.05
"""Seconds between two looks for a message that waits in the inbox."""


class ClusterService:
    """Messages to entities, spelled by class and id, and what the cluster looks like."""

    error_tag = staticmethod(error_tag)

    def __init__(self, node: Callable[[], Node], declared: Callable[[type[Any]], EntityType]) -> None:
        self._node = node
        self._declared = declared

    @overload
    async def send(self, message: Message[P, R], entity_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def send(self, message: DurableMessage[P, R], entity_id: str, /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def send(self, message: Any, entity_id: str, /, *args: Any, **kwargs: Any) -> Any:
        """Request/reply, for messages of both kinds; the same as calling the message on a ref."""
        address = self._address(message.owner, entity_id)
        handler = self._declared(message.owner).handlers[message.name]
        door = self._node().entities
        call = door.call_durable if handler.durable else door.call
        return await call(address, handler, args, kwargs, DEFAULTS)

    async def broadcast(
        self, message: Message[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Sequence[R | BaseException]:
        """Sends to every live instance of the type and returns their replies; an error stands where a reply would."""
        declared = self._declared(message.owner)
        return await self._node().broadcast(declared, declared.handlers[message.name], args, kwargs)

    async def result(self, receipt: Receipt[R], /, *, timeout: float | None = None) -> R:
        """The outcome of a durable send. Raises the declared error, MessageDead, or SendTimeout.

        MessageNotFound is raised for one through `tx=` whose transaction has not committed.
        """
        node, number = self._node(), receipt.message_id
        known = receipt.duplicate is not None
        outcome: R = await (node.message_result(number, timeout) if known else _once_taken(node, number, timeout))
        return outcome

    async def dead_letters(
        self, *, entity_type: str | None = None, limit: int = 100, after: MessageId | None = None
    ) -> Sequence[DeadMessage]:
        """Durable messages that used up their tries, by ascending id, to be replayed or discarded."""
        return await self._node().dead_messages(entity_type=entity_type, limit=limit, after=after or 0)

    async def replay(self, message_id: MessageId, /) -> Receipt[Any]:
        """Sends a dead message again, in one commit with the end of its letter. Raises MessageNotFound."""
        return Receipt(await self._node().replay_message(message_id), duplicate=False)

    async def discard(self, message_id: MessageId, /) -> None:
        """Gives a dead message up. Raises MessageNotFound."""
        await self._node().discard_message(message_id)

    async def runners(self) -> Sequence[RunnerRow]:
        """The registered runners."""
        return await self._node().runners()

    async def shards(self) -> Sequence[ShardRow]:
        """Who owns what."""
        return await self._node().shards()

    async def where(self, entity: type[Entity[Any]], entity_id: str, /) -> RunnerRow | None:
        """The runner that owns the entity's shard; None while nobody does."""
        return await self._node().where(self._address(entity, entity_id))

    def health(self) -> Health:
        """Whether this process's node makes progress."""
        return self._node().health()

    def _address(self, entity: type[Any], entity_id: str) -> Address:
        return Address(self._declared(entity).name, checked_entity_id(entity_id))


class JobService:
    """Requests about jobs, by handle or id."""

    def __init__(self, door: Callable[[], JobDoor], side_door: SideDoor) -> None:
        self._door = door
        self._side_door = side_door

    async def submit(self, job: Job[P, R] | BoundJob[P, R], /, *args: P.args, **kwargs: P.kwargs) -> JobHandle[R]:
        """The same as `job.submit(...)`."""
        return await job.submit(*args, **kwargs)

    async def submit_many(self, calls: Iterable[JobCall[R]], /) -> Sequence[JobHandle[R]]:
        """Submits what `job.call(...)` made, in bounded chunks that each commit as a whole.

        Calls with `tx=` go through that connection; all have to, or none. Raises UsageError otherwise.
        """
        listed = list(calls)
        through = [call for call in listed if call.rules.tx is not None]
        if not through:
            return await self._door().submit_many(listed)
        if len(through) < len(listed):
            raise UsageError("some of these calls have `tx=` and some have not: submit them apart")
        return [await self._side_door.submit(call) for call in listed]

    async def status(self, job: JobHandle[Any] | JobId, /) -> JobStatus:
        """Raises JobNotFound."""
        return await self._door().status(_id(job))

    @overload
    async def wait(self, job: JobHandle[R], *, timeout: float | None = ...) -> R: ...
    @overload
    async def wait(self, job: JobId, *, timeout: float | None = ...) -> object: ...
    async def wait(self, job: Any, *, timeout: float | None = None) -> Any:
        """What the job returned. Raises JobNotFound, JobDead, JobCancelled; TimeoutError after `timeout` seconds."""
        if isinstance(job, JobHandle):
            return await job.result(timeout=timeout)  # pyright: ignore[reportUnknownVariableType]
        return (await self._door().wait(job, timeout=timeout)).unwrap(None)

    async def cancel(self, job: JobHandle[Any] | JobId, /) -> CancelOutcome:
        """Raises JobNotFound, and AlreadyCancelled for a job in a terminal state."""
        return await self._door().cancel(_id(job))

    async def replay(self, job: JobHandle[Any] | JobId, /) -> JobHandle[Any]:
        """Submits a dead job again. Raises JobNotFound, AlreadyCancelled."""
        return await self._door().replay(_id(job))

    async def discard(self, job: JobHandle[Any] | JobId, /) -> None:
        """Gives a dead job up. Raises JobNotFound, AlreadyCancelled."""
        await self._door().discard(_id(job))

    async def dead_letters(
        self, *, limit: int = 100, after: JobId | None = None, job_type: str | None = None
    ) -> Sequence[DeadLetter]:
        """Dead jobs neither replayed nor discarded."""
        return await self._door().dead_letters(limit=limit, after=after, job_type=job_type)


def _id(job: JobHandle[Any] | JobId) -> JobId:
    return job.id if isinstance(job, JobHandle) else job


async def _once_taken(node: Node, number: int, timeout_s: float | None) -> Any:
    """The outcome of a message that may still be in the inbox. Raises MessageNotFound, and SendTimeout where it stays.

    Asked last is what was asked first: between the two looks the owner may have taken it.
    """
    deadline = None if timeout_s is None else perf_counter() + timeout_s
    while True:
        try:
            return await node.message_result(number, _left_s(deadline))
        except MessageNotFound:
            if not await node.in_inbox(number):
                return await node.message_result(number, _left_s(deadline))
        if deadline is not None and perf_counter() >= deadline:
            raise SendTimeout(f"message {number} was still in the inbox after {timeout_s:g} s")
        await asyncio.sleep(LOOK_EVERY_S)


def _left_s(deadline: float | None) -> float | None:
    return None if deadline is None else max(deadline - perf_counter(), 0.001)
