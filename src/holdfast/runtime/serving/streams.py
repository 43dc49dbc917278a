"""Streams whose consumer is in another process: one task each, which sends no more than the consumer has room for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from holdfast.entities.door import Door, SendOptions
from holdfast.entities.handler import Handler
from holdfast.errors import HoldfastError, RunnerUnavailable
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address, checked_entity_id
from holdfast.model.envelope import StreamOpen
from holdfast.model.ids import SECOND_US
from holdfast.ports.transport import OutgoingStream
from holdfast.transport import failure_of

from .here import Here
from .inbound import Conversation, declared, refuse_chain

logger = logging.getLogger("holdfast.runtime")


class StreamServing:
    """Opens streams on this runner's entities for its peers."""

    def __init__(self, door: Door, here: Here, tasks: TaskOwner) -> None:
        self._door = door
        self._here = here
        self._tasks = tasks

    def take(self, conversation: Conversation, handler: Handler, opening: StreamOpen) -> None:
        address = Address(opening.entity_type, checked_entity_id(opening.entity_id))
        refuse_chain(handler, address, opening.chain)
        self._here.check_entity(address)
        arguments = handler.signature.decode(opening.payload)
        outgoing = conversation.peer.produce(opening)
        options = SendOptions(timeout=opening.timeout_us / SECOND_US or None)
        producing = self._produce(conversation, opening.correlation, address, handler, arguments, options, outgoing)
        task = self._tasks.start(producing, name=f"stream {handler.signature.name}")
        conversation.waiting[opening.correlation] = task

    async def _produce(
        self,
        conversation: Conversation,
        correlation: int,
        address: Address,
        handler: Handler,
        arguments: tuple[object, ...],
        options: SendOptions,
        outgoing: OutgoingStream,
    ) -> None:
        encode = handler.signature.result.encode
        try:
            elements = self._door.stream(address, handler, arguments, {}, options)
            async with aclosing(cast(AsyncGenerator[Any, None], elements)):
                async for element in elements:
                    if not await outgoing.send(encode(element)):
                        return
            outgoing.end()
        except asyncio.CancelledError:  # by the consumer, which does not hear this any more, or by a drain
            outgoing.end(failure_of(RunnerUnavailable("this runner is stopping", executed="unknown")))
            raise
        except Exception as error:
            if isinstance(error, handler.options.errors):
                outgoing.end(declared(correlation, error))
                return
            if not isinstance(error, HoldfastError):
                logger.exception("the stream %s on %s failed", handler.signature.name, address)
            outgoing.end(failure_of(error))
        finally:
            conversation.waiting.pop(correlation, None)
