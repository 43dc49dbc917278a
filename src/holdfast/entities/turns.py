"""An entity in memory, and one handler's run on it.

An `Activation` is the slot of one address: the instance, its last encoded state, who holds the turn, and who waits.
It costs nothing while it is idle: no task, no queue. A `HandlerTurn` is one message on its way through the slot, with
all that its handler stages.

Turns are numbered as they come in, and wherever one has to run again it goes back to its place: `Activation.line_up` is
the only way back into the line, so no path there can bring a message before an earlier one.

A turn ends in one of three ways, and its effects with it: VALUE (they commit), DECLARED (the message is consumed,
nothing else commits), FAILURE (nothing commits). Whoever waits hears of it only once the commit is known.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from time import perf_counter
from typing import Any, Protocol

from holdfast.errors import CallCircle, HandlerEnded, MessageError, UsageError
from holdfast.model.address import Address
from holdfast.model.job import JobRow
from holdfast.model.message import InboxRow, MessageRow
from holdfast.model.signature import SCALARS
from holdfast.model.unit import Row
from holdfast.ports.journal import OpenTransaction, Transaction
from holdfast.ports.turn import Turn

from .entity import Entity
from .handler import Handler
from .hosted import Hosted

WRITER = -1


class Batch(Protocol):
    """The unit that an activation's turns are joining, or that is being committed."""

    @property
    def full(self) -> bool: ...


class OpenStream(Protocol):
    """A stream between two of its elements."""

    async def close(self) -> None:
        """Lets its generator clean up; no element follows."""
        ...


class Activation:
    """One live entity. `holders`: 0 free, above 0 so many readonly turns, WRITER a writing one (or loading).

    `overflow`: how often one found no room that stays in the store since what is there was last read; 0 for none there.
    `unstored`: whether something may wait whose sender is to hear soon that it is stored.
    """

    __slots__ = (
        "activated_at",
        "address",
        "dropped",
        "encoded",
        "flying",
        "held",
        "holders",
        "hosted",
        "idle_since",
        "instance",
        "known",
        "leaving",
        "open",
        "overflow",
        "shard",
        "stateless",
        "streams",
        "suspended",
        "touched",
        "unstored",
        "version",
        "waiting",
    )

    def __init__(self, hosted: Hosted, address: Address, shard: int) -> None:
        self.hosted = hosted
        self.address = address
        self.shard = shard
        self.stateless = hosted.stateless
        self.instance: Entity[Any] | None = None
        self.encoded: bytes | None = None
        self.version = 0
        self.holders = 0
        self.open: Batch | None = None
        self.flying: Batch | None = None
        self.waiting: deque[HandlerTurn] | None = None
        self.held: deque[HandlerTurn] | None = None
        self.suspended = 0
        self.streams: set[OpenStream] | None = None
        self.known: asyncio.Future[None] | None = None
        self.overflow = 0
        self.unstored = False
        self.dropped = False
        self.leaving = False
        self.touched = True
        self.idle_since = 0.0
        self.activated_at = 0.0

    def ref(self, entity: type[Any], entity_id: str) -> Any:
        return self.hosted.reach.ref(entity, entity_id)

    def own(self, message: str) -> Any:
        return self.hosted.reach.own(self.address, message)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        return self.hosted.reach.transaction()

    def cancel_timer(self, name: str) -> Coroutine[Any, Any, bool]:
        return self.hosted.reach.cancel_timer(self.address, name)

    def hold(self, handler: Handler) -> bool:
        """Takes the turn for a handler, leaving aside who waits already; False where it may not start now."""
        if self.flying is not None:
            return False
        if self.holders:
            if self.holders < 0 or not handler.readonly:
                return False
        elif self.open is not None and self.open.full:
            return False
        self.holders = self.holders + 1 if handler.readonly else WRITER
        return True

    def store_waiting(self) -> None:
        """The message in front takes its time: what is behind it, and whose sender waits for that, is stored.

        Not what is behind one of which nobody knows whether it is stored: that has to come first.
        """
        if not self.unstored:
            return
        self.unstored = False
        for turn in (*(self.waiting or ()), *(self.held or ())):
            if turn.blocked and not turn.stored:
                self.unstored = True
                return
            if not turn.abandoned:
                turn.store_now()

    @property
    def slow(self) -> bool:
        """Whether a message in front takes its time and is stored, so that those behind it can be stored too."""
        return self.suspended > 0 or (self.held is not None and self.held[0].stored)

    def line_up(self, *turns: HandlerTurn) -> None:
        """Puts these turns in their places, and parts all that are in line anew, in the order in which they came.

        One that is blocked is held, and so are those behind it that keep their place; all others wait to start.
        """
        waiting: deque[HandlerTurn] = deque()
        held: deque[HandlerTurn] = deque()
        there = dict.fromkeys((*(self.waiting or ()), *(self.held or ()), *turns))
        for turn in sorted(there, key=_number):
            if not turn.abandoned:
                (held if turn.blocked or (held and turn.keeps_place) else waiting).append(turn)
        self.waiting, self.held = waiting or None, held or None

    @property
    def queued(self) -> int:
        return (len(self.waiting) if self.waiting else 0) + (len(self.held) if self.held else 0)

    @property
    def at_work(self) -> bool:
        """A message is being handled, waits to be, or commits; what waits for a retry is not at work."""
        return bool(self.holders or self.waiting or self.open or self.flying or self.overflow)

    @property
    def busy(self) -> bool:
        """A handler runs, the instance loads, or a commit is not known yet."""
        return bool(self.holders or self.open or self.flying)

    @property
    def idle(self) -> bool:
        return not (
            self.holders or self.waiting or self.held or self.open or self.flying or self.overflow or self.streams
        )


