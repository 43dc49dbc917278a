"""Durable messages that a client left in the inbox, because no runner answered it.

A row goes from the inbox into the messages in one commit, and only here is found out whether it is new: its sender may
have got it through directly just before, and nobody has looked at its key.

Its sender holds a receipt with the message's own id, so that id must lead to an outcome. Where its key belongs to an
earlier message with the same payload, it gets that one's outcome, and stays in the inbox until there is one; with
another payload its outcome is the conflict.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from typing import Any

from holdfast.errors import PersistenceError
from holdfast.model.message import DoneRow, MessageRow, OutcomeKind, Take, TimerCancel
from holdfast.model.unit import Row

from .delivery import Delivery
from .durable import DurableTurn
from .inflight import Inflight
from .manager import EntityManager
from .outcomes import done_row
from .surroundings import Surroundings
from .turns import Ending
from .units import Committer, surely_not_written


class Stays(enum.Enum):
    """Why a message stays in the inbox for now."""

    UNDECIDED = "undecided"
    """It, or the first one of its key, came directly and may yet be refused: it keeps its place in the inbox."""
    KEY_IN_USE = "key in use"
    """It will get another message's outcome, whenever that ends: no message has to wait behind it."""


class Inbound:
    """Moves messages out of the inbox."""

    def __init__(
        self,
        around: Surroundings,
        *,
        manager: EntityManager,
        delivery: Delivery,
        inflight: Inflight,
        committer: Committer,
    ) -> None:
        self._around = around
        self._reader = around.reader
        self._manager = manager
        self._delivery = delivery
        self._inflight = inflight
        self._committer = committer

    async def adopt(self, row: MessageRow, taken: Take, again: Callable[[], None]) -> Stays | None:
        """Moves a message out of the inbox; None once it is.

        Where it has to stay for now `again` is called when to come back. Raises PersistenceError where it is still in
        the inbox, or nobody can say whether it is; EntityNotAssignedToRunner for a shard that is not held here,
        RunnerUnavailable while draining.
        """
        shard, moment = self._manager.shard_of(row.address), self._manager.shards.moment
        self._check_held(shard, moment)
        row = row._replace(shard=shard, generation=row.id, admitted_by=self._around.runner_id)
        while True:
            turn = self._inflight.get(row.id)
            if turn is not None and not turn.stored:  # it came directly, and may yet be refused
                turn.listeners.append(_Again(again))
                return Stays.UNDECIDED
            with self._inflight.looking() as passed:
                if turn is not None or await self._is_stored(row.id):
                    self._check_held(shard, moment)
                    await self._write(shard, [taken])
                    return None
                earlier = None if row.key is None else await self._holder_of_key(row, row.key)
                if earlier is not None:
                    self._check_held(shard, moment)
                    return await self._repeat(row, earlier, taken, again)
                await self._catch_up(row)
            self._check_held(shard, moment)
            if self._inflight.like(row) is None and not passed.like(row):
                await self._admit(row, taken)
                return None

    def _check_held(self, shard: int, moment: int) -> None:
        if self._manager.closed is not None or not self._manager.shards.held_since(shard, moment):
            raise self._manager.not_here()

    async def take_away(self, taken: Take) -> None:
        """Deletes an inbox row that led to nothing to be stored. Raises PersistenceError."""
        await self._write(0, [taken])

    async def _catch_up(self, row: MessageRow) -> None:
        """What an entity has had stored since before this runner had it comes before what it gets from the inbox."""
        if self._delivery.catching_up.behind and row.entity_type in self._manager.hosted:
            await self._delivery.catching_up.first(self._manager.activation_of_stored(row.address, row.shard))

    async def _is_stored(self, message_id: int) -> bool:
        return await self._reader.done(message_id) is not None or await self._reader.by_id(message_id) is not None

    async def _holder_of_key(self, row: MessageRow, key: str) -> MessageRow | DoneRow | None:
        turn = self._inflight.like(row)
        if turn is not None:
            return turn.row
        done = await self._reader.done_by_key(row.address, row.method, key)
        return done or await self._reader.by_key(row.address, row.method, key)

    async def _repeat(
        self, row: MessageRow, earlier: MessageRow | DoneRow, taken: Take, again: Callable[[], None]
    ) -> Stays | None:
        """What becomes of a message whose key is in use."""
        if earlier.payload_hash != row.payload_hash:
            conflict = self._done(row, OutcomeKind.KEY_CONFLICT, (row.key or "").encode())
            await self._write(row.shard, [taken, conflict])
            return None
        if isinstance(earlier, DoneRow):
            hosted = self._manager.hosted.get(row.entity_type)
            if hosted is not None:
                hosted.duplicates.inc()
            await self._write(row.shard, [taken, self._done(row, OutcomeKind(earlier.kind), earlier.outcome)])
            return None
        turn = self._inflight.get(earlier.id)
        if turn is not None:
            turn.listeners.append(_Again(again))
        else:
            self._inflight.await_message(earlier.id, row.shard, _Again(again))
        return Stays.KEY_IN_USE if turn is None or turn.stored else Stays.UNDECIDED

    def _done(self, row: MessageRow, kind: OutcomeKind, outcome: bytes | None) -> DoneRow:
        """The outcome of a message that is not handled; the key stays with the first one."""
        around = self._around
        return done_row(row._replace(key=None), kind, outcome, 0, around.clock.now_us(), around.runner_id)

    async def _admit(self, row: MessageRow, taken: Take) -> None:
        """Stores the message; until that is known it is held, so that a retry or its key find it.

        Where it can't be known it is looked for, before what was left behind it may come in.
        """
        hosted = self._manager.hosted.get(row.entity_type)
        handler = None if hosted is None else hosted.handlers.get(row.method)
        turn: DurableTurn | None = None
        if handler is not None and handler.durable:
            activation = self._manager.activation_of_stored(row.address, row.shard)
            turn = self._delivery.turn(activation, handler, row, stored=False)
            self._inflight.add(turn)
        rows: list[Row] = [taken]
        if row.name is not None:
            rows.append(TimerCancel(row.entity_type, row.entity_id, row.name))
        rows.append(row)

        def stored() -> None:
            if turn is not None:
                turn.stored_now()
                self._inflight.remove(turn)
                for listener in turn.listeners:
                    self._inflight.await_message(row.id, row.shard, listener)
            self._delivery.deliver_later(row)

        def refused(error: PersistenceError) -> None:
            if turn is not None:
                self._delivery.refuse(turn, error)

        try:
            await self._write(row.shard, rows, len(row.payload), stored, refused)
        except PersistenceError as error:
            if error.executed == "unknown":  # it may be out of the inbox and among the messages
                await self._delivery.catching_up.looked_for([row.id])
            raise

    def _write(
        self,
        shard: int,
        rows: list[Row],
        size_bytes: int = 0,
        stored: Callable[[], None] = lambda: None,
        refused: Callable[[PersistenceError], None] = lambda _: None,
    ) -> asyncio.Future[None]:
        known: asyncio.Future[None] = self._around.loop.create_future()

        def committed() -> None:
            stored()
            if not known.done():
                known.set_result(None)

        def failed(error: BaseException) -> None:
            failure = surely_not_written(error)
            refused(failure)
            if not known.done():
                known.set_exception(failure)

        self._committer.write(shard, rows, size_bytes, committed, failed)
        return known


class _Again:
    """Waits for another message on behalf of one in the inbox; a listener."""

    def __init__(self, again: Callable[[], None]) -> None:
        self._again = again

    def stored(self) -> None:
        self._again()

    def refused(self, error: BaseException) -> None:
        self._again()

    def done(self, ending: Ending, outcome: Any) -> None:
        self._again()
