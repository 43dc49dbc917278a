"""The door to entities that live in other processes: calls, sends and streams, carried out over the links."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from time import perf_counter
from typing import Any

from holdfast.entities.declared import decode_declared
from holdfast.entities.door import Receipt, SendOptions
from holdfast.entities.entity_type import EntityType
from holdfast.entities.handler import Handler
from holdfast.errors import (
    CallCircle,
    KeyConflict,
    MalformedMessage,
    MessageDead,
    RunnerUnavailable,
    SendTimeout,
)
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.metrics import MetricsService
from holdfast.metrics.meters import OperationMeter
from holdfast.model.address import Address
from holdfast.model.envelope import ONE_WAY, Accepted, Call, DeclaredError, Reply, Result, StreamOpen, Timing
from holdfast.model.ids import SECOND_US, MessageId, micros
from holdfast.model.message import OutcomeKind
from holdfast.ports.transport import RemoteStream, StreamDeclined
from holdfast.ports.turn import Turn, current_turn
from holdfast.runtime.questions import CANCEL_TIMER, MESSAGE_OUTCOME, AskMessage, AskTimer, MessageOutcome, pack, unpack
from holdfast.settings import Settings

from .asking import REFUSED_PAUSE_S, Asker, Way
from .chain import chain_of, time_left_s
from .leavings import Leavings
from .lines import Left, Lines
from .link import NOT_EXECUTED
from .links import Links
from .places import Whereabouts


class RemoteDoor:
    """Implements `entities.door.Door` for entities that live in other processes."""

    def __init__(
        self,
        *,
        links: Links,
        asker: Asker,
        lines: Lines,
        leavings: Leavings,
        whereabouts: Whereabouts,
        shard_of: Callable[[str, str], int],
        leave_cancel: Callable[[Address, str], Awaitable[bool]],
        types: Mapping[str, EntityType],
        wheel: DeadlineWheel,
        settings: Settings,
        metrics: MetricsService,
    ) -> None:
        """`leave_cancel` leaves the request to cancel a timer where no runner answers."""
        self._links = links
        self._asker = asker
        self._lines = lines
        self._leavings = leavings
        self._whereabouts = whereabouts
        self._shard_of = shard_of
        self._leave_cancel = leave_cancel
        self._types = types
        self._wheel = wheel
        self._call_timeout = settings.entities.call_timeout
        self._stream_credit = settings.transport.stream_credit
        self._meters: dict[str, OperationMeter] = {
            name: metrics.cluster.meter(operation="send", entity_type=name) for name in types
        }

    async def call(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Any:
        started, meter = perf_counter(), self._meters[address.entity_type]
        try:
            timeout_s = options.timeout or self._call_timeout
            entity_type, entity_id = address
            payload = handler.signature.encode(args, kwargs)
            call = Call(0, entity_type, entity_id, handler.name, payload, round(timeout_s * SECOND_US))
            caller = current_turn.get()
            if caller is not None:
                timeout_s = _chained(call, caller, address, timeout_s)
            peer = self._links.toward_entity(entity_type, entity_id).current
            if peer is None:
                reply = await self._ask(address, call, timeout_s)
            else:
                try:
                    reply = await peer.call(call)
                except NOT_EXECUTED as error:
                    if error.executed != "no":
                        raise
                    self._links.astray()
                    reply = await self._ask(address, call, timeout_s - (perf_counter() - started))
            if type(reply) is Result:
                outcome = handler.signature.result.decode(reply.payload)
            else:
                outcome = _value(handler, reply)
        except BaseException as error:
            _count_unsent(meter, error, perf_counter() - started)
            raise
        meter.succeeded(perf_counter() - started)
        return outcome

    def _ask(self, address: Address, call: Call, timeout_s: float) -> Coroutine[Any, Any, Reply]:
        return self._asker.ask(self._way_to(self._shard_of(*address)), call, timeout_s)

    def _way_to(self, shard: int) -> Way:
        return lambda: self._links.toward(shard)

    async def call_durable(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Any:
        started, meter = perf_counter(), self._meters[address.entity_type]
        try:
            timeout_s = options.timeout or self._call_timeout
            call = durable_call(address, handler, args, kwargs, options, timeout_s, 0)
            caller = current_turn.get()
            if caller is not None:
                timeout_s = _chained(call, caller, address, timeout_s)
            reply = await self._lines.deliver(address, call, timeout_s)
            if type(reply) is Result:
                outcome = handler.signature.result.decode(reply.payload)
            elif isinstance(reply, Accepted):
                left_s = timeout_s - (perf_counter() - started)
                outcome = await self.outcome(reply.message_id, left_s, shard=self._shard_of(*address))
            else:
                assert not isinstance(reply, Left), "a message with a reply is not left in the inbox"
                outcome = _value(handler, reply)
        except BaseException as error:
            _count_unsent(meter, error, perf_counter() - started)
            raise
        meter.succeeded(perf_counter() - started)
        return outcome

    async def send(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> Receipt[Any]:
        started, meter = perf_counter(), self._meters[address.entity_type]
        try:
            timeout_s = options.timeout or self._call_timeout
            call = durable_call(address, handler, args, kwargs, options, timeout_s, ONE_WAY)
            reply = await self._lines.deliver(address, call, timeout_s)
            receipt = _receipt(call, reply)
        except BaseException as error:
            _count_unsent(meter, error, perf_counter() - started)
            raise
        meter.succeeded(perf_counter() - started)
        return receipt

    def leads_to(self, address: Address) -> bool:
        return address in self._lines

    def stream(
        self, address: Address, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any], options: SendOptions
    ) -> AsyncIterator[Any]:
        payload = handler.signature.encode(args, kwargs)
        chain = chain_of(current_turn.get())
        return self._elements(address, handler, payload, chain, options.timeout or self._call_timeout)

    async def cancel_timer(self, address: Address, name: str) -> bool:
        shard = self._shard_of(*address)
        link = self._links.toward(shard)
        if link.peer is None and link.unreachable:
            return await self._leave_cancel(address, name)
        asked = AskTimer(*address, name, self._leavings.left)
        way = self._way_to(shard)
        return unpack(await self._asker.question(way, CANCEL_TIMER, pack(asked), self._call_timeout), bool)

    async def outcome(self, message_id: int, timeout_s: float, *, shard: int | None = None) -> Any:
        """How a durable message ends, waited for; `shard` is where it belongs, if that is known.

        Raises as `LocalDoor.result`.
        """
        asked = AskMessage(message_id, self._leavings.left)
        where = await self._whereabouts.message(message_id) if shard is None else shard
        way = self._links.anyone if where is None else self._way_to(where)
        try:
            payload = await self._asker.question(way, MESSAGE_OUTCOME, pack(asked), timeout_s)
        except RunnerUnavailable as error:
            raise SendTimeout(f"message {message_id} is stored, and was not done in time: {error}") from error
        return self._decoded(unpack(payload, MessageOutcome), message_id)

    def _decoded(self, ended: MessageOutcome, message_id: int) -> Any:
        declared = self._types.get(ended.entity_type)
        handler = None if declared is None else declared.handlers.get(ended.method)
        if handler is None:
            raise MalformedMessage(f"{ended.entity_type}.{ended.method} is no message of this App", executed="yes")
        match OutcomeKind(ended.kind):
            case OutcomeKind.REPLIED:
                return None if ended.outcome is None else handler.signature.result.decode(ended.outcome)
            case OutcomeKind.DECLARED_ERROR:
                raise decode_declared(handler, ended.outcome or b"")
            case OutcomeKind.DEAD | OutcomeKind.DISCARDED:
                raise MessageDead((ended.outcome or b"").decode(errors="replace"))
            case OutcomeKind.KEY_CONFLICT:
                key = (ended.outcome or b"").decode(errors="replace")
                raise KeyConflict(f"the key {key!r} of message {message_id} was used before with another payload")

    async def _elements(
        self, address: Address, handler: Handler, payload: bytes, chain: tuple[Address, ...], timeout_s: float
    ) -> AsyncIterator[Any]:
        opening = StreamOpen(0, *address, handler.name, payload, self._stream_credit, micros(timeout_s), chain)
        elements = await self._opened(address, opening, timeout_s, handler.signature.name)
        try:
            while True:
                try:
                    element = await anext(elements)
                except StopAsyncIteration:
                    return
                except StreamDeclined as error:
                    raise decode_declared(handler, error.payload) from None
                yield handler.signature.result.decode(element)
        finally:
            elements.cancel()

    async def _opened(self, address: Address, opening: StreamOpen, timeout_s: float, name: str) -> _Patient:
        """A stream of the entity's owner that has begun to answer: where it is refused, it is opened elsewhere."""
        shard, deadline = self._shard_of(*address), perf_counter() + timeout_s
        while True:
            link = self._links.toward(shard)
            link.open()
            peer, left_s = link.peer, deadline - perf_counter()
            if left_s <= 0:
                raise RunnerUnavailable(f"no runner answered within {timeout_s:g} s: {link.why}")
            if peer is not None:
                elements = _Patient(peer.stream(opening), self._wheel, timeout_s, name)
                try:
                    await elements.begin()
                except NOT_EXECUTED as error:
                    if error.executed != "no":
                        raise
                else:
                    return elements
            await self._asker.pause(min(left_s, REFUSED_PAUSE_S))


