"""Durable messages that this version does not know: a rolling upgrade brings them before the last old runner has left.

They are accepted like any other, by way of the inbox: the message waits stored, costs no try, and is handled by the
first owner of its entity that knows it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection

from holdfast.errors import Conflict, HoldfastError
from holdfast.kit.clock import Clock
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address, checked_entity_id
from holdfast.model.envelope import Accepted, Call
from holdfast.model.inbox import encode_entry
from holdfast.ports.reads import InboxWriter
from holdfast.runtime.remote.rows import message_row

from .checks import check_names, check_storable
from .inbound import Conversation

logger = logging.getLogger("holdfast.runtime")


class Parking:
    """Stores what nobody here can handle."""

    def __init__(
        self,
        *,
        inbox: InboxWriter,
        inbox_taken: Callable[[int, Collection[int]], Awaitable[None]],
        shard_of: Callable[[Address], int],
        clock: Clock,
        tasks: TaskOwner,
    ) -> None:
        """`inbox_taken(id, shards)` returns once what was in the inbox up to this id has been taken."""
        self._inbox = inbox
        self._inbox_taken = inbox_taken
        self._shard_of = shard_of
        self._clock = clock
        self._tasks = tasks

    def take(self, conversation: Conversation, call: Call) -> None:
        """Raises MalformedMessage for what no store can hold."""
        check_names(call)
        check_storable(call)
        address = Address(call.entity_type, checked_entity_id(call.entity_id))
        parking = self._tasks.start(self._park(conversation, address, call), name=f"park {call.message_id}")
        conversation.waiting[call.correlation] = parking

    async def _park(self, conversation: Conversation, address: Address, call: Call) -> None:
        shard = self._shard_of(address)
        kind, body = encode_entry(message_row(call, shard, self._clock.now_us()))
        try:
            try:
                await self._inbox.leave([(call.message_id, shard, kind, body)])
            except Conflict:
                logger.debug("message %s waits in the inbox already", call.message_id)
            await self._inbox_taken(call.message_id, ())
        except HoldfastError as error:
            conversation.refuse(call.correlation, error)
        else:
            conversation.answer(Accepted(call.correlation, call.message_id, False))
        finally:
            conversation.waiting.pop(call.correlation, None)
