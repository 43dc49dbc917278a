"""One App on many nodes: whoever asks is answered by the node of the process it runs in.

In production each process has an App of its own, whose services speak to the one node that is open in it. In a
simulated cluster all processes share the App; its node is `Nodes`, which passes everything on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

from holdfast.entities.door import Door, Receipt, SendOptions
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.letters import DeadMessage
from holdfast.jobs.door import JobDoor
from holdfast.model.address import Address
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.health import Health
from holdfast.model.ids import MessageId
from holdfast.runtime.node import Node


class Nodes:
    """Implements `runtime.node.Node`. What is called from no process, the test itself, asks a client."""

    http: str | None = None

    def __init__(
        self, *, mine: Callable[[], Node], drain: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]
    ) -> None:
        """`mine` is the node of the process whose code is running; `drain` and `stop` are of all."""
        self._mine = mine
        self._drain = drain
        self._stop = stop
        self._door = _DoorHere(mine)

    @property
    def store_url(self) -> str:
        return self._mine().store_url

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._mine().loop

    @property
    def entities(self) -> Door:
        return self._door

    @property
    def jobs(self) -> JobDoor:
        return self._mine().jobs

    async def broadcast(
        self, declared: EntityType, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sequence[Any]:
        return await self._mine().broadcast(declared, handler, args, kwargs)

    async def message_result(self, message_id: int, timeout: float | None) -> Any:
        return await self._mine().message_result(message_id, timeout)

    async def in_inbox(self, number: int) -> bool:
        return await self._mine().in_inbox(number)

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        return await self._mine().dead_messages(entity_type=entity_type, limit=limit, after=after)

    async def replay_message(self, message_id: int) -> MessageId:
        return await self._mine().replay_message(message_id)

    async def discard_message(self, message_id: int) -> None:
        await self._mine().discard_message(message_id)

    async def runners(self) -> Sequence[RunnerRow]:
        return await self._mine().runners()

    async def shards(self) -> Sequence[ShardRow]:
        return await self._mine().shards()

    async def where(self, address: Address) -> RunnerRow | None:
        return await self._mine().where(address)

    def health(self) -> Health:
        return self._mine().health()

    async def drain(self) -> None:
        await self._drain()

    async def stop(self) -> None:
        await self._stop()


class _DoorHere:
    """Implements `Door`: the door of the node that is asked at that moment."""

    def __init__(self, mine: Callable[[], Node]) -> None:
        self._mine = mine

    def call(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Coroutine[Any, Any, Any]:
        return self._mine().entities.call(address, handler, args, kwargs, options)

    def call_durable(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Coroutine[Any, Any, Any]:
        return self._mine().entities.call_durable(address, handler, args, kwargs, options)

    def send(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Coroutine[Any, Any, Receipt[Any]]:
        return self._mine().entities.send(address, handler, args, kwargs, options)

    def stream(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> AsyncIterator[Any]:
        return self._mine().entities.stream(address, handler, args, kwargs, options)

    def cancel_timer(self, address: Address, name: str) -> Coroutine[Any, Any, bool]:
        return self._mine().entities.cancel_timer(address, name)
