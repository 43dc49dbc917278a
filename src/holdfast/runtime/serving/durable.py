"""Durable messages from other processes: let in by the entities' admission, answered when their outcome is on disk.

The payload is stored as it came. A sender that waits for the reply gets it from the commit that consumed the message;
where the message is stored first, because its handler takes its time or will be tried again, it gets `Accepted`
instead and asks for the outcome by the message's id. So a sender always knows soon that its message is safe, and a
slow handler does not hold up what it sends next.

Messages of one sender to one entity are let in in the order they came, also where one of them has to wait: for the
store, or for what its sender left in the inbox before.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from holdfast.entities.admission import Admission, Admitted
from holdfast.entities.durable import DurableTurn
from holdfast.entities.handler import Handler
from holdfast.entities.turns import Activation, Ending
from holdfast.errors import HoldfastError
from holdfast.kit.clock import Clock
from holdfast.kit.eager import Rest, begin
from holdfast.kit.hashing import payload_hash
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address, checked_entity_id
from holdfast.model.envelope import ONE_WAY, RETRY, Accepted, Call, Outgoing, Result
from holdfast.model.message import MessageRow
from holdfast.runtime.questions import due_at_us
from holdfast.transport import failure_of

from .checks import check_storable
from .inbound import MICROSECOND, NIL, Conversation, declared, refuse_chain

logger = logging.getLogger("holdfast.runtime")

LineOf = tuple[Conversation, str, str]


class RemoteListener:
    """A sender in another process that waits for a durable message; answers once."""

    __slots__ = (
        "_chain",
        "_conversation",
        "_correlation",
        "_duplicate",
        "_handler",
        "_line",
        "_message_id",
        "_one_way",
        "_stored",
        "_timeout_s",
        "_turn",
    )

    def __init__(self, conversation: Conversation, handler: Handler, call: Call) -> None:
        self._conversation: Conversation | None = conversation
        self._handler = handler
        self._correlation = call.correlation
        self._line = (call.entity_type, call.entity_id)
        self._message_id = call.message_id
        self._one_way = call.flags & ONE_WAY
        self._chain = call.chain
        if call.chain:
            self._timeout_s = call.timeout_us * MICROSECOND
        self._duplicate: bool | None = None
        self._turn: DurableTurn | None = None
        self._stored = False

    def is_new(self, turn: DurableTurn) -> None:
        """It was let in, as `turn`, under the id it came with; nothing was heard before this."""
        self._duplicate, self._turn = False, turn
        self._brought(turn)
        if self._chain:
            self._waits_for(turn)

    def admitted(self, how: Admitted) -> None:
        """Whether it was known, and by which id; what was heard before this is answered now."""
        self._duplicate, self._turn, self._message_id = how
        if self._turn is not None:
            self._brought(self._turn)
        if self._chain and self._turn is not None:
            self._waits_for(self._turn)
        if self._stored:
            self.stored()

    def _brought(self, turn: DurableTurn) -> None:
        conversation = self._conversation
        if conversation is not None:
            turn.senders = (*turn.senders, conversation) if turn.senders else conversation.alone

    def _waits_for(self, turn: DurableTurn) -> None:
        """Those who wait do so until their deadline at most; the message may be handled after that."""
        turn.chain = self._chain
        asyncio.get_running_loop().call_later(self._timeout_s, _forget_chain, turn)

    def stored(self) -> None:
        if self._duplicate is None:
            self._stored = True
        else:
            self._answer(Accepted(self._correlation, self._message_id, self._duplicate))

    def refused(self, error: BaseException) -> None:
        if self._conversation is not None:
            self._conversation.note_refusal(*self._line, error)
        self._answer(failure_of(error, correlation=self._correlation))

    def done(self, ending: Ending, outcome: Any) -> None:
        if self._conversation is None:
            return
        if self._one_way:
            self.stored()
        elif ending is Ending.VALUE:
            self._answer(Result(self._correlation, self._encoded(outcome)))
        elif ending is Ending.DECLARED:
            self._answer(declared(self._correlation, outcome))
        else:
            self._answer(failure_of(outcome, correlation=self._correlation))

    def cancel(self) -> None:
        """The sender does not wait any more; the message goes on."""
        self._conversation = None
        if self._chain and self._turn is not None:
            self._turn.chain = ()

    def _encoded(self, outcome: Any) -> bytes:
        if outcome is None:
            return NIL
        stored = None if self._turn is None else self._turn.reply
        return self._handler.signature.result.encode(outcome) if stored is None else stored

    def _answer(self, envelope: Outgoing) -> None:
        # The turn knows its listeners: letting go of it spares the garbage collector a circle for each message.
        conversation, self._conversation, self._turn = self._conversation, None, None
        if conversation is not None:
            conversation.waiting.pop(self._correlation, None)
            conversation.answer(envelope)


def _forget_chain(turn: DurableTurn) -> None:
    turn.chain = ()


class DurableIntake:
    """Lets in what senders in other processes send durably."""

    def __init__(
        self,
        *,
        admission: Admission,
        live: Mapping[Address, Activation],
        shard_of: Callable[[Address], int],
        clock: Clock,
        runner_id: int,
        inbox_taken: Callable[[int, Collection[int]], Awaitable[None]],
        tasks: TaskOwner,
    ) -> None:
        """`inbox_taken(id, shards)` returns once nothing up to this id is in the inbox of these shards any more."""
        self._admission = admission
        self._live = live
        self._shard_of = shard_of
        self._clock = clock
        self._runner_id = runner_id
        self._inbox_taken = inbox_taken
        self._tasks = tasks
        self._held: dict[LineOf, deque[tuple[Call, Handler]]] = {}

    def take(self, conversation: Conversation, handler: Handler, call: Call) -> None:
        if self._held:
            held = self._held.get((conversation, call.entity_type, call.entity_id))
            if held is not None:
                held.append((call, handler))
                return
        if conversation.refused:
            conversation.arrives(call)
        if call.chain:
            refuse_chain(handler, Address(call.entity_type, call.entity_id), call.chain)
        if call.after:
            self._hold(conversation, call, self._let_in_after(conversation, handler, call))
            return
        listener = RemoteListener(conversation, handler, call)
        conversation.waiting[call.correlation] = listener
        try:
            self._let_in(conversation, handler, call, listener)
        except Exception:
            conversation.waiting.pop(call.correlation, None)
            raise

    def _let_in(self, conversation: Conversation, handler: Handler, call: Call, listener: RemoteListener) -> None:
        activation = self._live.get(Address(call.entity_type, call.entity_id))
        if activation is not None and not call.flags & RETRY:
            row = self._row(handler, call, activation.shard)
            turn = self._admission.accept_now(activation, row, handler, listener, one_way=True)
            if turn is not None:
                listener.is_new(turn)
                return
        admitted = begin(self._accept(conversation, handler, call, listener))
        if isinstance(admitted, Rest):
            self._hold(conversation, call, _finish(admitted, listener))
        else:
            listener.admitted(admitted)

    def _accept(
        self, conversation: Conversation, handler: Handler, call: Call, listener: RemoteListener
    ) -> Coroutine[Any, Any, Admitted]:
        async def enter() -> None:
            conversation.check_follows(call)  # what is in front may have been refused while this one was looked up

        address = Address(call.entity_type, checked_entity_id(call.entity_id))
        row = self._row(handler, call, self._shard_of(address))
        return self._admission.accept(row, handler, listener, retry=bool(call.flags & RETRY), one_way=True, enter=enter)

    def _row(self, handler: Handler, call: Call, shard: int) -> MessageRow:
        check_storable(call)
        now, timing, payload = self._clock.now_us(), call.timing, call.payload
        due_at = 0 if timing is None else due_at_us(timing, now)
        return MessageRow(
            call.message_id,
            shard,
            call.entity_type,
            call.entity_id,
            handler.name,
            payload,
            b"" if call.key is None else payload_hash(payload),
            call.key,
            call.headers,
            due_at,
            None if timing is None else timing.name,
            0 if timing is None else timing.every_us,
            call.message_id,
            0,
            0,
            None,
            now,
            self._runner_id,
        )

    # What can't come in at once.

    def _hold(self, conversation: Conversation, call: Call, entry: Coroutine[Any, Any, None]) -> None:
        """Lets this one in when it can be, and what the same sender sends to the same entity behind it."""
        line = (conversation, call.entity_type, call.entity_id)
        self._held[line] = deque()
        self._tasks.start(self._drain(line, entry), name=f"durable {call.message_id}")

    async def _drain(self, line: LineOf, entry: Coroutine[Any, Any, None]) -> None:
        held = self._held[line]
        try:
            await entry
            while held and not line[0].lost:  # its sender sends them again, and there they come in order
                call, handler = held.popleft()
                await self._let_in_after(line[0], handler, call)
        finally:
            del self._held[line]

    async def _let_in_after(self, conversation: Conversation, handler: Handler, call: Call) -> None:
        listener = RemoteListener(conversation, handler, call)
        conversation.waiting[call.correlation] = listener
        try:
            if call.after:
                shard = self._shard_of(Address(call.entity_type, checked_entity_id(call.entity_id)))
                await self._inbox_taken(call.after, (shard,))
            conversation.arrives(call)
            admitted: Admitted = await self._accept(conversation, handler, call, listener)
        except HoldfastError as error:
            listener.refused(error)
        except Exception as error:
            logger.exception("message %s could not be let in", call.message_id)
            listener.refused(error)
        else:
            listener.admitted(admitted)


async def _finish(rest: Rest[Admitted], listener: RemoteListener) -> None:
    try:
        admitted = await rest
    except Exception as error:
        if not isinstance(error, HoldfastError):
            logger.exception("a message could not be let in")
        listener.refused(error)
    else:
        listener.admitted(admitted)
