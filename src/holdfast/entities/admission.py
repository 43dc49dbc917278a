"""Durable messages on their way in: is this one known already, may it come in, when is it due.

A message is known by its id, which its first sender chose and keeps in every retry, and by its idempotency key. The
first outcome is the outcome: a repeated message gets it, or waits for it; another payload under the same key is a
conflict. Nothing is acknowledged before it is on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from holdfast.errors import AlreadyProcessingMessage, KeyConflict, MailboxFull, MalformedMessage, MessageNotFound
from holdfast.model.address import Address
from holdfast.model.message import DoneRow, MessageRow, TimerCancel
from holdfast.model.unit import Row

from .delivery import Delivery
from .durable import DurableTurn, Listener
from .handler import Handler
from .inflight import Inflight, Passed
from .manager import EntityManager
from .outcomes import outcome_of
from .parting import MOVED
from .surroundings import Surroundings
from .timers import part_from_runs, unstage
from .turns import Activation, Ending, HandlerTurn
from .units import Committer, surely_not_written


class Admitted(NamedTuple):
    """How a message came in. `message_id` is the first one's where it is a duplicate.

    `turn` is what the listener waits for; None where it has heard all, or hears the rest by the id.
    """

    duplicate: bool
    turn: DurableTurn | None
    message_id: int


class Admission:
    """Lets durable messages in, once each."""

    def __init__(
        self,
        around: Surroundings,
        *,
        manager: EntityManager,
        delivery: Delivery,
        inflight: Inflight,
        committer: Committer,
    ) -> None:
        self._reader = around.reader
        self._ids = around.ids
        self._manager = manager
        self._delivery = delivery
        self._catching_up = delivery.catching_up
        self._inflight = inflight
        self._committer = committer

    async def accept(
        self,
        row: MessageRow,
        handler: Handler,
        listener: Listener,
        *,
        retry: bool,
        one_way: bool,
        enter: Callable[[], Awaitable[None]] | None = None,
    ) -> Admitted:
        """A message from its sender, not stored yet.

        `enter` is awaited when all has been looked up: it returns when it is the message's turn to come in, and raises
        where it has to stay out after all. Raises KeyConflict, MailboxFull, MalformedMessage,
        EntityNotAssignedToRunner, RunnerUnavailable; nothing was written then.
        """
        while True:
            with self._inflight.looking() as passed:
                if retry or row.key is not None or row.id in self._inflight:
                    known = await self._known(row, listener, passed, retry=retry)
                    if known is not None:
                        return known
                activation = self._manager.activation(row.address)
                self._manager.refuse_overload(activation)
                if self._catching_up.behind:
                    await self._catching_up.first(activation)
                next_id = await self._ids.take() if row.every_us else 0
                if enter is not None:
                    await enter()
            if (earlier := self._inflight.like(row)) is not None:  # it came another way while this one was looked up
                return self._attach(earlier, row, listener)
            if not passed.like(row):
                break
        activation = self._manager.activation(row.address)
        turn = self._delivery.turn(activation, handler, row, stored=False, next_id=next_id)
        self._let_in(turn, listener, one_way=one_way)
        return Admitted(False, turn, row.id)

    def at_once(self, row: MessageRow) -> bool:
        """Whether a message that its sender has not sent before comes in without a look at the store."""
        return row.key is None and not row.every_us and not self._catching_up.behind

    def accept_now(
        self, activation: Activation, row: MessageRow, handler: Handler, listener: Listener, *, one_way: bool
    ) -> DurableTurn | None:
        """The same for the most frequent message, without a coroutine: one that its sender has not sent before.

        None where something has to be looked up first; then `accept` does it.
        """
        if row.id in self._inflight.by_id or not self.at_once(row):
            return None
        self._manager.refuse_overload(activation)
        turn = DurableTurn(activation, handler, row, self._delivery.rules, stored=False)
        self._let_in(turn, listener, one_way=one_way)
        return turn

    def _let_in(self, turn: DurableTurn, listener: Listener, *, one_way: bool) -> None:
        activation, row = turn.activation, turn.row
        if activation.overflow:
            raise MailboxFull(f"{row.address} has more messages stored than its mailbox holds; they come first")
        if activation.held and activation.queued >= activation.hosted.mailbox:
            raise MailboxFull(f"{row.address} has {activation.queued} messages behind one that is tried again")
        turn.arguments = turn.handler.signature.decode(row.payload)
        turn.listeners.append(listener)
        self._inflight.add(turn)
        if row.due_at or row.name:
            self._schedule(turn)
            return
        self._manager.enqueue(turn)
        if one_way:
            if activation.slow:
                turn.store_now()
            else:
                activation.unstored = True

    async def listen(self, message_id: int, listener: Listener) -> None:
        """Tells the listener how the message of this id ends, or ended.

        Raises MessageNotFound, EntityNotAssignedToRunner where it is stored for another owner, and MalformedMessage
        for one that this version does not know.
        """
        while (turn := self._inflight.get(message_id)) is None:
            with self._inflight.looking() as passed:
                # In this order: what is not stored any more when it is looked for has left its outcome before.
                stored = await self._reader.by_id(message_id)
                done = None if stored is not None else await self._reader.done(message_id)
            if passed.has(message_id):
                continue
            if stored is None:
                listener.done(*self._told(message_id, done))
            elif stored.shard not in self._manager.shards:
                raise (self._manager.closed or MOVED).unknown()
            else:
                self._await(stored, listener)
            return
        turn.listeners.append(listener)

    def _told(self, message_id: int, done: DoneRow | None) -> tuple[Ending, Any]:
        if done is None:
            raise MessageNotFound(f"no message {message_id}: it never was, or its retention has passed")
        handler = self._manager.hosted_type(done.entity_type).handlers.get(done.method)
        if handler is None:
            raise MalformedMessage(f"{done.entity_type}.{done.method} is no message here", executed="yes")
        return outcome_of(handler, done)

    def _await(self, stored: MessageRow, listener: Listener) -> None:
        """The listener hears of it once it is held, which it may be by now."""
        turn = self._inflight.get(stored.id)
        if turn is not None:
            turn.listeners.append(listener)
        else:
            self._inflight.await_message(stored.id, stored.shard, listener)

    async def shard_of(self, message_id: int) -> int | None:
        """Where a stored message belongs; None where it is stored no more."""
        stored = await self._reader.by_id(message_id)
        return None if stored is None else stored.shard

    async def has_timer(self, address: Address, name: str) -> bool:
        """Whether a timer of this name is stored, whoever owns it."""
        return await self._reader.timer(address, name) is not None

    def forget(self, message_id: int, listener: Listener) -> None:
        """Nobody waits behind this listener any more."""
        self._inflight.forget(message_id, listener)

    async def cancel_timer(self, address: Address, name: str, caller: HandlerTurn | None) -> bool:
        """Deletes the pending timer; inside a handler, with the handler's commit."""
        if caller is not None:
            await part_from_runs(caller, address, self._manager)
        unstaged = caller is not None and unstage(caller, address, name)
        while True:
            with self._inflight.looking() as passed:
                row = await self._reader.timer(address, name)
            if row is None or not passed.like(row):
                break
        if row is None or self._is_past(row, caller):
            return unstaged
        cancel = TimerCancel(address.entity_type, address.entity_id, name)
        if caller is not None:
            caller.stage(cancel)
            caller.after_commit(lambda: self._delivery.forget_timer(row.id))
            return True
        await self._committer.written(self._manager.shard_of(address), [cancel])
        self._delivery.forget_timer(row.id)
        return row.every_us > 0 or await self._reader.done(row.id) is None  # it may have run in an earlier commit

    def _is_past(self, row: MessageRow, caller: HandlerTurn | None) -> bool:
        """Whether the timer has been handled, in a turn before this one whose commit the store has not seen yet."""
        turn = self._inflight.get(row.id)
        return turn is not None and turn is not caller and turn.started_at > 0 and not (turn.due_at or row.every_us)

    async def _known(self, row: MessageRow, listener: Listener, passed: Passed, *, retry: bool) -> Admitted | None:
        """The earlier message of the same id or key, where there is one, unless it has passed meanwhile."""
        turn = self._inflight.like(row)
        if turn is not None:
            return self._attach(turn, row, listener)
        if not retry and row.key is None:
            return None
        done = await self._reader.done(row.id) if retry else None
        if done is None and row.key is not None:
            done = await self._reader.done_by_key(row.address, row.method, row.key)
        if done is not None:
            return self._repeat_outcome(done, row, listener)
        return await self._known_stored(row, listener, passed, retry=retry)

    async def _known_stored(
        self, row: MessageRow, listener: Listener, passed: Passed, *, retry: bool
    ) -> Admitted | None:
        shards = self._manager.shards
        moment = shards.moment
        stored = await self._reader.by_id(row.id) if retry else None
        if stored is None and row.key is not None:
            stored = await self._reader.by_key(row.address, row.method, row.key)
        if stored is None:
            return None
        if not shards.held_since(stored.shard, moment):
            raise self._manager.not_here()
        _refuse_conflict(stored, row)
        turn = self._inflight.get(stored.id)
        if turn is None and not stored.due_at:
            if self._catching_up.behind:  # what is stored before it comes before it
                await self._catching_up.first(self._manager.activation(row.address))
            if passed.like(row):
                return None
            self._delivery.deliver_stored([stored], moment)
            turn = self._inflight.get(stored.id)
        if turn is not None:
            return self._attach(turn, row, listener)
        if not stored.due_at:
            raise AlreadyProcessingMessage(f"message {stored.id} is stored and waits for its turn")
        self._manager.hosted_type(row.entity_type).duplicates.inc()
        self._await(stored, listener)
        listener.stored()
        return Admitted(True, None, stored.id)

    def _attach(self, turn: DurableTurn, row: MessageRow, listener: Listener) -> Admitted:
        _refuse_conflict(turn.row, row)
        turn.activation.hosted.duplicates.inc()
        turn.listeners.append(listener)
        if turn.stored:
            listener.stored()
        return Admitted(True, turn, turn.row.id)

    def _repeat_outcome(self, done: DoneRow, row: MessageRow, listener: Listener) -> Admitted:
        _refuse_conflict(done, row)
        hosted = self._manager.hosted_type(row.entity_type)
        hosted.duplicates.inc()
        ending, outcome = outcome_of(hosted.handlers[row.method], done)
        listener.done(ending, outcome)
        return Admitted(True, None, done.id)

    def _schedule(self, turn: DurableTurn) -> None:
        """A message for later, or a timer: stored now, in memory only if it is due soon."""
        row = turn.row
        rows: list[Row] = [TimerCancel(row.entity_type, row.entity_id, row.name)] if row.name else []

        def stored() -> None:
            turn.stored_now()
            self._inflight.remove(turn)
            self._delivery.deliver_later(row)

        def failed(error: BaseException) -> None:
            self._delivery.refuse(turn, surely_not_written(error))

        self._committer.write(row.shard, [*rows, row], len(row.payload), stored, failed)


def _refuse_conflict(earlier: MessageRow | DoneRow, row: MessageRow) -> None:
    if earlier.payload_hash != row.payload_hash:
        raise KeyConflict(f"the key {row.key!r} of {row.method} on {row.address} was used with another payload")