class _Patient:
    """A stream that waits only so long for each of its elements."""

    def __init__(self, stream: RemoteStream, wheel: DeadlineWheel, timeout_s: float, name: str) -> None:
        self._stream = stream
        self._wheel = wheel
        self._timeout_s = timeout_s
        self._name = name
        self._late = False
        self._first: bytes | None = None
        self._declined: StreamDeclined | None = None
        self.cancel = stream.cancel

    async def begin(self) -> None:
        """Returns once there is a first element, or the stream has ended without one. Raises what refused it."""
        try:
            self._first = await self.__anext__()
        except StopAsyncIteration:
            pass  # it says so again when it is asked
        except StreamDeclined as error:
            self._declined = error
        except BaseException:
            self.cancel()
            raise

    async def __anext__(self) -> bytes:
        if self._declined is not None:
            raise self._declined
        if self._first is not None:
            first, self._first = self._first, None
            return first
        deadline = self._wheel.after(self._timeout_s, self._expire)
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            if self._late:
                raise SendTimeout(f"{self._name} gave no element within {self._timeout_s:g} s") from None
            raise
        finally:
            deadline.cancel()

    def _expire(self) -> None:
        self._late = True
        self._stream.cancel()


def _chained(call: Call, caller: Turn, address: Address, timeout_s: float) -> float:
    """Says on the call who waits for it; returns how long it may take. Raises CallCircle."""
    chain = chain_of(caller)
    if address in chain:
        raise CallCircle(f"{chain[0]} waits for {address}, which waits for it")
    call.chain = chain
    timeout_s = time_left_s(caller, timeout_s)
    call.timeout_us = round(timeout_s * SECOND_US)
    return timeout_s


