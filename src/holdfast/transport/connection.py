"""A connection: what this process asked of a peer is settled here, what the peer asks is handed over in batches.

Both sides are equal. Nothing grows without a bound: calls and streams share a window, streams have credit, and while
the peer does not read what was sent to it, new calls are refused in both directions, with `MailboxFull`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

from holdfast.errors import MailboxFull, MalformedMessage, RunnerUnavailable, SerializationError
from holdfast.model.envelope import (
    Accepted,
    Asking,
    Call,
    Cancel,
    DeclaredError,
    Failure,
    Incoming,
    Outgoing,
    Reply,
    Request,
    Result,
    StreamCredit,
    StreamEnd,
    StreamItem,
    StreamOpen,
)
from holdfast.ports.transport import Identity, Inbound
from holdfast.settings import TransportSettings

from .calls import PendingCalls, PendingReply
from .errors import failure_of
from .frames import Envelope, GoAway, Ping, Pong, Unsendable
from .hello import Hello, Refusal, Welcome
from .line import Gate, Line, Phase
from .streams import CREDIT_MAX, IncomingStream, OutgoingStream

log = logging.getLogger(__name__)

_ASKING = (Call, Request, StreamOpen)  # made once: `Call | Request` would be made anew for every envelope


class Connection:
    """Implements the port `Peer` over one line. `gate` is None on the side that connects.

    While the line exists the connection stands in `register`, where there is one.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        inbound: Inbound,
        settings: TransportSettings,
        gate: Gate | None = None,
        silenced: Callable[[], bool] | None = None,
        register: dict[Connection, None] | None = None,
    ) -> None:
        self._inbound = inbound
        self._going: str | None = None
        self._consumed: dict[int, IncomingStream] = {}
        self._produced: dict[int, OutgoingStream] = {}
        self._calls = PendingCalls(asyncio.get_running_loop(), window=settings.window, abandon=self._abandon)
        self._register = register
        self.line = line = Line(self, identity=identity, settings=settings, gate=gate, silenced=silenced)
        self.send: Callable[[Outgoing], None] = line.put  # as it is, since every answer passes here

    @property
    def identity(self) -> Identity:
        return self.line.peer

    @property
    def open(self) -> bool:
        return self.line.phase is Phase.OPEN and self._going is None

    @property
    def silent_s(self) -> float:
        return self.line.silent_s

    @property
    def waiting(self) -> int:
        return len(self._calls)

    def probe(self) -> None:
        self.line.put(Ping())

    def call(self, asking: Asking) -> PendingReply:
        line, calls = self.line, self._calls
        if line.phase is not Phase.OPEN or self._going is not None or line.choked:
            self._object()
        reply = calls.begin(asking, len(self._consumed))
        line.put(asking)
        if len(calls.pending) == 1:
            line.flush()  # a lone caller need not wait, and a burst's first is under way meanwhile
        return reply

    def stream(self, opening: StreamOpen) -> IncomingStream:
        self._object()
        opening.correlation = correlation = self._calls.number(len(self._consumed))
        opening.credit = credit = min(max(opening.credit, 1), CREDIT_MAX)
        stream = IncomingStream(correlation, credit=credit, send=self.line.put, forget=self._forget_consumed)
        self._consumed[correlation] = stream
        self.line.put(opening)
        return stream

    def produce(self, opening: StreamOpen) -> OutgoingStream:
        credit = min(max(opening.credit, 0), CREDIT_MAX)
        stream = OutgoingStream(opening.correlation, credit=credit, send=self.line.put, forget=self._forget_produced)
        if self.line.phase is Phase.ENDED:
            stream.stop()
        else:
            self._produced[opening.correlation] = stream
        return stream

    def go_away(self, message: str) -> None:
        self.line.put(GoAway(message))

    def close(self) -> None:
        self.line.close()

    async def closed(self) -> None:
        await self.line.closed()

    # What the line calls.

    def on_made(self) -> None:
        if self._register is not None:
            self._register[self] = None

    def on_gone(self) -> None:
        if self._register is not None:
            self._register.pop(self, None)

    def on_batch(self, batch: list[Envelope]) -> None:
        """Settles what answers us and hands over what the peer asks, up to the first thing that makes no sense."""
        incoming: list[Incoming] = []
        pending, choked = self._calls.pending, self.line.choked
        try:
            for envelope in batch:
                if type(envelope) is Result:
                    reply = pending.pop(envelope.correlation, None)
                    if reply is not None and not reply.done():
                        reply.set_result(envelope)
                elif isinstance(envelope, _ASKING):
                    if choked:
                        self._turn_back(envelope.correlation)
                    else:
                        incoming.append(envelope)
                else:
                    self._take(envelope, incoming)
        finally:
            if incoming:
                self._hand_over(incoming)

    def on_writing(self) -> None:
        self._calls.written()

    def on_unsendable(self, refused: Unsendable) -> None:
        """An envelope that can't be sent ends where it came from."""
        envelope = refused.envelope
        match envelope:
            case Call() | Request():
                self._calls.fail(envelope.correlation, MalformedMessage(f"the message was not sent: {refused.why}"))
            case StreamOpen(correlation=correlation):
                if (consumed := self._consumed.get(correlation)) is not None:
                    consumed.fail(MalformedMessage(f"the stream was not opened: {refused.why}"))
            case Result() | DeclaredError() | Accepted() | Failure() | StreamItem():
                self._say_unsendable(envelope.correlation, refused.why)
            case _:
                log.error("%s could not be sent: %s", type(envelope).__name__, refused.why)

    def on_end(self, why: str, *, was_open: bool) -> None:
        self._calls.lose(why)
        for consumed in list(self._consumed.values()):
            consumed.lose(why, written=self._calls.was_written(consumed.correlation))
        for produced in list(self._produced.values()):
            produced.stop()
        if was_open:
            self._inbound.on_lost(self)

    # Coming in.

    def _take(
        self,
        envelope: Hello
        | Welcome
        | Refusal
        | Ping
        | Pong
        | GoAway
        | StreamCredit
        | Cancel
        | Reply
        | StreamItem
        | StreamEnd,
        incoming: list[Incoming],
    ) -> None:
        match envelope:
            case Result() | Accepted() | DeclaredError() | Failure() | StreamItem() | StreamEnd():
                self._take_answer(envelope)
            case StreamCredit(correlation=correlation, credit=credit):
                if (produced := self._produced.get(correlation)) is not None:
                    produced.granted(credit)
            case Cancel():
                self._take_cancel(envelope, incoming)
            case Ping():
                self.line.put(Pong())
            case Pong():
                pass
            case GoAway(message=message):
                self._going = message
            case Hello() | Welcome() | Refusal():
                raise MalformedMessage(f"the peer sent {type(envelope).__name__} after the handshake")
            case _:
                assert_never(envelope)

    def _take_answer(self, envelope: Reply | StreamItem | StreamEnd) -> None:
        stream = self._consumed.get(envelope.correlation)
        if stream is not None:
            stream.arrived(envelope)
        elif not isinstance(envelope, StreamItem | StreamEnd):
            self._calls.settle(envelope)

    def _take_cancel(self, cancel: Cancel, incoming: list[Incoming]) -> None:
        if incoming:  # the stream that is cancelled may be among them
            self._hand_over(incoming[:])
            incoming.clear()
        if (produced := self._produced.get(cancel.correlation)) is not None:
            produced.stop()
        incoming.append(cancel)

    def _hand_over(self, incoming: list[Incoming]) -> None:
        if self.line.phase is not Phase.OPEN:
            return
        try:
            self._inbound.on_envelopes(self, incoming)
        except Exception:
            log.exception("what a peer asked could not be handled; its connection is ended")
            self.line.break_off("an internal error")

    def _turn_back(self, correlation: int) -> None:
        error = MailboxFull("the caller does not read the answers that were sent to it")
        self.line.put(failure_of(error, correlation=correlation))

    # Going out.

    def _object(self) -> None:
        """Raises what `Peer.call` raises at once, where nothing new can be asked."""
        if self.line.phase is not Phase.OPEN:
            raise RunnerUnavailable(f"the connection is not open: {self.line.why}")
        if self._going is not None:
            raise RunnerUnavailable(f"the peer is going away: {self._going}")
        if self.line.choked:
            raise MailboxFull("the peer does not read what was sent to it")

    def _say_unsendable(self, correlation: int, why: str) -> None:
        if (produced := self._produced.get(correlation)) is not None:
            produced.stop()
        error = SerializationError(f"the answer could not be sent: {why}", executed="unknown")
        self.line.put(failure_of(error, correlation=correlation))

    def _abandon(self, correlation: int) -> None:
        self.line.put(Cancel(correlation))

    def _forget_consumed(self, correlation: int) -> None:
        self._consumed.pop(correlation, None)

    def _forget_produced(self, correlation: int) -> None:
        self._produced.pop(correlation, None)
