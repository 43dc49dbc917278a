"""The door on a runner: calls, sends and streams of this process's own entities.

A call of a free, live entity runs its handler in the caller's own task; that is the fast path. A caller that is
cancelled cancels its volatile call; a durable one goes on without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from time import perf_counter
from typing import Any

from holdfast.errors import (
    EntityNotAssignedToRunner,
)
from holdfast.metrics.meters import OperationMeter
from holdfast.model.address import Address
from holdfast.model.ids import MessageId
from holdfast.model.inbox import Command, encode_entry
from holdfast.model.message import InboxRow, MessageRow
from holdfast.model.outbox import left
from holdfast.ports.turn import current_turn

from .admission import Admission
from .arrivals import Arrivals
from .delivery import Delivery
from .door import Receipt, SendOptions
from .elsewhere import Elsewhere, Nowhere
from .handler import Handler
from .listeners import Accepted, Finished
from .manager import EntityManager
from .outgoing import Outgoing
from .patience import Patience, unanswered
from .running import TurnRunner
from .streams import Streams
from .surroundings import Surroundings
from .timers import cancel_of, is_staged, part_from_runs, unstage
from .turns import WRITER, Activation, Ending, HandlerTurn, refuse_circle
from .turnstile import Turnstile


class LocalDoor:
    """Serves this process's refs: what this runner owns here, the rest through `elsewhere`."""

    def __init__(
        self,
        around: Surroundings,
        *,
        manager: EntityManager,
        runner: TurnRunner,
        admission: Admission,
        delivery: Delivery,
    ) -> None:
        self._manager = manager
        self._live: Mapping[Address, Activation] = manager.live
        self._runner = runner
        self._admission = admission
        self._arrivals = Arrivals(admission)
        self._delivery = delivery
        self._streams = Streams(around, invoke=self.invoke)
        self._turnstile = Turnstile(around.loop)
        self._patience = Patience(around)
        self._ids = around.ids
        self._clock = around.clock
        self._outgoing = Outgoing(around, manager=manager)
        self._call_timeout = around.settings.call_timeout
        self._payload_bytes_max = around.settings.payload_bytes_max
        self._loop = around.loop
        self.inbox_left: Callable[[], None] = _nobody
        """Told when a handler has left something in the inbox."""
        self.elsewhere: Elsewhere = Nowhere(manager.not_here)
        """Where entities are found whose shard is not served here."""
        self._alone = True
        self._lapsed: Callable[[], bool] = _never

    def lead_to(self, elsewhere: Elsewhere, *, lapsed: Callable[[], bool]) -> None:
        """There are other runners, and this is the way to them.

        `lapsed`: whether one of them may have taken this one's place, so that what entities here know may be old.
        """
        self.elsewhere, self._alone, self._lapsed = elsewhere, False, lapsed

    def _surely_elsewhere(self, address: Address) -> bool:
        """Known without trying: a call that has to follow a refusal costs several times as much."""
        return not (self._alone or address in self._live or self._manager.serves(address))

    def _goes_elsewhere(self, address: Address) -> bool:
        """Whether a durable message has to: also behind earlier ones, sent while the entity was another runner's."""
        return not self._alone and (self.elsewhere.leads_to(address) or self._surely_elsewhere(address))

    async def call(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Any:
        if self._surely_elsewhere(address):
            return await self.elsewhere.call(address, handler, args, kwargs, options)
        started = perf_counter()
        try:
            caller = current_turn.get()
            if caller is not None:
                refuse_circle(caller, address)
            if not kwargs and tuple(map(type, args)) in handler.shapes:
                arguments = args
            else:
                arguments = handler.signature.cross(args, kwargs, self._payload_bytes_max)
            timeout = options.timeout or self._call_timeout
            activation = self._live.get(address)
            if (
                activation is not None
                and activation.holders == 0
                and activation.waiting is None
                and activation.instance is not None
                and activation.flying is None
                and (activation.open is None or not activation.open.full)
            ):
                turn = HandlerTurn(activation, handler, arguments, caller, timeout)
                activation.holders = WRITER if handler.writes else 1
                turn.started_at = started
                rest = self._runner.start(turn)
                if rest is not None:
                    await rest
                elif turn.settled:
                    await self._turnstile.enter()
            else:
                turn = self._queue(address, handler, arguments, caller, timeout)
            if not turn.settled:
                await self._patience.settled(turn, timeout)
            if turn.ending is not Ending.VALUE or self._lapsed():
                raise unanswered(turn)
        except EntityNotAssignedToRunner as moved:
            follow = self._follow(moved, address, handler, options, started)
        except BaseException as error:
            self._not_sent(address, error, perf_counter() - started)
            raise
        else:
            turn.activation.hosted.sent.succeeded(perf_counter() - started)
            return turn.outcome
        return await self.elsewhere.call(address, handler, args, kwargs, follow)

    async def send(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Receipt[Any]:
        caller = current_turn.get()
        if (caller is None or options.detached) and self._goes_elsewhere(address):
            await self._arrivals.behind(address, options.timeout or self._call_timeout)
            return await self.elsewhere.send(address, handler, args, kwargs, options)
        started, place = perf_counter(), self._arrivals.come(address)
        try:
            row = await self._outgoing.row(address, handler, args, kwargs, options)
            if caller is not None and not options.detached:
                if row.name is not None and isinstance(caller, HandlerTurn):
                    await part_from_runs(caller, address, self._manager)
                self._stage(caller, row)
                receipt: Receipt[Any] = Receipt(MessageId(row.id), duplicate=False if row.key is None else None)
            else:
                receipt = await self._send_alone(row, handler, options)
        except EntityNotAssignedToRunner as moved:
            follow = self._follow(moved, address, handler, options, started)
            await place.first(follow.timeout or self._call_timeout)
            follow = self._follow(moved, address, handler, options, started)
        except BaseException as error:
            self._not_sent(address, error, perf_counter() - started)
            raise
        else:
            self._sent(address).succeeded(perf_counter() - started)
            return receipt
        finally:
            place.leave()
        return await self.elsewhere.send(address, handler, args, kwargs, follow)

    def _follow(
        self, moved: EntityNotAssignedToRunner, address: Address, handler: Handler, options: SendOptions, started: float
    ) -> SendOptions:
        """The options for another runner, with the time that is left. Raises `moved` where the message may have run."""
        seconds = perf_counter() - started
        left_s = (options.timeout or self._call_timeout) - seconds
        if moved.executed != "no" or isinstance(moved, handler.options.errors) or left_s <= 0:
            self._not_sent(address, moved, seconds)
            raise moved
        return dataclasses.replace(options, timeout=left_s)

    def stream(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> AsyncIterator[Any]:
        if address not in self._live and not self._manager.shards.serves(self._manager.shard_of(address)):
            return self.elsewhere.stream(address, handler, args, kwargs, options)
        return self._streams.open(address, handler, args, kwargs, options.timeout or self._call_timeout)

    async def cancel_timer(self, address: Address, name: str) -> bool:
        caller, shard = current_turn.get(), self._manager.shard_of(address)
        turn = caller if isinstance(caller, HandlerTurn) else None
        if not self._is_foreign(turn, shard, timer=turn is not None):
            return await self._admission.cancel_timer(address, name, turn)
        if turn is None:
            return await self.elsewhere.cancel_timer(address, name)
        unstaged = unstage(turn, address, name)
        kind, body = encode_entry(Command("cancel_timer", 0, *address, name))
        message_id = self._ids.take_now() or await self._ids.take()
        turn.stage(InboxRow(message_id, shard, kind, body, self._clock.now_us()), len(body))
        turn.after_commit(lambda: self.inbox_left())
        return await self._admission.has_timer(address, name) or unstaged

    def _is_foreign(self, caller: object, shard: int, *, timer: bool) -> bool:
        """Whether a handler's row for this shard goes through its inbox. Its own shard's does not, as long as it runs.

        A timer's does, whoever owns the shard: there it stands in line with the commits of the timer's own entity.
        """
        if isinstance(caller, HandlerTurn) and caller.activation.shard == shard:
            return False
        return timer or not self._manager.shards.serves(shard)

    async def result(self, message_id: int, timeout: float | None) -> Any:
        """The outcome of a durable message. Raises MessageNotFound, SendTimeout, MessageDead, the declared error."""
        timeout_s, started = timeout or self._call_timeout, perf_counter()
        try:
            ending, outcome = await self._heard(message_id, timeout_s)
        except EntityNotAssignedToRunner:
            left_s = timeout_s - (perf_counter() - started)
            return await self._heard_elsewhere(message_id, await self._admission.shard_of(message_id), left_s)
        if ending is not Ending.VALUE:
            raise outcome
        return outcome

    async def _heard(self, message_id: int, timeout_s: float) -> tuple[Ending, Any]:
        """How a message of this runner ends. Raises EntityNotAssignedToRunner where it is another's, or becomes so."""
        finished = Finished(self._loop)
        await self._admission.listen(message_id, finished)
        try:
            return await self._patience.within(finished.future, timeout_s, f"message {message_id}")  # type: ignore[no-any-return]
        finally:
            self._admission.forget(message_id, finished)

    async def _heard_elsewhere(self, message_id: int, shard: int | None, timeout_s: float) -> Any:
        try:
            return await self.elsewhere.outcome(message_id, timeout_s, shard=shard)
        except EntityNotAssignedToRunner as error:
            raise EntityNotAssignedToRunner(str(error), executed="unknown") from error

    async def invoke(
        self, address: Address, handler: Handler, arguments: tuple[Any, ...], timeout: float
    ) -> HandlerTurn:
        """Runs a turn through the mailbox to its settled end. Raises its failure; a declared error is an ending."""
        caller = current_turn.get()
        if caller is not None:
            refuse_circle(caller, address)
        turn = self._queue(address, handler, arguments, caller, timeout)
        if not turn.settled:
            await self._patience.settled(turn, timeout)
        if turn.ending is Ending.FAILURE or self._lapsed():
            raise unanswered(turn)
        return turn

    def _sent(self, address: Address) -> OperationMeter:
        return self._manager.hosted_type(address.entity_type).sent

    def _not_sent(self, address: Address, error: BaseException, seconds: float) -> None:
        if isinstance(error, Exception):
            self._sent(address).failed(seconds, error)
        else:
            self._sent(address).cancelled(seconds)

    def _queue(
        self, address: Address, handler: Handler, arguments: tuple[Any, ...], caller: Any, timeout: float
    ) -> HandlerTurn:
        activation = self._manager.activation(address)
        self._manager.refuse_overload(activation)
        turn = HandlerTurn(activation, handler, arguments, caller, timeout)
        self._manager.enqueue(turn)
        return turn

    async def call_durable(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Any:
        if self._goes_elsewhere(address):
            await self._arrivals.behind(address, options.timeout or self._call_timeout)
            return await self.elsewhere.call_durable(address, handler, args, kwargs, options)
        started, place = perf_counter(), self._arrivals.come(address)
        try:
            caller = current_turn.get()
            if caller is not None:
                refuse_circle(caller, address)
            row = await self._outgoing.row(address, handler, args, kwargs, options)
            finished = Finished(self._loop)
            _, turn, message_id = await self._arrivals.accept(row, handler, finished, one_way=False)
            if caller is not None and turn is not None:
                turn.caller = caller  # so that a circle of calls is seen
            timeout_s = options.timeout or self._call_timeout
            try:
                ending, outcome = await self._patience.within(finished.future, timeout_s, handler.signature.name)
            except EntityNotAssignedToRunner as moved:
                if moved.executed == "no":
                    raise
                place.leave()  # it is stored: its next owner handles it before anything new
                left_s = timeout_s - (perf_counter() - started)
                ending, outcome = Ending.VALUE, await self._heard_elsewhere(message_id, row.shard, left_s)
            finally:
                if turn is not None:
                    turn.caller = None
                    turn.forget(finished)
            if ending is not Ending.VALUE:
                raise outcome
        except EntityNotAssignedToRunner as moved:
            follow = self._follow(moved, address, handler, options, started)
            await place.first(follow.timeout or self._call_timeout)
            follow = self._follow(moved, address, handler, options, started)
        except BaseException as error:
            self._not_sent(address, error, perf_counter() - started)
            raise
        else:
            self._sent(address).succeeded(perf_counter() - started)
            return handler.signature.result.cross(outcome)
        finally:
            place.leave()
        return await self.elsewhere.call_durable(address, handler, args, kwargs, follow)

    async def _send_alone(self, row: MessageRow, handler: Handler, options: SendOptions) -> Receipt[Any]:
        accepted = Accepted(self._loop)
        admitted = await self._arrivals.accept(row, handler, accepted, one_way=True)
        await self._patience.within(accepted.future, options.timeout or self._call_timeout, handler.signature.name)
        return Receipt(MessageId(admitted.message_id), admitted.duplicate)

    def _stage(self, caller: Any, row: MessageRow) -> None:
        """Joins the handler's transaction."""
        behind = not row.due_at and _leaves_for(caller, row.shard)
        if row.key is not None or behind or self._is_foreign(caller, row.shard, timer=row.name is not None):
            # Only the owner can tell, and only once this is committed, whether the key is in use.
            entry = left(row)
            caller.stage(entry, len(entry.body))
            caller.after_commit(lambda: self.inbox_left())
            return
        if row.name is not None:
            unstage(caller, row.address, row.name)
            caller.stage(cancel_of(row))
        caller.stage(row, len(row.payload))
        caller.after_commit(lambda: self._deliver_staged(caller, row))

    def _deliver_staged(self, caller: Any, row: MessageRow) -> None:
        sure = isinstance(caller, HandlerTurn) and row.name is None and not caller.readdressed
        if sure or is_staged(caller, row):
            self._delivery.deliver_later(row)


def _never() -> bool:
    return False


def _leaves_for(caller: Any, shard: int) -> bool:
    """Whether the handler has left something in the inbox of this shard, which is taken later than what is stored."""
    return any(isinstance(row, InboxRow) and row.shard == shard for row in caller.rows or ())


def _nobody() -> None:
    """Without one who takes it, the inbox waits for the next runner."""
