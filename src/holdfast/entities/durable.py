"""Durable messages: what their end writes, and how often they are tried.

The quick way: a message whose handler ends without suspending is stored and consumed by one commit, which writes its
done row and no message row. Only what is not over at once gets a message row: a handler that suspends (stored at its
first suspension), one that raised and will be tried again, a message with a later time. What a sender was told is on
disk first, always: a `send` is acknowledged by the commit that stores the message or its outcome.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, Protocol

from holdfast.errors import (
    EntityNotAssignedToRunner,
    MessageDead,
    RunnerNotRegistered,
    RunnerUnavailable,
    Suspended,
)
from holdfast.kit.backoff import Backoff
from holdfast.model.ids import micros
from holdfast.model.message import (
    Consume,
    MessageRetry,
    MessageRow,
    OutcomeKind,
    TimerCancel,
)
from holdfast.model.unit import Row
from holdfast.ports.turn import Turn

from .declared import encode_declared
from .handler import Handler
from .outcomes import dead_row, describe, done_row
from .surroundings import Surroundings
from .turns import Activation, Ending, HandlerTurn
from .units import RowsItem

PASSING = (RunnerUnavailable, RunnerNotRegistered, EntityNotAssignedToRunner, Suspended)
"""Reasons not to run a handler that pass by themselves, here or elsewhere: they cost no try."""


class Sender(Protocol):
    """A connection that brings durable messages."""

    lost: bool
    """Whether it is gone: what it brought may come again over another one."""


class Listener(Protocol):
    """Who waits for a durable message; each method is called at most once."""

    def stored(self) -> None:
        """The message is on disk, or its outcome is."""
        ...

    def refused(self, error: BaseException) -> None:
        """The message was not accepted; nothing of it was written."""
        ...

    def done(self, ending: Ending, outcome: Any) -> None:
        """Its outcome, which is on disk, whether `stored` was told or not: the value, the declared error, or why it
        is dead."""
        ...


class Deliveries(Protocol):
    """Who keeps durable messages in memory between their tries."""

    def store(self, turn: DurableTurn) -> RowsItem:
        """Writes the message's row now, because its handler takes its time."""
        ...

    def hold(self, turn: DurableTurn) -> None:
        """The message will be tried again in its place: durable ones behind it wait from now on."""
        ...

    def concluded(self, turn: DurableTurn) -> None:
        """The commit of the turn's end is known to have succeeded, or there was nothing to commit."""
        ...

    def finished(self, turn: DurableTurn) -> None:
        """The same, of a turn that is known to have ended with its outcome."""
        ...

    def not_written(self, turn: DurableTurn, error: BaseException) -> None:
        """The commit of the turn's end surely failed."""
        ...


class DurableRules:
    """How often, how long, and who says so."""

    def __init__(self, around: Surroundings, *, deliveries: Deliveries) -> None:
        self.settings = around.settings
        self.handler_timeout = around.settings.handler_timeout
        self.clock = around.clock
        self.rng = around.random
        self.incarnation = around.runner_id
        self.deliveries = deliveries
        self.backoff = Backoff(first_s=self.settings.retry_first, ceiling_s=self.settings.retry_max)

    def deliveries_max(self, handler: Handler) -> int:
        return handler.max_deliveries or self.settings.max_deliveries


