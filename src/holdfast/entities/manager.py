"""The live entities of this runner: brings them to life, hands them their turns, lets them go.

A message comes in as a turn. Where its entity is live and free it starts at once, else it waits in the entity's
mailbox and starts when the turn before it has ended and, if that one wrote, its commit is known. An instance whose
commit failed is dropped: its state may hold what was never written, so the next message loads it from the store.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Collection, Mapping
from time import perf_counter

from holdfast.errors import (
    HoldfastError,
    MailboxFull,
    MalformedMessage,
    MessageError,
    PersistenceError,
)
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.model.unit import Row
from holdfast.ports.turn import current_turn

from .bursts import Bursts
from .hosted import Hosted
from .loading import load_failure, loaded
from .mailboxes import Mailboxes
from .parting import MOVED, STOPPED, Parting
from .shards import Shards
from .surroundings import Surroundings
from .turns import WRITER, Activation, HandlerTurn
from .units import Committer, EntityUnit, surely_not_written


class EntityManager:
    """Owns the activations of this runner: those in reach, and those that are leaving with their shard."""

    def __init__(self, around: Surroundings, *, hosted: Mapping[str, Hosted], shards: Shards) -> None:
        self.hosted = hosted
        self.mailboxes = Mailboxes(hosted)
        self.live: dict[Address, Activation] = {}
        self.shards = shards
        self.shard_of = shards.of
        self.closed: Parting | None = None
        """Why this runner takes nothing any more; None while it does."""
        self._leaving: dict[Address, Activation] = {}
        self._loads: dict[Activation, asyncio.Task[None]] = {}
        self._reader = around.reader
        self._activation_s = around.settings.handler_timeout
        self._loop = around.loop
        self._numbers = itertools.count(1)
        self._tasks = TaskOwner("holdfast-entities")
        self._bursts: Bursts
        self._committer: Committer
        self._emptied: Callable[[Activation], None] = lambda _: None
        self._perhaps_stored: Callable[[list[Row]], None] = lambda _: None

    def connect(
        self,
        *,
        bursts: Bursts,
        committer: Committer,
        emptied: Callable[[Activation], None],
        perhaps_stored: Callable[[list[Row]], None],
    ) -> None:
        """Who runs turns, who still has a failed load's turns to write, and who refills a mailbox from the store.

        `perhaps_stored` hears of the rows of a commit whose outcome the store could not tell.
        """
        self._bursts = bursts
        self._committer = committer
        self._emptied = emptied
        self._perhaps_stored = perhaps_stored

    def hosted_type(self, entity_type: str) -> Hosted:
        """Raises MalformedMessage for a type that is not registered here."""
        hosted = self.hosted.get(entity_type)
        if hosted is None:
            raise MalformedMessage(f"no entity type {entity_type!r} here; known: {', '.join(sorted(self.hosted))}")
        return hosted

    def activation(self, address: Address) -> Activation:
        """The slot of an address, made where there is none; it loads with its first message.

        Raises EntityNotAssignedToRunner for an entity that is not served here, RunnerUnavailable while draining,
        RunnerNotRegistered without a lease, MalformedMessage for an unknown type.
        """
        activation = self.live.get(address)
        if activation is not None:
            return activation
        hosted, shard = self.hosted_type(address.entity_type), self.shard_of(address)
        if self.closed is not None or not self.shards.serves(shard):
            raise self.not_here()
        return self._slot(hosted, address, shard)

    def serves(self, address: Address) -> bool:
        """Whether a new message for this entity may come in here."""
        return self.closed is None and self.shards.serves(self.shard_of(address))

    def activation_of_stored(self, address: Address, shard: int) -> Activation:
        """The same for what is stored: also while the shard is being taken up."""
        activation = self.live.get(address)
        if activation is not None:
            return activation
        if self.closed is not None or shard not in self.shards:
            raise self.not_here()
        return self._slot(self.hosted_type(address.entity_type), address, shard)

    def _slot(self, hosted: Hosted, address: Address, shard: int) -> Activation:
        activation = self.live[address] = Activation(hosted, address, shard)
        hosted.instances += 1
        return activation

    def not_here(self) -> MessageError:
        """Why an entity is not served here; the message has surely left no trace."""
        return (self.closed or MOVED).refused()

    def refuse_overload(self, activation: Activation) -> None:
        """Raises MailboxFull, or why this runner takes nothing any more; before anything is acknowledged."""
        if activation.waiting is not None and activation.queued >= activation.hosted.mailbox:
            raise MailboxFull(f"{activation.address} has {activation.queued} messages waiting")
        if self.closed is not None:
            raise self.not_here()

    def gate(self, shards: Collection[int]) -> list[Activation]:
        """Puts the entities of these shards out of reach: nothing new comes to them. What runs may end.

        Returns all that are leaving with these shards, those that were already among them.
        """
        for activation in [one for one in self.live.values() if one.shard in shards]:
            del self.live[activation.address]
            self._leaving[activation.address] = activation
            activation.leaving = True
        return [activation for activation in self._leaving.values() if activation.shard in shards]

    def is_gone(self, activation: Activation) -> bool:
        """Whether an entity that was leaving is out of memory."""
        return self._leaving.get(activation.address) is not activation

    def cancel_load(self, activation: Activation) -> None:
        """Ends what brings the instance to life, where that is going on."""
        task = self._loads.get(activation)
        if task is not None:
            task.cancel()

    def disown(self, activation: Activation) -> None:
        """A handler on it does not end: nothing of what it may still do is written."""
        activation.dropped = True

    def enqueue(self, turn: HandlerTurn) -> None:
        """A turn comes in: it starts in a burst, or waits behind those that came before it."""
        activation = turn.activation
        turn.queued_at = perf_counter()
        turn.number = next(self._numbers)
        if activation.held and turn.keeps_place:
            activation.held.append(turn)
            return
        free = activation.instance is not None and not activation.waiting and not activation.dropped
        if free and activation.hold(turn.handler):
            self._bursts.add(turn)
            return
        if activation.waiting is None:
            activation.waiting = deque()
            self.mailboxes.enter(activation)
        activation.waiting.append(turn)
        if activation.instance is None and activation.holders == 0:
            self._load_soon(activation)

    def hold(self, turn: HandlerTurn) -> None:
        """The turn can't start before `resume`, and those behind it that keep their place wait with it."""
        activation = turn.activation
        if not turn.number:
            turn.number, turn.queued_at = next(self._numbers), perf_counter()
        turn.blocked = True
        activation.line_up(turn)
        if turn.stored:
            activation.store_waiting()
        self.mailboxes.enter(activation)

    def resume(self, *turns: HandlerTurn) -> None:
        """These turns of one entity may start, each in its place."""
        activation = turns[0].activation
        for turn in turns:
            turn.blocked = False
        activation.line_up(*turns)
        self.mailboxes.enter(activation)
        self._go_on(activation)

    def withdraw(self, turn: HandlerTurn) -> None:
        """The turn will not run any more: those it held may."""
        turn.abandoned = True
        turn.activation.line_up()
        self._go_on(turn.activation)

    def _go_on(self, activation: Activation) -> None:
        if activation.leaving:
            return
        if activation.waiting and activation.instance is None and activation.holders == 0 and not activation.dropped:
            self._load_soon(activation)
        else:
            self.advance(activation)

    def advance(self, activation: Activation) -> None:
        """Starts what may start of an activation's mailbox."""
        if activation.dropped:
            if activation.holders == 0:
                self._replace(activation)
            return
        waiting = activation.waiting
        while waiting:
            turn = waiting[0]
            if not turn.abandoned:
                if not activation.hold(turn.handler):
                    return
                self._bursts.add(turn)
            waiting.popleft()
        activation.waiting = None
        if not activation.held:
            self.mailboxes.leave(activation)
        if activation.overflow:
            self._emptied(activation)

    def commit_known(self, activation: Activation) -> None:
        """A unit of this activation has committed."""
        if activation.known is not None:
            activation.known.set_result(None)
            activation.known = None
        if activation.waiting or activation.overflow or activation.dropped:
            self.advance(activation)

    def commit_failed(self, activation: Activation, turns: list[HandlerTurn], error: BaseException) -> None:
        """Nothing of these turns was written: drops the instance and runs the innocent again, one by one.

        Where the store can't say whether it was, nothing is run again.
        """
        failure = surely_not_written(error)
        if isinstance(activation.open, EntityUnit):
            turns = turns + activation.open.turns
            activation.open.void()
            activation.open = None
        known = failure.executed != "unknown"
        if not known:
            self._perhaps_stored([row for turn in turns for row in turn.rows or ()])
        again = [turn for turn in turns if len(turns) > 1 and known and turn.repeatable]
        self._drop(activation)
        for turn in turns:
            if turn not in again:
                turn.commit_failed(failure)
        for turn in again:
            turn.renew(activation)
            turn.alone, turn.blocked = True, False
        activation.line_up(*again)
        self.mailboxes.enter(activation)
        if activation.known is not None:
            activation.known.set_exception(failure)
            activation.known = None
        if activation.holders == 0:
            self._replace(activation)

    def ran_in_vain(self, turn: HandlerTurn) -> None:
        """The turn ran on a state that was never written: it is run again, on what the store holds."""
        activation = turn.activation
        if activation.leaving:
            turn.refuse(self.not_here())
            turn.settle()
        elif turn.repeatable:
            turn.renew(activation)
            activation.line_up(turn)
        else:
            turn.commit_failed(PersistenceError(f"an earlier commit of {activation.address} failed"))

    async def settled(self, activation: Activation) -> None:
        """Returns once no unit of this activation is on its way. Raises PersistenceError where one failed."""
        while activation.open is not None or activation.flying is not None:
            if activation.known is None:
                activation.known = self._loop.create_future()
            await asyncio.shield(activation.known)
        if activation.dropped:
            raise PersistenceError("an earlier commit of this entity failed")

    def release(self, activation: Activation, reason: str) -> None:
        """The activation leaves memory, and its numbers with it."""
        self.mailboxes.leave(activation)
        home = self._leaving if activation.leaving else self.live
        if home.get(activation.address) is activation:
            del home[activation.address]
            hosted = activation.hosted
            hosted.instances -= 1
            if activation.instance is not None:
                hosted.lifetime_seconds.observe(perf_counter() - activation.activated_at)
                hosted.deactivated(reason)

    async def stop(self) -> None:
        """Ends what loads, and refuses what waits."""
        await self._tasks.stop()
        for activation in list(self.live.values()):
            self._refuse_waiting(activation, self.not_here())

    def _drop(self, activation: Activation) -> None:
        activation.dropped = True
        if activation.holders == 0:  # else the last handler that runs on it lets it go
            self.release(activation, "failed")

    def _replace(self, activation: Activation) -> None:
        """Hands what waits in front of a dropped activation to a fresh one."""
        waiting, activation.waiting = activation.waiting, None
        self.release(activation, "failed")
        self._hand_on(activation)
        going: list[HandlerTurn] = []
        for turn in waiting or ():
            if turn.abandoned:
                continue
            try:
                turn.activation = self._again(activation, turn)
            except HoldfastError as error:
                turn.refuse(error)
                turn.settle()
            else:
                turn.activation.unstored |= activation.unstored
                going.append(turn)
        if going:
            self.resume(*going)

    def _again(self, activation: Activation, turn: HandlerTurn) -> Activation:
        """Where a turn goes that waited in front of an activation that is gone."""
        if turn.stored:
            return self.activation_of_stored(activation.address, activation.shard)
        return self.activation(activation.address)

    def _hand_on(self, activation: Activation) -> None:
        """What waits for a retry, and that more waits in the store, is the next activation's business."""
        if activation.leaving or self.closed is not None or not (activation.held or activation.overflow):
            return
        fresh = self.activation_of_stored(activation.address, activation.shard)
        fresh.unstored |= activation.unstored
        held, activation.held = activation.held, None
        for turn in held or ():
            turn.activation = fresh
        if held:
            fresh.line_up(*held)
            self.mailboxes.enter(fresh)
        if activation.overflow:
            fresh.overflow += 1
            self._emptied(fresh)

    def _load_soon(self, activation: Activation) -> None:
        activation.holders = WRITER
        task = self._tasks.start(self._load(activation), name=f"load {activation.address}")
        self._loads[activation] = task
        task.add_done_callback(lambda _: self._loads.pop(activation, None))

    async def _load(self, activation: Activation) -> None:
        """Brings the instance to life. What fails here fails every message that waits."""
        current_turn.set(None)  # this task began inside the turn that sent the first message, but is no part of it
        started = perf_counter()
        try:
            activation.instance = await loaded(activation, self._reader, within_s=self._activation_s)
        except asyncio.CancelledError:
            self._refuse_all(activation, (self.closed or (MOVED if activation.leaving else STOPPED)).refused())
            raise
        except Exception as error:
            self._refuse_all(activation, load_failure(activation, error))
            return
        activation.holders = 0
        activation.activated_at = perf_counter()
        activation.hosted.activated.inc()
        activation.hosted.activation_seconds.observe(activation.activated_at - started)
        self.advance(activation)

    def _refuse_all(self, activation: Activation, error: HoldfastError) -> None:
        activation.instance = None
        activation.holders = 0
        self.release(activation, "failed")
        self._refuse_waiting(activation, error)
        self._hand_on(activation)

    def _refuse_waiting(self, activation: Activation, error: HoldfastError) -> None:
        """One after the other: the first that will be tried again in its place holds back those behind it."""
        while activation.waiting:
            turn = activation.waiting.popleft()
            turn.refuse(error)
            if turn.rows is None:
                turn.settle()
            else:
                self._committer.join(turn)
        activation.waiting = None
