"""What a handler reaches through its instance: other entities, its own messages, timers, and its transaction."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from holdfast.errors import ConfigurationError, UsageError
from holdfast.model.address import Address, checked_entity_id
from holdfast.ports.journal import Transaction, part_of
from holdfast.ports.turn import current_turn

from .manager import EntityManager
from .ref import Ref, bound
from .surroundings import Surroundings
from .turns import HandlerTurn


class HandlerReach:
    """Implements `hosted.Reach` for all entities of a runner."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._manager: EntityManager

    def connect(self, manager: EntityManager) -> None:
        """Who knows when an entity's commits are settled; its types name this object as their reach."""
        self._manager = manager

    def ref(self, entity: type[Any], entity_id: str) -> Any:
        declared = self._around.types.get(entity)
        if declared is None:
            raise ConfigurationError(f"{entity.__name__} is not declared on this App")
        return Ref(self._around.link, Address(declared.name, checked_entity_id(entity_id)), declared.handlers)

    def own(self, address: Address, message: str) -> Any:
        handler = self._manager.hosted_type(address.entity_type).handlers[message]
        return bound(self._around.link, address, handler)

    def cancel_timer(self, address: Address, name: str) -> Coroutine[Any, Any, bool]:
        return self._around.link.door.cancel_timer(address, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        turn = current_turn.get()
        if not isinstance(turn, HandlerTurn):
            raise UsageError("self.transaction() belongs to a running handler")
        turn.check_open()
        if turn.handler.readonly:
            raise UsageError(f"{turn.handler.signature.name} is readonly: it has no transaction")
        if turn.transaction is None:
            await turn.before_transaction()
            await self._manager.settled(turn.activation)
            turn.transaction = await self._around.journal.begin(timeout_s=self._around.settings.transaction_timeout)
        async with part_of(turn.transaction) as part:
            yield part
