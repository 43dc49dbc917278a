"""Durable messages at their owner: admission, duplicates, retries, timers, dead letters, and what waits in the store.

Every durable message that this owner holds in memory is in `_inflight`, from its admission until its outcome is
known. Messages come from senders (`accept`: not stored yet) and from the store (`deliver_stored`: the outbox of another
entity, the inbox, timers, what an earlier incarnation left). A full mailbox refuses the former; the latter stay in the
store, the entity is marked as overflowing and takes them once its mailbox is empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from holdfast.errors import (
    AlreadyProcessingMessage,
    HoldfastError,
    KeyConflict,
    MalformedMessage,
    MessageNotFound,
    PersistenceError,
    RunnerUnavailable,
)
from holdfast.kit.clock import Clock
from holdfast.kit.ids import IdPool
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.model.message import DoneRow, MessageRow, TimerCancel
from holdfast.model.unit import Row
from holdfast.ports.reads import MessageReader
from holdfast.settings import EntitySettings

from .due import DueQueue
from .durable import DurableRules, DurableTurn, Listener, outcome_of
from .handler import Handler
from .manager import EntityManager
from .turns import Activation, Ending, HandlerTurn
from .units import Committer, RowsItem, surely_not_written

logger = logging.getLogger("holdfast.entities")

KeyOf = tuple[Address, str, str]
RETRY_UNWRITTEN_S = 0.2


class Delivery:
    """Hands durable messages to their handlers until each has an outcome."""

    def __init__(
        self,
        *,
        manager: EntityManager,
        committer: Committer,
        reader: MessageReader,
        ids: IdPool,
        clock: Clock,
        settings: EntitySettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._manager = manager
        self._committer = committer
        self._reader = reader
        self._ids = ids
        self._clock = clock
        self._settings = settings
        self._loop = loop
        self._rules: DurableRules
        self._inflight: dict[int, DurableTurn] = {}
        self._keys: dict[KeyOf, DurableTurn] = {}
        self._tasks = TaskOwner("holdfast-delivery")
        self._awaiting: dict[int, list[Listener]] = {}
        self._parked: set[str] = set()
        self._suspects: deque[DurableTurn] = deque()
        self._suspect: DurableTurn | None = None
        self.due = DueQueue(
            upcoming=lambda after, limit: reader.upcoming(due_after=after, limit=limit),
            deliver=self.deliver_stored,
            clock=clock,
            loop=loop,
            rows_max=settings.page_rows,
        )

    def govern(self, rules: DurableRules) -> None:
        """The rules of retries; they name this object as who keeps messages between tries."""
        self._rules = rules

    @property
    def inflight(self) -> int:
        return len(self._inflight)

    async def accept(
        self, row: MessageRow, handler: Handler, listener: Listener, *, retry: bool, one_way: bool
    ) -> tuple[bool, DurableTurn | None]:
        """A message from its sender, not stored yet.

        Returns whether it is a duplicate, and the turn that `listener` now waits for (None where the listener has
        heard all already). Raises KeyConflict, MailboxFull, MalformedMessage, RunnerUnavailable; nothing was written.
        """
        known = await self._known(row, listener, retry=retry)
        if known is not None:
            return known
        activation = self._manager.activation(row.address)
        self._manager.refuse_overload(activation)
        turn = await self._turn(activation, handler, row, stored=False)
        turn.arguments = handler.signature.decode(row.payload)
        turn.listeners.append(listener)
        self._register(turn)
        if row.due_at or row.name:
            self._schedule(turn)
        else:
            self._hand_out(turn)
            if one_way and turn.activation.suspended and not turn.started_at:
                turn.store_now()
        return False, turn

    async def listen(self, message_id: int, listener: Listener) -> None:
        """Tells the listener how the message of this id ends, or ended. Raises MessageNotFound."""
        turn = self._inflight.get(message_id)
        if turn is not None:
            turn.listeners.append(listener)
            return
        done = await self._reader.done(message_id)
        if done is not None:
            handler = self._manager.hosted_type(done.entity_type).handlers[done.method]
            listener.done(*outcome_of(handler, done))
        elif await self._reader.by_id(message_id) is not None:
            self._awaiting.setdefault(message_id, []).append(listener)
        else:
            raise MessageNotFound(f"no message {message_id}: it never was, or its retention has passed")

    def unlisten(self, message_id: int, listener: Listener) -> None:
        """The opposite of `listen`."""
        turn = self._inflight.get(message_id)
        if turn is not None:
            self.forget(turn, listener)
        waiting = self._awaiting.get(message_id, [])
        if listener in waiting:
            waiting.remove(listener)
            if not waiting:
                del self._awaiting[message_id]

    def forget(self, turn: DurableTurn, listener: Listener) -> None:
        """Nobody waits behind this listener any more."""
        if listener in turn.listeners:
            turn.listeners.remove(listener)

    def deliver_stored(self, rows: Iterable[MessageRow]) -> None:
        """Stored messages whose time has come; those in memory already are passed over."""
        for row in rows:
            if row.id not in self._inflight:
                self._deliver_one(row)

    def deliver_later(self, row: MessageRow) -> None:
        """A row that has just been committed: at once, or at its time."""
        if row.due_at > self._clock.now_us():
            self.due.add(row)
        else:
            self.deliver_stored([row])

    async def refill(self, activation: Activation) -> None:
        """Takes the next stored messages of an entity whose mailbox has run empty."""
        now = self._clock.now_us()
        rows = await self._reader.pending_of(
            activation.address, after=0, limit=activation.hosted.mailbox, due_before=now
        )
        activation.overflow = len(rows) == activation.hosted.mailbox
        self.deliver_stored(rows)

    def refill_soon(self, activation: Activation) -> None:
        activation.overflow = False
        self._tasks.start(self.refill(activation), name=f"refill {activation.address}")

    async def cancel_timer(self, address: Address, name: str, caller: HandlerTurn | None) -> bool:
        """Deletes the pending timer; inside a handler, with the handler's commit."""
        row = await self._reader.timer(address, name)
        if row is None:
            return False
        cancel = TimerCancel(address.entity_type, address.entity_id, name)
        if caller is not None:
            caller.stage(cancel)
            caller.after_commit(lambda: self._forget_timer(row.id))
            return True
        await self.write([cancel], 0)
        self._forget_timer(row.id)
        return True

    async def write(self, rows: list[Row], size_bytes: int) -> None:
        """Commits rows of their own. Raises PersistenceError."""
        known: asyncio.Future[None] = self._loop.create_future()
        self._committer.write(
            rows, size_bytes, lambda: _resolve(known), lambda error: _reject(known, surely_not_written(error))
        )
        await known

    async def stop(self) -> None:
        await self.due.stop()
        await self._tasks.stop()

    def refuse_unstored(self) -> None:
        """At the end of a drain: what is not on disk was never accepted."""
        for turn in [turn for turn in self._inflight.values() if not turn.stored]:
            self._refused(turn, RunnerUnavailable("this runner is stopping"))

    # What turns report (durable.Deliveries).

    def store(self, turn: DurableTurn) -> RowsItem:
        return self._committer.write(
            [turn.row],
            len(turn.row.payload),
            turn.stored_now,
            lambda error: self._refused(turn, surely_not_written(error)),
        )

    def concluded(self, turn: DurableTurn) -> None:
        if turn.due_at:
            turn.stored_now()
            self._again(turn)
        elif turn.ending is Ending.FAILURE and not isinstance(turn.outcome, Exception):
            self._interrupted(turn)
        else:
            self._finished(turn)

    def not_written(self, turn: DurableTurn, error: BaseException) -> None:
        if turn.stored:
            self._tasks.start(self._check_again(turn), name=f"check {turn.row.id}")
        else:
            self._refused(turn, surely_not_written(error))

    # Admission.

    async def _known(
        self, row: MessageRow, listener: Listener, *, retry: bool
    ) -> tuple[bool, DurableTurn | None] | None:
        """The earlier message of the same id or key, where there is one."""
        turn = self._inflight.get(row.id)
        if turn is None and row.key is not None:
            turn = self._keys.get((row.address, row.method, row.key))
        if turn is not None:
            return self._attach(turn, row, listener)
        if not retry and row.key is None:
            return None
        done = await self._reader.done(row.id) if retry else None
        if done is None and row.key is not None:
            done = await self._reader.done_by_key(row.address, row.method, row.key)
        if done is not None:
            return self._replay_outcome(done, row, listener)
        return await self._known_stored(row, listener, retry=retry)

    async def _known_stored(
        self, row: MessageRow, listener: Listener, *, retry: bool
    ) -> tuple[bool, DurableTurn | None] | None:
        stored = await self._reader.by_id(row.id) if retry else None
        if stored is None and row.key is not None:
            stored = await self._reader.by_key(row.address, row.method, row.key)
        if stored is None:
            return None
        if stored.id not in self._inflight:
            self._deliver_one(stored)
        turn = self._inflight.get(stored.id)
        if turn is None:
            raise AlreadyProcessingMessage(f"message {stored.id} is stored and waits for its turn")
        return self._attach(turn, row, listener)

    def _attach(self, turn: DurableTurn, row: MessageRow, listener: Listener) -> tuple[bool, DurableTurn | None]:
        self._refuse_conflict(turn.row, row)
        turn.activation.hosted.duplicates.inc()
        turn.listeners.append(listener)
        if turn.stored:
            listener.stored()
        return True, turn

    def _replay_outcome(self, done: DoneRow, row: MessageRow, listener: Listener) -> tuple[bool, DurableTurn | None]:
        self._refuse_conflict(done, row)
        hosted = self._manager.hosted_type(row.entity_type)
        hosted.duplicates.inc()
        ending, outcome = outcome_of(hosted.handlers[row.method], done)
        listener.stored()
        listener.done(ending, outcome)
        return True, None

    @staticmethod
    def _refuse_conflict(earlier: MessageRow | DoneRow, row: MessageRow) -> None:
        if earlier.payload_hash != row.payload_hash:
            raise KeyConflict(f"the key {row.key!r} of {row.method} on {row.address} was used with another payload")

    async def _turn(self, activation: Activation, handler: Handler, row: MessageRow, *, stored: bool) -> DurableTurn:
        next_id = await self._ids.take() if row.every_us else 0
        return DurableTurn(activation, handler, row, self._rules, stored=stored, next_id=next_id)

    def _register(self, turn: DurableTurn) -> None:
        row = turn.row
        self._inflight[row.id] = turn
        turn.listeners += self._awaiting.pop(row.id, ())
        if row.key is not None:
            self._keys[row.address, row.method, row.key] = turn

    def _schedule(self, turn: DurableTurn) -> None:
        """A message for later, or a timer: stored now, in memory only if it is due soon."""
        row = turn.row
        rows: list[Row] = [TimerCancel(row.entity_type, row.entity_id, row.name)] if row.name else []

        def stored() -> None:
            turn.stored_now()
            self._dismiss(turn)
            self.deliver_later(row)

        self._committer.write(
            [*rows, row], len(row.payload), stored, lambda error: self._refused(turn, surely_not_written(error))
        )

    # Handing out.

    def _deliver_one(self, row: MessageRow) -> None:
        hosted = self._manager.hosted.get(row.entity_type)
        handler = hosted.handlers.get(row.method) if hosted is not None else None
        if handler is None or not handler.durable:
            self._park(row)
            return
        try:
            activation = self._manager.activation(row.address)
            if activation.queued >= activation.hosted.mailbox:
                activation.overflow = True
                return
        except RunnerUnavailable:
            return
        if row.every_us:
            self._tasks.start(self._deliver_timer(activation, handler, row), name=f"timer {row.id}")
            return
        self._start_stored(DurableTurn(activation, handler, row, self._rules, stored=True))

    async def _deliver_timer(self, activation: Activation, handler: Handler, row: MessageRow) -> None:
        turn = await self._turn(activation, handler, row, stored=True)
        if row.id not in self._inflight:
            turn.activation = self._manager.activation(row.address)
            self._start_stored(turn)

    def _start_stored(self, turn: DurableTurn) -> None:
        self._register(turn)
        if turn.row.crashes > self._settings.crashes_max:
            turn.die(f"{turn.row.method} was running in {turn.row.crashes} deaths of its runner")
            self._committer.join(turn)
        elif turn.row.crashes:
            self._suspects.append(turn)
            self._try_suspect()
        else:
            self._hand_out(turn)

    def _try_suspect(self) -> None:
        """One message that was near a crash runs at a time, so that only the guilty one is counted again."""
        if self._suspect is None and self._suspects:
            self._suspect = self._suspects.popleft()
            self._hand_out(self._suspect)

    def _hand_out(self, turn: DurableTurn) -> None:
        activation = turn.activation
        if activation.held and turn.handler.options.on_retry == "wait":
            activation.held.append(turn)
        else:
            self._start(turn)

    def _start(self, turn: DurableTurn) -> None:
        if not turn.arguments and turn.handler.signature.parameters:
            try:
                turn.arguments = turn.handler.signature.decode(turn.row.payload)
            except MalformedMessage as error:
                turn.die(str(error))
                self._committer.join(turn)
                return
        self._manager.enqueue(turn)

    def _park(self, row: MessageRow) -> None:
        """A rolling upgrade may bring messages this version does not know: they stay stored and cost no try."""
        name = f"{row.entity_type}.{row.method}"
        if name not in self._parked:
            self._parked.add(name)
            logger.warning("%s is not a durable message here; its messages stay stored", name)

    # After a try.

    def _again(self, turn: DurableTurn) -> None:
        """The message failed and will be tried again; in place, unless its handler lets it step aside."""
        activation = turn.activation
        if turn.handler.options.on_retry == "wait":
            held = activation.held = activation.held or deque()
            held.appendleft(turn)
            for waiting in [w for w in activation.waiting or () if isinstance(w, DurableTurn)]:
                if activation.waiting is not None:
                    activation.waiting.remove(waiting)
                held.append(waiting)
        delay_s = max(0.0, (turn.due_at - self._clock.now_us()) / 1e6)
        self._loop.call_later(delay_s, self._retry, turn)

    def _retry(self, turn: DurableTurn) -> None:
        if self._inflight.get(turn.row.id) is not turn or self._manager.draining:
            return
        old = turn.activation
        try:
            activation = self._manager.activation(turn.row.address)
        except HoldfastError:
            return
        turn.renew(activation)
        turn.due_at = 0
        self._start(turn)
        held, old.held = old.held, None
        for waiting in held or ():
            if waiting is not turn and isinstance(waiting, DurableTurn):
                waiting.activation = activation
                self._start(waiting)

    async def _check_again(self, turn: DurableTurn) -> None:
        """A stored message whose commit failed: tried again, unless it is gone (a cancelled timer, another owner)."""
        await asyncio.sleep(RETRY_UNWRITTEN_S)
        if await self._reader.by_id(turn.row.id) is None:
            self._dismiss(turn)
            return
        self._retry(turn)

    def _interrupted(self, turn: DurableTurn) -> None:
        """Cancelled by a drain: a stored message stays for the next owner."""
        if turn.stored:
            self._dismiss(turn)
        else:
            self._refused(turn, RunnerUnavailable("this runner is stopping"))

    def _refused(self, turn: DurableTurn, error: PersistenceError | RunnerUnavailable) -> None:
        self._dismiss(turn)
        turn.abandoned = True
        for listener in turn.listeners:
            listener.refused(error)

    def _finished(self, turn: DurableTurn) -> None:
        self._dismiss(turn)
        if isinstance(turn.outcome, Exception) and turn.ending is Ending.FAILURE:
            turn.activation.hosted.died("crashes" if turn.row.crashes > self._settings.crashes_max else "MaxRetries")
        for listener in turn.listeners:
            listener.stored()
            listener.done(turn.ending, turn.outcome)
        if turn.next_row is not None:
            self.deliver_later(turn.next_row)

    def _dismiss(self, turn: DurableTurn) -> None:
        row = turn.row
        if self._inflight.get(row.id) is turn:
            del self._inflight[row.id]
        if turn is self._suspect:
            self._suspect = None
            self._try_suspect()
        if row.key is not None and self._keys.get((row.address, row.method, row.key)) is turn:
            del self._keys[row.address, row.method, row.key]

    def _forget_timer(self, message_id: int) -> None:
        self.due.remove(message_id)
        turn = self._inflight.get(message_id)
        if turn is not None and not turn.started_at:
            turn.abandoned = True
            self._dismiss(turn)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _reject(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