class Ending(enum.Enum):
    VALUE = "value"
    DECLARED = "declared"
    FAILURE = "failure"


class HandlerTurn:
    """A volatile message from its mailbox to its reply; `durable.DurableTurn` adds what a stored one needs.

    Most turns change few of these fields, so they are class attributes until set: making a turn is on the hot path.
    """

    rows: list[Row] | None = None
    after: list[Callable[[], None]] | None = None
    encoded: bytes | None = None
    size_bytes = 0
    ended = False
    ending = Ending.FAILURE
    outcome: Any = None
    settled = False
    waiter: asyncio.Future[None] | None = None
    task: asyncio.Task[Any] | None = None
    expired = False
    interrupted: MessageError | None = None
    """Why its handler was ended from outside, as its caller hears it."""
    outgoing = False
    """Whether it has staged rows for entities or jobs, whose shard may not be this runner's."""
    readdressed = False
    """Whether some of these were left in the inbox in the end."""
    stored = False
    """Whether the message is in the store, where the next owner finds it."""
    number = 0
    """Its place in line, above 0 once it has come into a mailbox."""
    keeps_place = False
    """Whether it waits behind one that is blocked, and those behind it where it has to be tried again."""
    blocked = False
    """Whether it stands in line but can't start: until its next try, its turn as a suspect, or the store's word."""
    due_at = 0
    """When it will be tried again, above 0 after a run that failed."""
    abandoned = False
    """Whether nobody waits for it here any more: it does not start, and what its handler does is not written."""
    alone = False
    """Whether no later turn of its entity joins its unit."""
    queued_at = 0.0
    started_at = 0.0
    handler_seconds = 0.0
    transaction: OpenTransaction | None = None
    plain = True
    """Whether it ends without a trace in the store, where its handler changed nothing."""
    chain: tuple[Address, ...] = ()
    """Entities in other processes whose handlers wait for this one."""

    def __init__(
        self,
        activation: Activation,
        handler: Handler,
        arguments: tuple[Any, ...],
        caller: Turn | None,
        timeout: float,
    ) -> None:
        self.activation = activation
        self.handler = handler
        self.arguments = arguments
        self.caller = caller
        self.timeout = timeout

    def check_open(self) -> None:
        if self.ended:
            raise HandlerEnded(f"the handler {self.handler.signature.name} has ended; its doors are closed")

    def stage(self, row: Row, size_bytes: int = 0) -> None:
        self.check_open()
        if self.handler.readonly:
            raise UsageError(f"{self.handler.signature.name} is readonly: it can't send durably, submit or set timers")
        if self.rows is None:
            self.rows = []
        self.rows.append(row)
        self.size_bytes += size_bytes
        if isinstance(row, MessageRow | JobRow | InboxRow):
            self.outgoing = True

    def after_commit(self, act: Callable[[], None]) -> None:
        self.check_open()
        if self.after is None:
            self.after = []
        self.after.append(act)

    def starting(self) -> None:
        """A burst is about to run the handler: the time spent waiting counts against the deadline."""
        self.started_at = perf_counter()
        waited = self.started_at - self.queued_at
        self.activation.hosted.wait_seconds.observe(waited)
        self.timeout -= waited

    def store_now(self) -> None:
        """A volatile message is never stored."""

    def suspended(self) -> None:
        """The handler did not end with its first step."""

    async def before_transaction(self) -> None:
        """The handler is about to open a transaction of its own."""

    def keep_reply(self) -> None:
        """The handler has returned its outcome. Raises SerializationError where it can't be kept."""

    def conclude(self) -> None:
        """The handler has ended; decides what is written. Nothing, for a failed volatile message."""
        if self.ending is not Ending.VALUE:
            self.rows = self.after = self.encoded = None

    def settle(self) -> None:
        """The outcome is final: counts it, and lets go of what waited for it."""
        self.settled = True
        if self.rows is None and self.ending is Ending.VALUE:
            self.activation.hosted.received.succeeded(self.handler_seconds)
        else:
            self._count()
        if self.after is not None:
            for act in self.after:
                act()
        self.wake()

    def wake(self) -> None:
        """Lets the caller that waits go on."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def commit_failed(self, error: BaseException) -> None:
        """The commit of its effects surely failed: nothing of them was written."""
        self.ending, self.outcome = Ending.FAILURE, error
        self.settle()

    def refuse(self, error: BaseException) -> None:
        """The handler was not run."""
        self.ended = True
        self.ending, self.outcome = Ending.FAILURE, error
        self.conclude()

    def _count(self) -> None:
        """The message was received, and how that went."""
        received, seconds = (
            self.activation.hosted.received,
            perf_counter() - self.started_at if self.started_at else 0.0,
        )
        if self.ending is Ending.VALUE:
            received.succeeded(seconds)
        elif isinstance(self.outcome, Exception):
            received.failed(seconds, self.outcome)
        else:
            received.cancelled(seconds)

    @property
    def repeatable(self) -> bool:
        """Whether the handler may be run again after a commit that surely failed: its arguments are as they were, and
        it is no stream, which has moved on by an element."""
        if self.abandoned or self.handler.options.stream:
            return False
        return all(type(argument) in SCALARS for argument in self.arguments)

    def renew(self, activation: Activation) -> None:
        """Forgets one run, for the next."""
        self.activation = activation
        self.queued_at = perf_counter()
        self.rows = self.after = self.encoded = self.task = self.transaction = None
        self.size_bytes = 0
        self.started_at = 0.0
        self.ended = self.expired = self.settled = self.outgoing = self.readdressed = False
        self.interrupted = None
        self.ending, self.outcome = Ending.FAILURE, None


def _number(turn: HandlerTurn) -> int:
    return turn.number


def refuse_circle(caller: Turn | None, address: Address) -> None:
    """Raises CallCircle where a handler up the chain of callers waits on this very address."""
    while isinstance(caller, HandlerTurn):
        waits = caller.activation.address == address or address in caller.chain
        if waits and not caller.ended:
            raise CallCircle(f"{caller.handler.signature.name} waits for {address}, which waits for it")
        caller = caller.caller
