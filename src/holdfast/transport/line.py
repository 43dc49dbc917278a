"""The line under a connection: the handshake, whole envelopes in and out, signs of life, one end.

Whatever is put on the line during one pass of the event loop leaves in a few frames: a full burst at once, so that the
peer works on it meanwhile, the rest when the pass is over. What arrives is handed on in the batches it arrived in.

What a slow reader leaves unread is bounded: past `unsent_bytes_max` the line is `choked`, so that no new calls are
taken from it or made to it; past `unsent_bytes_limit`, and choked for longer than a heartbeat, it is ended: a burst of
large answers to a peer that does read is no reason. Reading is never paused, since two sides that each wait for the
other to read would wait for ever.

A peer that has been silent for a while is asked for a sign of life, and given up after a number of such rounds.
Rounds are counted, not clock time, so that a pause of our own event loop is not held against the peer.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import math
import os
from collections.abc import Callable
from typing import Final, Protocol, cast

from holdfast.errors import HoldfastError, MalformedMessage, RunnerUnavailable
from holdfast.ports.transport import Identity
from holdfast.settings import TransportSettings

from .frames import Envelope, FrameDecoder, Ping, Unsendable, encode
from .hello import Hello, Refusal, Welcome, answer, greeting, objection

log = logging.getLogger(__name__)

BURST_ENVELOPES: Final = 16
"""Envelopes that are not held back until the pass is over. Two sides that wait for each other's whole pass take turns,
and each idles while the other works; smaller bursts cost more calls of the system than the overlap gains."""
NO_SOCKET: Final = -1

Gate = Callable[[], Refusal | None]
"""Asked by the listening side before it welcomes a peer: a reason to turn everybody away, or None."""


class Phase(enum.Enum):
    """A line only ever moves down this list."""

    GREETING = "greeting"
    OPEN = "open"
    ENDED = "ended"


class User(Protocol):
    """Who sits on top of a line."""

    def on_batch(self, batch: list[Envelope]) -> None:
        """Takes what arrived in one go. Raises MalformedMessage for what makes no sense; that ends the line."""
        ...

    def on_writing(self) -> None:
        """Everything put so far goes to the network now."""
        ...

    def on_unsendable(self, refused: Unsendable) -> None:
        """One envelope could not be sent; the line lives."""
        ...

    def on_end(self, why: str, *, was_open: bool) -> None:
        """The line has ended; called once."""
        ...

    def on_made(self) -> None:
        """There is a line, not yet greeted. Never called where not even TLS came about."""
        ...

    def on_gone(self) -> None:
        """Nothing is left of a line that was made."""
        ...


class Line(asyncio.Protocol):
    """One end of a line. `gate` is None on the side that connects; `silenced` as for `Network.listen`."""

    def __init__(
        self,
        user: User,
        *,
        identity: Identity,
        settings: TransportSettings,
        gate: Gate | None,
        silenced: Callable[[], bool] | None = None,
    ) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._user = user
        self._own = identity
        self._settings = settings
        self._gate = gate
        self._silenced = silenced
        self._decoder = FrameDecoder()
        self._transport: asyncio.Transport | None = None
        self._socket = NO_SOCKET
        self._out: list[Envelope] = []
        self._heard_at = loop.time()
        self._round_at = self._heard_at
        self._silent_rounds = 0
        self._timer: asyncio.TimerHandle | None = None
        self._greeted: asyncio.Future[HoldfastError | None] = loop.create_future()
        self._gone: asyncio.Future[None] = loop.create_future()
        self.phase = Phase.GREETING
        self.choked = False
        self._choked_at = 0.0
        self.why = "the handshake is not over"
        self.peer = Identity("")

    @property
    def silent_s(self) -> float:
        return self._loop.time() - self._heard_at

    def put(self, envelope: Envelope) -> None:
        """Sends the envelope in this pass; drops it where the line is not open."""
        if self.phase is not Phase.OPEN:
            return
        out = self._out
        out.append(envelope)
        if len(out) == 1:
            self._loop.call_soon(self.flush)
        elif len(out) >= BURST_ENVELOPES:
            self.flush()

    def flush(self) -> None:
        """Sends what was put so far now."""
        if not self._out or self.phase is not Phase.OPEN:
            return
        if self._silenced is not None and self._silenced():
            self.break_off("this process may not answer any more")
            return
        out, self._out = self._out, []
        self._user.on_writing()
        self._write(out)

    def close(self) -> None:
        """Sends what is waiting and ends the line."""
        if self.phase is Phase.ENDED or self._transport is None:
            return
        self.flush()
        self._end("this side closed it")
        self._transport.close()
        self._set_timer(self._settings.close_timeout, self._transport.abort)

    def break_off(self, why: str) -> None:
        """Ends the line at once, whatever is unsent."""
        if self.phase is Phase.ENDED:
            return
        log.warning("a connection to %s is ended: %s", self.peer.software or "a peer", why)
        self._end(why)
        if self._transport is not None:
            self._transport.abort()

    async def opened(self) -> None:
        """Returns when the handshake is over. Raises what `Network.connect` raises."""
        error = await asyncio.shield(self._greeted)
        if error is not None:
            raise error

    async def closed(self) -> None:
        """Returns when nothing is left of the line."""
        await asyncio.shield(self._gone)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit from asyncio's
        self._socket = _socket_of(transport)
        unsent = self._settings.unsent_bytes_max
        transport.set_write_buffer_limits(high=unsent, low=unsent // 2)
        self._set_timer(self._settings.handshake_timeout, self._greeting_took_too_long)
        self._user.on_made()
        if self._gate is None:
            self._write([greeting(self._own)])

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        if self.phase is Phase.OPEN:
            self._take(data)
        elif self.phase is Phase.GREETING:
            self._greet(data)

    def pause_writing(self) -> None:
        self.choked = True
        self._choked_at = self._loop.time()

    def resume_writing(self) -> None:
        self.choked = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(str(exc) if exc else "the peer closed it")
        self._cancel_timer()
        if not self._gone.done():
            self._gone.set_result(None)
        self._user.on_gone()

    # The handshake.

    def _greet(self, data: bytes) -> None:
        for said in self._decoder.feed(data):
            self._hear_greeting(said)
        if self._decoder.broken is not None:
            self.break_off(f"no handshake: {self._decoder.broken}")
        elif self.phase is Phase.OPEN:
            self._take(b"")  # what came right behind

    def _hear_greeting(self, said: Envelope) -> None:
        if self._gate is None and isinstance(said, Welcome | Refusal):
            self._hear_answer(said)
        elif self._gate is not None and isinstance(said, Hello):
            self._answer(said, self._gate)
        else:
            self.break_off(f"no handshake: the peer began with {type(said).__name__}")

    def _hear_answer(self, said: Welcome | Refusal) -> None:
        error = objection(said, self._own)
        if error is not None:
            self._greeted.set_result(error)
            self.break_off(str(error))
        elif isinstance(said, Welcome):
            self._establish(Identity(said.cluster_id, said.runner_id, _plain(said.software)))

    def _answer(self, said: Hello, gate: Gate) -> None:
        reply = gate() or answer(said, self._own)
        self._write([reply])
        if isinstance(reply, Welcome):
            self._establish(Identity(said.cluster_id, said.runner_id, _plain(said.software)))
        else:
            log.warning("a peer was turned away: %s", reply.message)
            self.close()

    def _establish(self, peer: Identity) -> None:
        self.peer = peer
        self.phase = Phase.OPEN
        self._decoder.establish()
        self._set_timer(self._settings.heartbeat, self._beat)
        if not self._greeted.done():
            self._greeted.set_result(None)

    def _greeting_took_too_long(self) -> None:
        self.break_off(f"no handshake within {self._settings.handshake_timeout} s")

    # Envelopes.

    def _take(self, data: bytes) -> None:
        batch = self._decoder.feed(data)
        if batch:
            try:
                self._user.on_batch(batch)
            except MalformedMessage as error:
                self.break_off(str(error))
            self.flush()  # answers that were there at once need not wait for the end of the pass
        if self._decoder.broken is not None:
            self.break_off(str(self._decoder.broken))

    def _write(self, envelopes: list[Envelope]) -> None:
        data, unsendable = encode(envelopes)
        if data:
            self._send(data)
        for refused in unsendable:
            self._user.on_unsendable(refused)
        if self.choked:
            self._check_unread()

    def _send(self, data: bytes) -> None:
        """Hands the bytes to the kernel now, where none are ahead of them: uvloop alone does it after the pass."""
        transport = self._transport
        assert transport is not None
        if self._socket != NO_SOCKET and not transport.get_write_buffer_size() and not transport.is_closing():
            try:
                sent = os.write(self._socket, data)
            except OSError:
                sent = 0  # full, or broken, which the transport finds out by itself
            if sent == len(data):
                return
            data = data[sent:]
        transport.write(data)

    def _check_unread(self) -> None:
        assert self._transport is not None
        limit, patience_s = self._settings.unsent_bytes_limit, self._settings.heartbeat
        if self._transport.get_write_buffer_size() > limit and self._loop.time() - self._choked_at > patience_s:
            self.break_off(f"the peer left more than {limit} bytes unread")

    # Life and end.

    def _beat(self) -> None:
        self._set_timer(self._settings.heartbeat, self._beat)
        if self.choked:
            self._check_unread()
        last_round, self._round_at = self._round_at, self._loop.time()
        if self._heard_at >= last_round:
            self._silent_rounds = 0
            return
        self._silent_rounds += 1
        if self._silent_rounds > math.ceil(self._settings.silence_max / self._settings.heartbeat):
            self.break_off(f"nothing was heard of the peer for {self.silent_s:.1f} s")
        else:
            self.put(Ping())

    def _end(self, why: str) -> None:
        if self.phase is Phase.ENDED:
            return
        was_open = self.phase is Phase.OPEN
        self.phase = Phase.ENDED
        self.why = why
        self._cancel_timer()
        self._out = []
        if not self._greeted.done():
            self._greeted.set_result(RunnerUnavailable(why))
        self._user.on_end(why, was_open=was_open)

    def _set_timer(self, seconds: float, act: Callable[[], object]) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, act)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _socket_of(transport: asyncio.Transport) -> int:
    """The descriptor that plain bytes may be written to past the transport; NO_SOCKET where it encrypts them."""
    connected = transport.get_extra_info("socket")
    if connected is None or transport.get_extra_info("sslcontext") is not None:
        return NO_SOCKET
    return int(connected.fileno())


def _plain(said: str) -> str:
    """What a peer calls itself, as it can stand in a log: on one line, and without control characters."""
    return said if said.isprintable() else "".join(one if one.isprintable() else "?" for one in said)