def durable_call(
    address: Address,
    handler: Handler,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: SendOptions,
    timeout_s: float,
    flags: int,
) -> Call:
    """A durable message on its way; its id is chosen when it leaves."""
    payload = handler.signature.encode(args, kwargs)
    key = options.key if options.key is not None else handler.dedupe_key(payload)
    entity_type, entity_id = address
    timing = _timing(options)
    return Call(
        0, entity_type, entity_id, handler.name, payload, round(timeout_s * SECOND_US), 0, flags, key, 0, timing
    )


def _timing(options: SendOptions) -> Timing | None:
    if options.delay is None and options.at is None and options.every is None and options.name is None:
        return None
    return Timing(
        delay_us=micros(options.delay or 0),
        due_at=0 if options.at is None else max(1, micros(options.at.timestamp())),
        every_us=micros(options.every or 0),
        name=options.name,
    )


def _count_unsent(meter: OperationMeter, error: BaseException, seconds: float) -> None:
    """A message that raised; a cancelled one has not failed."""
    if isinstance(error, Exception):
        meter.failed(seconds, error)
    else:
        meter.cancelled(seconds)


def _value(handler: Handler, reply: Reply) -> Any:
    """What the handler returned. Raises what it declared."""
    if type(reply) is Result:
        return handler.signature.result.decode(reply.payload)
    if isinstance(reply, DeclaredError):
        raise decode_declared(handler, reply.payload)
    raise MalformedMessage(f"the runner answered a call with {type(reply).__name__}", executed="unknown")


def _receipt(call: Call, reply: Reply | Left) -> Receipt[Any]:
    if isinstance(reply, Left):
        return Receipt(MessageId(call.message_id), duplicate=None)
    if isinstance(reply, Accepted):
        return Receipt(MessageId(reply.message_id), reply.duplicate)
    raise MalformedMessage(f"the runner answered a send with {type(reply).__name__}", executed="unknown")
