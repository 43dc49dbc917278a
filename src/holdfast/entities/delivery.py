"""Durable messages in the hands of their owner: handing out, trying again, giving up.

Messages come from senders (through `admission`: not stored yet) and from the store (`deliver_stored`: the outbox of
another entity, the inbox, timers, what an earlier incarnation left). A full mailbox refuses the former; the latter stay
in the store, the entity is marked as overflowing and takes them once its mailbox is empty.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from holdfast.errors import (
    Conflict,
    EntityNotAssignedToRunner,
    HoldfastError,
    MalformedMessage,
    MessageError,
    PersistenceError,
)
from holdfast.kit.tasks import TaskOwner
from holdfast.model.ids import SECOND_US
from holdfast.model.message import Consume, MessageRow

from .catching_up import CatchingUp
from .due import DueQueue
from .durable import DurableRules, DurableTurn, Sender
from .handler import Handler
from .inflight import Inflight
from .insisting import until_answered
from .manager import EntityManager
from .outcomes import outcome_of
from .parting import STOPPED, Parting
from .surroundings import Surroundings
from .suspects import Suspects
from .turns import Activation, Ending
from .units import Committer, RowsItem, surely_not_written

logger = logging.getLogger("holdfast.entities")

RETRY_UNWRITTEN_S = 0.2


class Delivery:
    """Hands durable messages to their handlers until each has an outcome."""

    def __init__(
        self, around: Surroundings, *, manager: EntityManager, inflight: Inflight, committer: Committer
    ) -> None:
        self._manager = manager
        self._shards = manager.shards
        self._committer = committer
        self._reader = around.reader
        self._ids = around.ids
        self._clock = around.clock
        self._settings = around.settings
        self._loop = around.loop
        self._inflight = inflight
        self.rules = DurableRules(around, deliveries=self)
        self._tasks = TaskOwner("holdfast-delivery")
        self._parked: set[str] = set()
        self._suspects = Suspects(
            around, committer=committer, tasks=self._tasks, start=manager.resume, hold_back=manager.hold
        )
        self._unsure: dict[asyncio.Task[None], int] = {}
        """Who finds out what an unknown commit has written, and for which shard."""
        self.crowded: Callable[[], None] = _nothing
        self.due = DueQueue(
            around,
            shards=manager.shards,
            inflight=inflight,
            deliver=self.deliver_stored,
            crowd=lambda: self.crowded(),
        )
        self.catching_up = CatchingUp(around, manager=manager, inflight=inflight, delivery=self)

    def turn(
        self, activation: Activation, handler: Handler, row: MessageRow, *, stored: bool, next_id: int = 0
    ) -> DurableTurn:
        """A message to be handed out; `next_id` is for the next occurrence of a repeating timer."""
        return DurableTurn(activation, handler, row, self.rules, stored=stored, next_id=next_id)

    def deliver_stored(self, rows: Iterable[MessageRow], moment: int | None = None) -> None:
        """Stored messages whose time has come; those in memory already are passed over.

        `moment`: when they were read, where that was not just now. If their shard has left since they are passed over.
        """
        since = self._shards.moment if moment is None else moment
        for row in rows:
            self.due.remove(row.id)
            if row.id not in self._inflight and self._shards.held_since(row.shard, since):
                self._deliver_one(row)

    def deliver_later(self, row: MessageRow) -> None:
        """A row that has just been committed: at once, or at its time; a timer takes the place of the last one."""
        if row.shard not in self._shards:
            return
        if row.name is not None:
            self._replace_timer(row)
        if row.due_at > self._clock.now_us():
            self.due.add(row)
        else:
            self.deliver_stored([row])

    @property
    def busy(self) -> bool:
        """Whether rows are being read that will be delivered at once."""
        return len(self._tasks) > 0 or self.catching_up.busy

    def overdue(self, now_us: int) -> bool:
        """Whether a message's time has come that has not been handed out."""
        next_at = self.due.next_at
        return (next_at is not None and next_at <= now_us) or any(0 < turn.due_at <= now_us for turn in self._inflight)

    async def stop(self) -> None:
        """What is stored stays there; whoever waits here is told."""
        await self.due.stop()
        await self.catching_up.stop()
        await self._tasks.stop()
        self._inflight.hang_up((self._manager.closed or STOPPED).unknown())

    # Shards that leave.

    def part_with_waiting(self, turn: DurableTurn, parting: Parting) -> None:
        """A message in a mailbox whose entity leaves. Where its row is just being written, `part_with` comes later."""
        if turn.take_back():
            self.refuse(turn, parting.refused())
        elif turn.stored:
            self.refuse(turn, parting.unknown())

    def part_with(self, shards: Collection[int], parting: Parting) -> None:
        """Forgets all there is of these shards, once nothing of theirs is being written any more."""
        self.due.forget(shards)
        self.catching_up.ended(shards)
        turns = [turn for turn in self._inflight if turn.row.shard in shards]
        for turn in turns:
            turn.abandoned = True
        for turn in turns:
            self.refuse(turn, parting.unknown())
        self._inflight.hang_up_on(shards, parting.unknown())

    async def made_sure(self, shards: Collection[int]) -> None:
        """Returns once it is known what commits of unknown outcome have written for these shards."""
        asking = [task for task, shard in self._unsure.items() if shard in shards]
        if asking:
            await asyncio.wait(asking)

    # What turns report (durable.Deliveries).

    def store(self, turn: DurableTurn) -> RowsItem:
        return self._committer.write(
            turn.row.shard,
            [turn.row],
            len(turn.row.payload),
            turn.stored_now,
            lambda error: self._not_stored(turn, surely_not_written(error)),
        )

    def _not_stored(self, turn: DurableTurn, error: PersistenceError) -> None:
        if error.executed == "unknown" and self._manager.closed is None:
            task = self._tasks.start(self._look_up(turn, error), name=f"look up {turn.row.id}")
            self._unsure[task] = turn.row.shard
            task.add_done_callback(self._unsure.pop)
        else:
            self.refuse(turn, error)

    async def _look_up(self, turn: DurableTurn, error: PersistenceError) -> None:
        """Whether the message is stored, which the store could not say when it was written."""
        if await until_answered(lambda: self._reader.by_id(turn.row.id)) is None:
            self.refuse(turn, error)
        elif await until_answered(lambda: self._reader.done(turn.row.id)) is not None:
            # It has ended meanwhile, taking itself for not stored.
            await until_answered(lambda: self._take_away(turn.row))
        else:
            turn.stored_now()

    async def _take_away(self, row: MessageRow) -> None:
        with suppress(Conflict):  # an earlier try has done it
            await self._committer.written(row.shard, [Consume(row.id)])

    def hold(self, turn: DurableTurn) -> None:
        self._manager.hold(turn)

    def concluded(self, turn: DurableTurn) -> None:
        if turn.due_at:
            turn.stored_now()
            if turn.blocked:
                turn.activation.store_waiting()
            self._again(turn)
            self._suspects.ended(turn)
        elif turn.put_off or (turn.ending is Ending.FAILURE and not isinstance(turn.outcome, Exception)):
            self._put_off(turn)
        else:
            self.finished(turn)

    def finished(self, turn: DurableTurn) -> None:
        if turn.ending is Ending.FAILURE and isinstance(turn.outcome, Exception):
            turn.activation.hosted.died("crashes" if turn.row.crashes >= self._settings.crashes_max else "MaxRetries")
        self._tell(turn)
        if turn.next_row is not None:
            self.deliver_later(turn.next_row)

    def _tell(self, turn: DurableTurn) -> None:
        """Its outcome is on disk."""
        self._dismiss(turn)
        listeners, turn.listeners = turn.listeners, []
        for listener in listeners:
            listener.done(turn.ending, turn.outcome)

    def not_written(self, turn: DurableTurn, error: BaseException) -> None:
        unsure = isinstance(error, PersistenceError) and error.executed == "unknown"
        away = self._manager.closed is not None or turn.row.shard not in self._shards
        if turn.stored and away:
            self._put_off(turn)
        elif (turn.stored or unsure) and not away:
            if turn.keeps_place:
                self.hold(turn)
            self._tasks.start(self._check_again(turn, error), name=f"check {turn.row.id}")
        else:
            self.refuse(turn, surely_not_written(error))

    # Handing out.

    def _deliver_one(self, row: MessageRow) -> None:
        hosted = self._manager.hosted.get(row.entity_type)
        handler = hosted.handlers.get(row.method) if hosted is not None else None
        if handler is None or not handler.durable:
            self._park(row)
            return
        try:
            activation = self._manager.activation_of_stored(row.address, row.shard)
        except MessageError:
            return
        if activation.overflow or activation.queued >= activation.hosted.mailbox:
            activation.overflow += 1
            return
        if row.every_us:
            self._tasks.start(self._deliver_timer(activation, handler, row), name=f"timer {row.id}")
            return
        self._start_stored(self.turn(activation, handler, row, stored=True))

    async def _deliver_timer(self, activation: Activation, handler: Handler, row: MessageRow) -> None:
        moment = self._shards.moment
        turn = self.turn(activation, handler, row, stored=True, next_id=await until_answered(self._ids.take))
        if row.id not in self._inflight and self._shards.held_since(row.shard, moment):
            turn.activation = self._manager.activation_of_stored(row.address, row.shard)
            self._start_stored(turn)

    def _start_stored(self, turn: DurableTurn) -> None:
        self._inflight.add(turn)
        if turn.row.crashes >= self._settings.crashes_max:
            turn.die(f"{turn.row.method} was running in {turn.row.crashes} deaths of its runner")
            self._committer.join(turn)
            return
        try:
            turn.arguments = turn.handler.signature.decode(turn.row.payload)
        except MalformedMessage as error:
            turn.die(str(error))
            self._committer.join(turn)
            return
        if turn.row.crashes:
            self._suspects.enter(turn)
        else:
            self._manager.enqueue(turn)

    def _park(self, row: MessageRow) -> None:
        """A rolling upgrade may bring messages this version does not know: they stay stored and cost no try."""
        name = f"{row.entity_type}.{row.method}"
        if name not in self._parked:
            self._parked.add(name)
            logger.warning("%s is not a durable message here; its messages stay stored", name)

    # After a try.

    def _again(self, turn: DurableTurn) -> None:
        """The message failed and will be tried again."""
        delay_s = max(0.0, (turn.due_at - self._clock.now_us()) / SECOND_US)
        self._loop.call_later(delay_s, self._retry, turn)

    def _retry(self, turn: DurableTurn) -> None:
        if self._inflight.get(turn.row.id) is not turn:
            return
        try:
            activation = self._manager.activation_of_stored(turn.row.address, turn.row.shard)
        except HoldfastError:
            return
        turn.renew(activation)
        turn.due_at = 0
        if turn.blocked:
            self._manager.resume(turn)
        else:  # it has stepped aside, and comes in anew
            self._manager.enqueue(turn)

    async def _check_again(self, turn: DurableTurn, error: BaseException) -> None:
        """A stored message whose commit failed: that try has failed, unless the store says something else."""
        await asyncio.sleep(RETRY_UNWRITTEN_S)
        done = await until_answered(lambda: self._reader.done(turn.row.id))
        stored = await until_answered(lambda: self._reader.by_id(turn.row.id))
        if self._inflight.get(turn.row.id) is not turn:  # its end has been learnt otherwise, or it has left
            self._dismiss(turn)
        elif done is not None:
            turn.ending, turn.outcome = outcome_of(turn.handler, done)
            here = done.finished_by == self.rules.incarnation
            self.finished(turn) if here else self._tell(turn)
        elif stored is None and turn.stored:  # a cancelled timer
            self._dismiss(turn)
        elif stored is None:
            self.refuse(turn, surely_not_written(error))
        elif stored.deliveries > turn.row.deliveries or not turn.stored:  # what the last try wrote is there
            turn.row = stored
            turn.stored_now()
            self._retry(turn)
        else:
            turn.activation = self._manager.activation_of_stored(turn.row.address, turn.row.shard)
            turn.fail(error)
            self._committer.join(turn)

    def _put_off(self, turn: DurableTurn) -> None:
        """Cancelled by a drain, or its entity is suspended: a stored message stays for the next owner."""
        if not turn.stored:
            self.refuse(turn, turn.outcome if isinstance(turn.outcome, HoldfastError) else self._manager.not_here())
            return
        self._dismiss(turn)
        for listener in turn.listeners:
            self._inflight.await_message(turn.row.id, turn.row.shard, listener)

    def refuse(self, turn: DurableTurn, error: HoldfastError) -> None:
        """Nothing more will be written of the message here.

        Its sender may send it again, knowingly or because the answer is lost on the way: what the same connection
        brought behind it goes back too, or it would be handled first. From the last one to the front, as far as
        nothing is stored: what may be stored stays, and so does what is in front of that.
        """
        turn.abandoned = True
        for behind in reversed(self._behind(turn)):
            if behind.blocked or behind.started_at or not behind.take_back():
                break
            self._give_back(behind, EntityNotAssignedToRunner("a message of its sender before it was refused here"))
        self._give_back(turn, error)

    def _behind(self, turn: DurableTurn) -> list[DurableTurn]:
        """What came over the same connection later, for the same entity, and waits.

        A connection that is gone may have been the same sender's.
        """
        line = turn.activation
        if not turn.senders or line.leaving:  # all that waits there goes back by itself
            return []
        later = [other for other in (*(line.waiting or ()), *(line.held or ())) if isinstance(other, DurableTurn)]
        return sorted(
            (one for one in later if one.number > turn.number and not one.abandoned and _may_share(one, turn.senders)),
            key=lambda one: one.number,
        )

    def _give_back(self, turn: DurableTurn, error: HoldfastError) -> None:
        turn.abandoned = True
        self._dismiss(turn)
        listeners, turn.listeners = turn.listeners, []
        for listener in listeners:
            listener.refused(error)

    def _dismiss(self, turn: DurableTurn) -> None:
        self._inflight.remove(turn)
        if turn.blocked:
            self._manager.withdraw(turn)
        self._suspects.ended(turn)

    def forget_timer(self, message_id: int) -> None:
        """The timer is no longer stored; one that has started already is past cancelling."""
        self.due.remove(message_id)
        self._inflight.passes(message_id)
        turn = self._inflight.get(message_id)
        if turn is not None and (turn.due_at or not turn.started_at):
            turn.abandoned = True
            self._dismiss(turn)

    def _replace_timer(self, row: MessageRow) -> None:
        for earlier in (self.due.named(row), self._inflight.named(row)):
            if earlier is not None and earlier != row.id:
                self.forget_timer(earlier)


def _may_share(turn: DurableTurn, senders: Sequence[Sender]) -> bool:
    return any(sender.lost or sender in senders for sender in turn.senders)


def _nothing() -> None:
    pass
