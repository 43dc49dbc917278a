"""Stored messages that nobody has in memory: read for one entity, when they come before what is new.

That is so while the shard is being taken up, and where a mailbox was full: the rest has stayed in the store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Protocol

from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.model.message import MessageRow

from .inflight import Inflight, Passed
from .insisting import until_answered
from .manager import EntityManager
from .surroundings import Surroundings
from .turns import Activation


class Handing(Protocol):
    """Who hands stored messages to their entities."""

    def deliver_stored(self, rows: Iterable[MessageRow], moment: int | None = None) -> None: ...

    def deliver_later(self, row: MessageRow) -> None: ...


class CatchingUp:
    """Reads what an entity has stored, before anything new comes in."""

    def __init__(self, around: Surroundings, *, manager: EntityManager, inflight: Inflight, delivery: Handing) -> None:
        self._reader = around.reader
        self._clock = around.clock
        self._manager = manager
        self._shards = manager.shards
        self._inflight = inflight
        self._delivery = delivery
        self._tasks = TaskOwner("holdfast-catching-up")
        self._refilling: set[Address] = set()
        self.behind: dict[int, set[Address]] = {}
        """Shards of which not all that was stored is handed out or marked as overflow; and for which entities it is."""

    @property
    def busy(self) -> bool:
        return len(self._tasks) > 0

    async def stop(self) -> None:
        await self._tasks.stop()

    def taking(self, shards: Collection[int]) -> None:
        """These shards are being taken up."""
        self.behind.update({shard: set() for shard in shards})

    def ended(self, shards: Iterable[int]) -> None:
        """What was stored for these shards has been handed out, or is marked as overflow."""
        for shard in shards:
            self.behind.pop(shard, None)

    async def first(self, activation: Activation) -> None:
        """What an entity has had stored since before its shard was taken up comes before anything new."""
        while (seen := self.behind.get(activation.shard)) is not None and activation.address not in seen:
            await self.refill(activation)
            seen.add(activation.address)

    async def refill(self, activation: Activation) -> None:
        """Takes the next stored messages of an entity, oldest first, before any that come meanwhile.

        What was stored while they were read may not be among them: then they are read again. So they are where another
        activation has taken the place of this one, and wants to be refilled.
        """
        room, complete = activation.hosted.mailbox, False
        while not complete:
            reader, passed_over = activation, activation.overflow
            now, moment = self._clock.now_us(), self._shards.moment
            with self._inflight.looking() as passed:
                rows = await self._reader.pending_of(activation.address, after=0, limit=room, due_before=now)
            activation = self._current(activation)
            complete = (activation is reader and activation.overflow <= passed_over) or len(rows) == room
            activation.overflow = 0
            self.hand_out(rows, passed, moment)
            activation = self._current(activation)
            activation.overflow += len(rows) == room or not complete
        self._refilling.discard(activation.address)

    def _current(self, activation: Activation) -> Activation:
        return self._manager.live.get(activation.address, activation)

    def hand_out(self, rows: Sequence[MessageRow], passed: Passed, moment: int) -> None:
        """Delivers what has been read; what has passed meanwhile only where it is still stored, and most is not."""
        self._delivery.deliver_stored([row for row in rows if not passed.has(row.id)], moment)
        self.look_for([row.id for row in rows if passed.has(row.id)])

    def look_for(self, message_ids: list[int]) -> None:
        """Delivers those of these messages that are stored, and that nobody has in hand."""
        if message_ids and self._manager.closed is None:
            self._tasks.start(self.looked_for(message_ids), name="look for messages")

    async def looked_for(self, message_ids: list[int]) -> None:
        """As `look_for`; returns when the store has said of each whether it is there."""
        for message_id in message_ids:
            if message_id in self._inflight:
                continue
            with self._inflight.looking() as passed:
                row = await until_answered(partial(self._reader.by_id, message_id))
            if row is not None and message_id not in self._inflight and not passed.has(message_id):
                self._delivery.deliver_later(row)

    def refill_soon(self, activation: Activation) -> None:
        """The mailbox of an entity has run empty of which more is stored."""
        if activation.address not in self._refilling and self._manager.closed is None and not activation.leaving:
            self._refilling.add(activation.address)
            self._tasks.start(until_answered(partial(self.refill, activation)), name=f"refill {activation.address}")
