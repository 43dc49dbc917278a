"""What a runner does with what its peers ask: their messages go to its entities, their questions to its services.

A batch of envelopes is handed on in one go, without a task per message: a volatile call becomes a turn that sends its
reply when it settles, a durable one is let in by `durable`, streams and questions get a task each. What a peer
asked can be cancelled by it as long as it is in its `Conversation`; a durable message goes on without its sender.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, assert_never

from holdfast.entities.declared import encode_declared
from holdfast.entities.handler import Handler
from holdfast.entities.manager import EntityManager
from holdfast.entities.turns import Activation, Ending, HandlerTurn
from holdfast.errors import (
    CallCircle,
    EntityNotAssignedToRunner,
    HoldfastError,
    MailboxFull,
    MalformedMessage,
    PersistenceError,
    RunnerUnavailable,
)
from holdfast.model.address import Address, checked_entity_id
from holdfast.model.envelope import (
    FOLLOWS,
    Call,
    Cancel,
    DeclaredError,
    Incoming,
    Outgoing,
    Request,
    Result,
    StreamOpen,
)
from holdfast.ports.transport import Peer
from holdfast.runtime.remote.lines import AGAIN
from holdfast.settings import EntitySettings
from holdfast.transport import failure_of

logger = logging.getLogger("holdfast.runtime")

MICROSECOND = 1e-6
SENT_AGAIN = (*AGAIN, PersistenceError)
"""A durable message that was refused like this may come again: its process hears it, or the answer is lost."""
NIL = b"\xc0"
"""None as msgpack writes it."""


class Cancellable(Protocol):
    def cancel(self) -> object:
        """Its asker does not wait any more."""
        ...


class Conversation:
    """What one peer has asked and was not answered yet.

    `refused` are the entities whose last durable message was refused, and may be sent again: what the peer sent behind
    it is refused too, though it might come in by now, or it would come in first.
    """

    __slots__ = ("alone", "answer", "lost", "peer", "refused", "waiting")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.answer: Callable[[Outgoing], None] = peer.send
        self.waiting: dict[int, Cancellable] = {}
        self.lost = False
        self.alone = (self,)
        self.refused: set[tuple[str, str]] = set()

    def refuse(self, correlation: int, error: BaseException) -> None:
        self.peer.send(failure_of(error, correlation=correlation))

    def note_refusal(self, entity_type: str, entity_id: str, error: BaseException) -> None:
        """A durable message of it was refused."""
        if isinstance(error, SENT_AGAIN):
            self.refused.add((entity_type, entity_id))

    def arrives(self, call: Call) -> None:
        """Raises as `check_follows`; a durable message that follows none begins anew."""
        if call.flags & FOLLOWS:
            self.check_follows(call)
        else:
            self.refused.discard((call.entity_type, call.entity_id))

    def check_follows(self, call: Call) -> None:
        """Raises EntityNotAssignedToRunner for what was sent behind a message that has been refused.

        And for all that a lost line brought: its sender sends it again over another one, and there it comes in order.
        """
        if self.lost:
            raise EntityNotAssignedToRunner("its sender's connection is gone")
        if call.flags & FOLLOWS and (call.entity_type, call.entity_id) in self.refused:
            raise EntityNotAssignedToRunner("the message before it was refused here")

    def cancel(self, correlation: int) -> None:
        asked = self.waiting.pop(correlation, None)
        if asked is not None:
            asked.cancel()

    def lose(self) -> None:
        """The line is gone."""
        self.lost = True
        waiting, self.waiting = self.waiting, {}
        for asked in waiting.values():
            asked.cancel()


class RemoteTurn(HandlerTurn):
    """A volatile call from another process: answers when it settles."""

    waiter: Any = True
    """Somebody waits, though not with a future."""

    def __init__(
        self,
        activation: Activation,
        handler: Handler,
        arguments: tuple[object, ...],
        timeout: float,
        conversation: Conversation,
        correlation: int,
    ) -> None:
        self.activation = activation
        self.handler = handler
        self.arguments = arguments
        self.caller = None
        self.timeout = timeout
        self._conversation = conversation
        self._correlation = correlation

    def wake(self) -> None:
        conversation, correlation = self._conversation, self._correlation
        if conversation.waiting.pop(correlation, None) is None:
            return  # cancelled, or answered
        if self.ending is not Ending.VALUE:
            conversation.answer(_unhappy(self, correlation))
        elif self.outcome is None:
            conversation.answer(Result(correlation, NIL))
        else:
            conversation.answer(Result(correlation, self.handler.signature.result.encode(self.outcome)))

    def cancel(self) -> None:
        self.abandoned = True
        if self.task is not None:
            self.task.cancel()


class Asked(Protocol):
    """Who takes one kind of question."""

    def take(self, conversation: Conversation, handler: Handler, call: Call) -> None: ...


class Unknown(Protocol):
    """Who takes durable messages that no handler here knows."""

    def take(self, conversation: Conversation, call: Call) -> None: ...


class AskedStream(Protocol):
    def take(self, conversation: Conversation, handler: Handler, opening: StreamOpen) -> None: ...


class AskedService(Protocol):
    def take(self, conversation: Conversation, request: Request) -> None: ...


class Serving:
    """Implements the port `Inbound`: listens from the first moment, and serves once it was told whom."""

    def __init__(self, settings: EntitySettings, *, waiting_max: int) -> None:
        """`waiting_max`: what one peer may have asked and not been answered, before more of it is refused."""
        self._payload_bytes_max = settings.payload_bytes_max
        self._waiting_max = waiting_max
        self._conversations: dict[Peer, Conversation] = {}
        self._manager: EntityManager | None = None
        self._why_not = "this runner is starting"
        self._durable: Asked
        self._unknown: Unknown
        self._streams: AskedStream
        self._services: AskedService

    def open(
        self,
        manager: EntityManager,
        *,
        durable: Asked,
        unknown: Unknown,
        streams: AskedStream,
        services: AskedService,
    ) -> None:
        """From now on calls are taken; those that came before were refused as surely not executed."""
        self._durable, self._unknown, self._streams, self._services = durable, unknown, streams, services
        self._manager = manager

    def shut(self) -> None:
        """Takes nothing more."""
        self._manager = None
        self._why_not = "this runner is stopping"

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        conversation = self._conversations.get(peer)
        if conversation is None:
            conversation = self._conversations[peer] = Conversation(peer)
        if len(conversation.waiting) > self._waiting_max:
            batch = self._refused(conversation, batch)
        for envelope in batch:
            try:
                if type(envelope) is Call:
                    self._take_call(conversation, envelope)
                else:
                    self._take(conversation, envelope)
            except HoldfastError as error:
                if type(envelope) is Call and envelope.message_id:
                    conversation.note_refusal(envelope.entity_type, envelope.entity_id, error)
                conversation.refuse(envelope.correlation, error)
            except Exception as error:
                logger.exception("what %s asked could not be handled", peer.identity.software or "a peer")
                conversation.refuse(envelope.correlation, error)

    def _refused(self, conversation: Conversation, batch: Sequence[Incoming]) -> Sequence[Incoming]:
        """What is left to do of a batch of a peer that asks without end: its cancels."""
        for envelope in batch:
            if not isinstance(envelope, Cancel):
                error = MailboxFull(f"{len(conversation.waiting)} calls of this peer wait for their answers")
                if type(envelope) is Call and envelope.message_id:
                    conversation.note_refusal(envelope.entity_type, envelope.entity_id, error)
                conversation.refuse(envelope.correlation, error)
        return [envelope for envelope in batch if isinstance(envelope, Cancel)]

    def on_lost(self, peer: Peer) -> None:
        conversation = self._conversations.pop(peer, None)
        if conversation is not None:
            conversation.lose()

    def _take_call(self, conversation: Conversation, call: Call) -> None:
        """A message to an entity; on the hot path, so its checks are here as one, and `_handler` knows which failed."""
        manager = self._manager or self._open_manager()
        hosted = manager.hosted.get(call.entity_type)
        handler = None if hosted is None else hosted.handlers.get(call.method)
        if handler is None or len(call.payload) > self._payload_bytes_max:
            if handler is None and call.message_id and len(call.payload) <= self._payload_bytes_max:
                conversation.arrives(call)
                self._unknown.take(conversation, call)
                return
            handler = self._handler(manager, call)
        elif handler.durable:
            if call.message_id:
                self._durable.take(conversation, handler, call)
                return
            self._handler(manager, call)
        elif handler.options.stream or call.message_id:
            self._handler(manager, call)
        address = Address(call.entity_type, call.entity_id)
        arguments = handler.signature.decode(call.payload)
        activation = manager.live.get(address)
        if activation is None:
            checked_entity_id(call.entity_id)
            activation = manager.activation(address)
        manager.refuse_overload(activation)
        correlation = call.correlation
        turn = RemoteTurn(activation, handler, arguments, call.timeout_us * MICROSECOND, conversation, correlation)
        if call.chain:
            refuse_chain(handler, address, call.chain)
            turn.chain = call.chain
        conversation.waiting[correlation] = turn
        manager.enqueue(turn)

    def _take(self, conversation: Conversation, envelope: Request | StreamOpen | Cancel | Call) -> None:
        match envelope:
            case Cancel():
                conversation.cancel(envelope.correlation)
            case StreamOpen():
                self._streams.take(conversation, self._handler(self._open_manager(), envelope), envelope)
            case Request():
                self._open_manager()
                self._services.take(conversation, envelope)
            case Call():
                self._take_call(conversation, envelope)
            case _:
                assert_never(envelope)

    def _open_manager(self) -> EntityManager:
        """Raises RunnerUnavailable while nothing is served."""
        if self._manager is None:
            raise RunnerUnavailable(self._why_not)
        return self._manager

    def _handler(self, manager: EntityManager, asked: Call | StreamOpen) -> Handler:
        """Raises MalformedMessage for what no handler here takes."""
        handler = manager.hosted_type(asked.entity_type).handlers.get(asked.method)
        if handler is None:
            raise MalformedMessage(f"{asked.entity_type}.{asked.method} is no message here")
        handler.signature.check_size(asked.payload, self._payload_bytes_max)
        is_stream = type(asked) is StreamOpen
        if handler.options.stream != is_stream:
            raise MalformedMessage(f"{handler.signature.name} is {'no' if is_stream else 'a'} stream")
        if type(asked) is Call and handler.durable != (asked.message_id != 0):
            kind = "durable" if handler.durable else "not durable"
            raise MalformedMessage(f"{handler.signature.name} is {kind} here")
        return handler


def refuse_chain(handler: Handler, address: Address, chain: tuple[Address, ...]) -> None:
    """Raises CallCircle where the entity itself waits, in whatever process, for what it is asked."""
    if address in chain:
        raise CallCircle(f"{handler.signature.name} waits for {address}, which waits for it")


def _unhappy(turn: HandlerTurn, correlation: int) -> Outgoing:
    """The answer of a turn that did not end with a value."""
    if turn.ending is Ending.DECLARED:
        return declared(correlation, turn.outcome)
    if not isinstance(turn.outcome, Exception):
        stopped = turn.interrupted or RunnerUnavailable("this runner stopped the handler", executed="unknown")
        return failure_of(stopped, correlation=correlation)
    return failure_of(turn.outcome, correlation=correlation)


def declared(correlation: int, error: BaseException) -> DeclaredError:
    """A declared error as it travels."""
    return DeclaredError(correlation, encode_declared(error))