class DurableTurn(HandlerTurn):
    """A durable message in the hands of its owner; `listeners` hear of it as long as somebody waits.

    `next_row` is what a repeating timer left, `reply` the outcome as it was stored.
    """

    plain = False
    next_row: MessageRow | None = None
    put_off = False
    reply: bytes | None = None
    senders: tuple[Sender, ...] = ()
    """The connections that brought it, whose sender may send it again; none for one that surely hears its end."""
    _storing: RowsItem | None = None

    def __init__(
        self,
        activation: Activation,
        handler: Handler,
        row: MessageRow,
        rules: DurableRules,
        *,
        stored: bool,
        next_id: int = 0,
    ) -> None:
        # As the class above would do it; a call for every message counts.
        self.activation = activation
        self.handler = handler
        self.arguments: tuple[Any, ...] = ()
        self.caller: Turn | None = None
        self.timeout = rules.handler_timeout
        self.row = row
        self.keeps_place = handler.keeps_place
        self.stored = stored
        self.listeners: list[Listener] = []
        self.deliveries = row.deliveries
        self._uncounted = 0
        self.next_id = next_id
        self._rules = rules

    def starting(self) -> None:
        self.started_at = perf_counter()
        self._count_try()

    def _count_try(self) -> None:
        self.deliveries += 1
        if self.deliveries > 1:
            self._uncounted += 1
            if self.stored:
                self._count_redeliveries()

    def _count_redeliveries(self) -> None:
        """What is redelivered before it was ever stored counts once it is: it may be refused till then."""
        self.activation.hosted.redeliveries.inc(self._uncounted)
        self._uncounted = 0

    def suspended(self) -> None:
        self.store_now()

    def forget(self, listener: Listener) -> None:
        """Nobody waits behind this listener any more."""
        if listener in self.listeners:
            self.listeners.remove(listener)

    def store_now(self) -> None:
        """Puts the message on disk, so that its sender needs not wait for its handler."""
        if not self.stored and self._storing is None:
            self._storing = self._rules.deliveries.store(self)

    async def before_transaction(self) -> None:
        # A transaction of its own holds up all other commits, that of its message among them.
        if not self.stored:
            signal = _StoredSignal()
            self.listeners.append(signal)
            self.store_now()
            await signal.future

    def stored_now(self) -> None:
        """Its row is on disk."""
        self.stored, self._storing = True, None
        if self._uncounted:
            self._count_redeliveries()
        for listener in self.listeners:
            listener.stored()

    def keep_reply(self) -> None:
        self.reply = None if self.outcome is None else self.handler.signature.result.encode(self.outcome)

    def conclude(self) -> None:
        """What the message's end writes beside the handler's own effects."""
        if self.abandoned:
            self.rows = self.after = self.encoded = None
            self.put_off = True
            return
        if self._storing is not None:
            self._settle_storing(self._storing)
        self.due_at = 0
        if self.ending is Ending.VALUE:
            self._consume(OutcomeKind.REPLIED, self.reply)
            return
        self.rows = self.after = self.encoded = None
        self.size_bytes = 0
        if self.ending is Ending.DECLARED:
            self._consume(OutcomeKind.DECLARED_ERROR, encode_declared(self.outcome))
        elif isinstance(self.outcome, Exception):
            self._failed(self.outcome)

    def _settle_storing(self, storing: RowsItem) -> None:
        """A row no flush has taken need not be written any more; one in flight will be there when this commits."""
        if storing.was_taken:
            self.stored = True
        else:
            storing.withdraw()
        self._storing = None

    def take_back(self) -> bool:
        """Sees to it that a message which waits is not stored any more; False where it is, or may be."""
        if self._storing is not None and not self._storing.was_taken:
            self._storing.withdraw()
            self._storing = None
        return not self.stored and self._storing is None

    def _consume(self, kind: OutcomeKind, outcome: bytes | None, *more: Row) -> None:
        row, now = self.row, self._rules.clock.now_us()
        self.reply = outcome
        rows: list[Row] = [done_row(row, kind, outcome, self.deliveries, now, self._rules.incarnation), *more]
        if self.stored:
            rows.append(Consume(row.id))
        if row.every_us and not self._stopped_itself():
            self.next_row = self._next_occurrence(now)
            rows.append(self.next_row)
        if self.rows:
            rows += self.rows
        self.rows = rows
        self.size_bytes += len(outcome or b"") + len(row.payload)

    def _stopped_itself(self) -> bool:
        """Whether the handler of a repeating timer has cancelled it, or set it anew."""
        row = self.row
        return any(type(one) is TimerCancel and one == (*row.address, row.name) for one in self.rows or ())

    def _next_occurrence(self, now: int) -> MessageRow:
        """The next time on the timer's own grid; occurrences missed meanwhile are skipped, not made up for."""
        row = self.row
        steps = max(1, -(-(now - row.due_at) // row.every_us))
        return row._replace(
            id=self.next_id,
            due_at=row.due_at + steps * row.every_us,
            deliveries=0,
            crashes=0,
            last_error=None,
            created_at=now,
            admitted_by=self._rules.incarnation,
        )

    def _failed(self, error: Exception) -> None:
        text = describe(error)
        if self.deliveries >= self._rules.deliveries_max(self.handler):
            self.die(f"{self.row.method} on {self.row.address} failed {self.deliveries} times; last: {text}")
            return
        delay = self._rules.backoff.delay_s(self.deliveries, self._rules.rng)
        self.due_at = self._rules.clock.now_us() + micros(delay)
        # One that keeps its place stays due in the store: another incarnation finds it before those behind it.
        due_at = self.row.due_at if self.keeps_place else self.due_at
        if self.stored:
            self.row = self.row._replace(crashes=0)  # it failed, and the runner lived: no suspect any more
            self.rows = [MessageRetry(self.deliveries, 0, due_at, text, self.row.id)]
        else:
            self.row = self.row._replace(deliveries=self.deliveries, due_at=due_at, last_error=text)
            self.rows = [self.row]
            self.size_bytes = len(self.row.payload)
        if self.keeps_place:
            self._rules.deliveries.hold(self)

    def die(self, text: str) -> None:
        """Makes the message a dead letter."""
        self.ended, self.due_at, self.rows = True, 0, None
        self.ending, self.outcome = Ending.FAILURE, MessageDead(text)
        letter = dead_row(self.row, self.deliveries, text, self._rules.clock.now_us())
        self._consume(OutcomeKind.DEAD, text.encode(), letter)

    def refuse(self, error: BaseException) -> None:
        """The handler was not run. What passes by itself costs no try: a stored message stays where it is."""
        if isinstance(error, PASSING):
            if self._storing is not None:
                self._settle_storing(self._storing)
            self.ended = self.put_off = True
            self.ending, self.outcome = Ending.FAILURE, error
        else:
            self._count_try()
            super().refuse(error)

    def fail(self, error: BaseException) -> None:
        """The last try came to nothing although the handler ended well."""
        super().renew(self.activation)
        super().refuse(error)

    def renew(self, activation: Activation) -> None:
        super().renew(activation)
        self.put_off = False
        self.arguments = self.handler.signature.decode(self.row.payload)  # the last run may have changed them

    @property
    def repeatable(self) -> bool:
        return not self.abandoned

    def settle(self) -> None:
        self.settled = True
        if self._uncounted and self.rows:
            self._count_redeliveries()
        if self.ending is not Ending.VALUE:
            self._count()
            self._rules.deliveries.concluded(self)
            return
        self.activation.hosted.received.succeeded(perf_counter() - self.started_at)
        if self.after is not None:
            for act in self.after:
                act()
        self._rules.deliveries.finished(self)

    def commit_failed(self, error: BaseException) -> None:
        self.settled = True
        self._rules.deliveries.not_written(self, error)


class _StoredSignal:
    """Waits until the message is on disk; a listener."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stored(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def refused(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def done(self, ending: Ending, outcome: Any) -> None:
        self.stored()
