"""Sends and submits through the caller's own transaction: `.opts(tx=connection)`.

They need the App's declarations and a store that a runner has once served, and no open node: the row goes over the
caller's connection and is there if and when its transaction commits. Whether the key is free is found out by the
owner, so receipts and handles say `duplicate=None`; what becomes of a row can be asked for after the commit, by any
node of the App.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from holdfast.entities.door import Receipt, SendOptions
from holdfast.entities.handler import Handler
from holdfast.errors import JobInvalid, UsageError
from holdfast.jobs.call import JobCall
from holdfast.jobs.door import FinishedJob
from holdfast.jobs.handle import JobHandle
from holdfast.model.address import Address
from holdfast.model.envelope import ONE_WAY
from holdfast.model.ids import JobId, MessageId
from holdfast.model.inbox import InboxKind, encode_entry
from holdfast.model.placement import Placement
from holdfast.ports.outside import KnownGroups, Letter, Visit
from holdfast.settings import Settings
from holdfast.storage.outside.drivers import Awaited, Blocking
from holdfast.storage.outside.kinds import outside

from .node import Node
from .remote.door import durable_call
from .remote.rows import job_row, message_row

R = TypeVar("R")


class SideDoor:
    """Implements `entities.door.SideDoor` and `jobs.door.SideDoor` for one App."""

    def __init__(self, *, node: Callable[[], Node], group_of: Callable[[str], str], settings: Settings) -> None:
        """`group_of` tells the shard group of a declared type."""
        self._node = node
        self._group_of = group_of
        self._settings = settings
        self._known: KnownGroups = {}

    async def send(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Receipt[Any]:
        letter = self._message(address, handler, args, kwargs, options)
        return Receipt(MessageId(await self._leave(letter, options.tx)), duplicate=None)

    def send_blocking(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Receipt[Any]:
        letter = self._message(address, handler, args, kwargs, options)
        return Receipt(MessageId(self._leave_blocking(letter, options.tx)), duplicate=None)

    async def submit(self, call: JobCall[R]) -> JobHandle[R]:
        return self._handle(call, await self._leave(self._job(call), call.rules.tx))

    def submit_blocking(self, call: JobCall[R]) -> JobHandle[R]:
        return self._handle(call, self._leave_blocking(self._job(call), call.rules.tx))

    def wait(self, job: JobId, /, *, timeout: float | None = None) -> Coroutine[Any, Any, FinishedJob]:
        """As `JobDoor.wait`. Raises JobNotFound before the commit."""
        return self._node().jobs.wait(job, timeout=timeout)

    async def _leave(self, letter: Letter, connection: object) -> int:
        place = outside(connection)
        if isinstance(place, Awaited):
            return await place.leave(letter, self._known)
        return place.leave(letter, self._known)

    def _leave_blocking(self, letter: Letter, connection: object) -> int:
        place = outside(connection)
        if not isinstance(place, Blocking):
            kind = type(connection).__name__
            raise UsageError(
                f"an asynchronous connection ({kind}) belongs to its event loop: await it, without `.sync`"
            )
        return place.leave(letter, self._known)

    def _handle(self, call: JobCall[R], number: int) -> JobHandle[R]:
        return JobHandle(number, None, self, call.result)

    def _message(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Letter:
        """Raises MalformedMessage for wrong arguments."""
        call = durable_call(address, handler, args, kwargs, options, 0.0, ONE_WAY)
        handler.signature.check_size(call.payload, self._settings.entities.payload_bytes_max)
        group = self._group_of(address.entity_type)

        def compose(visit: Visit) -> tuple[int, InboxKind, bytes]:
            shard = Placement.of(visit.groups, {address.entity_type: group}).of_entity(*address)
            call.message_id = visit.number
            return shard, *encode_entry(message_row(call, shard, visit.now_us))

        return Letter(group, compose)

    def _job(self, call: JobCall[Any]) -> Letter:
        """Raises JobInvalid."""
        if len(call.payload) > (most := self._settings.jobs.payload_bytes_max):
            raise JobInvalid(f"the arguments of {call.job_type} take {len(call.payload)} bytes, and may take {most}")
        group, rules = self._group_of(call.job_type), call.rules

        def compose(visit: Visit) -> tuple[int, InboxKind, bytes]:
            placement = Placement.of(visit.groups, {call.job_type: group})
            shard = placement.of_job(visit.number, call.job_type, rules.key, rules.group)
            return shard, *encode_entry(job_row(call, visit.number, shard, visit.now_us, self._settings.jobs))

        return Letter(group, compose)
