"""Dead letters: durable messages that used up their tries, kept until an operator replays or discards them.

A replay is one commit: the letter goes and a new message with the same arguments comes, with its tries ahead of it and
the same idempotency key. The first message's outcome stays what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.errors import Conflict, HoldfastError, MessageNotFound
from holdfast.model.ids import MessageId
from holdfast.model.message import DeadMessageEnd, DeadMessageRow, MessageRow

from .delivery import Delivery
from .manager import EntityManager
from .surroundings import Surroundings
from .units import Committer

PAGE_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMessage:
    """A dead letter. `arguments` is None where they no longer decode; moments are microseconds since the epoch."""

    message_id: MessageId
    entity_type: str
    entity_id: str
    method: str
    arguments: tuple[object, ...] | None
    key: str | None
    deliveries: int
    crashes: int
    error: str
    created_at: int
    died_at: int


class Letters:
    """The dead letters of the entities that this runner owns."""

    def __init__(
        self, around: Surroundings, *, manager: EntityManager, delivery: Delivery, committer: Committer
    ) -> None:
        self._around = around
        self._manager = manager
        self._delivery = delivery
        self._committer = committer

    async def page(self, *, entity_type: str | None, limit: int, after: int) -> Sequence[DeadMessage]:
        """By ascending id above `after`, at most 1,000."""
        limit = max(1, min(limit, PAGE_MAX))
        rows = await self._around.reader.dead(after=after, limit=limit, entity_type=entity_type)
        return [self._told(row) for row in rows]

    async def replay(self, message_id: int, *, number: int = 0) -> MessageId:
        """The id of the message that takes its place: `number`, where whoever asked has chosen it.

        Raises MessageNotFound, EntityNotAssignedToRunner, PersistenceError.
        """
        letter = await self._letter(message_id)
        row = self._again(letter, number or await self._around.ids.take())
        await self._end(letter, row)
        self._delivery.deliver_later(row)
        return MessageId(row.id)

    async def discard(self, message_id: int) -> None:
        """Gives the message up. Raises MessageNotFound, EntityNotAssignedToRunner, PersistenceError."""
        await self._end(await self._letter(message_id))

    async def _letter(self, message_id: int) -> DeadMessageRow:
        rows = await self._around.reader.dead(after=message_id - 1, limit=1)
        if not rows or rows[0].id != message_id:
            raise MessageNotFound(f"no dead letter {message_id}: it never was, or has been replayed or discarded")
        if not self._manager.shards.serves(rows[0].shard):
            raise self._manager.not_here()
        return rows[0]

    async def _end(self, letter: DeadMessageRow, *more: MessageRow) -> None:
        if letter.shard not in self._manager.shards:
            raise self._manager.not_here()
        try:
            await self._committer.written(letter.shard, [DeadMessageEnd(letter.id), *more])
        except Conflict:
            await self._letter(letter.id)  # somebody else was faster, or the key is in use
            raise

    def _again(self, letter: DeadMessageRow, message_id: int) -> MessageRow:
        now = self._around.clock.now_us()
        return MessageRow(
            id=message_id,
            shard=letter.shard,
            entity_type=letter.entity_type,
            entity_id=letter.entity_id,
            method=letter.method,
            payload=letter.payload,
            payload_hash=letter.payload_hash,
            key=letter.key,
            headers=letter.headers,
            due_at=0,
            name=None,
            every_us=0,
            generation=message_id,
            deliveries=0,
            crashes=0,
            last_error=None,
            created_at=now,
            admitted_by=self._around.runner_id,
        )

    def _told(self, row: DeadMessageRow) -> DeadMessage:
        return DeadMessage(
            message_id=MessageId(row.id),
            entity_type=row.entity_type,
            entity_id=row.entity_id,
            method=row.method,
            arguments=self._arguments(row),
            key=row.key,
            deliveries=row.deliveries,
            crashes=row.crashes,
            error=row.last_error,
            created_at=row.created_at,
            died_at=row.died_at,
        )

    def _arguments(self, row: DeadMessageRow) -> tuple[object, ...] | None:
        hosted = self._manager.hosted.get(row.entity_type)
        handler = None if hosted is None else hosted.handlers.get(row.method)
        if handler is None:
            return None
        try:
            return handler.signature.decode(row.payload)
        except HoldfastError:
            return None
