"""The node that is open in this process: what an App's services ask, whether it hosts entities or only talks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from holdfast.entities.door import Door
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.entities.letters import DeadMessage
from holdfast.jobs.door import JobDoor
from holdfast.model.address import Address
from holdfast.model.cluster import RunnerRow, ShardRow
from holdfast.model.health import Health
from holdfast.model.ids import MessageId


class Node(Protocol):
    """A runner or a client."""

    @property
    def store_url(self) -> str: ...

    @property
    def http(self) -> str | None:
        """URL of the operations pages; None where none are served."""
        ...

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def entities(self) -> Door: ...

    @property
    def jobs(self) -> JobDoor: ...

    async def broadcast(
        self, declared: EntityType, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Sequence[Any]:
        """One call to each live instance of the type; errors as values."""
        ...

    async def message_result(self, message_id: int, timeout: float | None) -> Any:
        """The outcome of a durable message. Raises SendTimeout, and NotFound-like errors for an unknown id."""
        ...

    async def in_inbox(self, number: int) -> bool:
        """Whether a message or job of this id was left in the inbox and waits there for its owner."""
        ...

    async def dead_messages(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        """Dead letters of messages by ascending id above `after`."""
        ...

    async def replay_message(self, message_id: int) -> MessageId:
        """The id of the message that takes the letter's place. Raises MessageNotFound."""
        ...

    async def discard_message(self, message_id: int) -> None:
        """Raises MessageNotFound."""
        ...

    async def runners(self) -> Sequence[RunnerRow]: ...

    async def shards(self) -> Sequence[ShardRow]: ...

    async def where(self, address: Address) -> RunnerRow | None: ...

    def health(self) -> Health:
        """Callable from any thread."""
        ...

    async def drain(self) -> None:
        """Takes no more work and lets what runs end, for at most the drain timeout."""
        ...

    async def stop(self) -> None:
        """Leaves nothing running. Works twice, and without `drain`."""
        ...
