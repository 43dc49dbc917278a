"""Frames: four bytes of length, then a msgpack list of envelopes. Nothing here waits, reads or writes.

All envelopes of one pass of the event loop go out as one frame, encoded by one call and written by one. Coming in,
the decoder takes bytes as they happen to arrive and gives back whole envelopes, the same ones however the bytes
were split. It holds no more than one unfinished frame, and grows only by bytes that have really arrived: a length
or a count that is merely claimed costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from holdfast.errors import MalformedMessage
from holdfast.model.envelope import (
    Accepted,
    Call,
    Cancel,
    DeclaredError,
    Failure,
    Request,
    Result,
    StreamCredit,
    StreamEnd,
    StreamItem,
    StreamOpen,
)

from .hello import HELLO_BYTES_MAX, Hello, Refusal, Welcome


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """Asks for a sign of life."""


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=5, gc=False):
    """The sign."""


class GoAway(msgspec.Struct, frozen=True, array_like=True, tag=6, gc=False):
    """The sender takes nothing new; what it was asked before is still answered."""

    message: str


Envelope = (
    Hello | Welcome | Refusal | Ping | Pong | GoAway
    | Call | Request | StreamOpen | StreamCredit | Cancel
    | Result | DeclaredError | Accepted | Failure | StreamItem | StreamEnd
)  # fmt: skip

FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""Part of the protocol, as both sides must agree: several of the largest payloads (1 MiB by default) fit in."""
FRAME_ENVELOPES_MAX: Final = 1024
"""Part of the protocol too; more are sent in several frames."""

_HEADER_BYTES: Final = 4
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
_UNWRITABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Envelope]).decode


class Unsendable(NamedTuple):
    """An envelope that can't be put into a frame, and why."""

    envelope: Envelope
    why: str


def encode(envelopes: Sequence[Envelope], *, bytes_max: int = FRAME_BYTES_MAX) -> tuple[bytes, list[Unsendable]]:
    """The envelopes as frames of at most `bytes_max` bytes each, and those that no frame can hold."""
    try:
        body = _encode(envelopes)
    except _UNWRITABLE as error:
        return _encode_halves(envelopes, bytes_max, f"it can't be encoded: {error}")
    if len(body) > bytes_max:
        return _encode_halves(envelopes, bytes_max, f"it takes {len(body)} bytes, and a frame at most {bytes_max}")
    return len(body).to_bytes(_HEADER_BYTES, "big") + body, []


def _encode_halves(envelopes: Sequence[Envelope], bytes_max: int, why: str) -> tuple[bytes, list[Unsendable]]:
    if len(envelopes) == 1:
        return b"", [Unsendable(envelopes[0], why)]
    middle = len(envelopes) // 2
    first, first_unsendable = encode(envelopes[:middle], bytes_max=bytes_max)
    second, second_unsendable = encode(envelopes[middle:], bytes_max=bytes_max)
    return first + second, first_unsendable + second_unsendable


class FrameDecoder:
    """Envelopes out of bytes.

    Until `establish` is called it takes the frames of the handshake only: small ones, of one envelope, one at a
    time. `broken` says why the stream of bytes can't be read any further; what came before it was still returned.
    """

    __slots__ = ("_bytes_max", "_envelopes_max", "_handshake", "_held", "broken")

    def __init__(self) -> None:
        self._held = bytearray()
        self._bytes_max = HELLO_BYTES_MAX
        self._envelopes_max = 1
        self._handshake = True
        self.broken: MalformedMessage | None = None

    def establish(self) -> None:
        """The handshake is over: from now on frames of any kind, up to the protocol's bounds."""
        self._bytes_max = FRAME_BYTES_MAX
        self._envelopes_max = FRAME_ENVELOPES_MAX
        self._handshake = False

    @property
    def held_bytes(self) -> int:
        """How much of an unfinished frame is waiting for the rest."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Envelope]:
        """The envelopes that these bytes complete. Never raises; see `broken`."""
        if self.broken is not None:
            return []
        if not self._held:
            taken, found = self._parse(data)
            if taken < len(data):
                self._held += data[taken:]
            return found
        self._held += data
        taken, found = self._parse(self._held)
        if taken:
            del self._held[:taken]
        return found

    def _parse(self, data: bytes | bytearray) -> tuple[int, list[Envelope]]:
        """How many bytes of `data` whole frames took, and the envelopes in them."""
        start, size = 0, len(data)
        found: list[Envelope] = []
        while size - start >= _HEADER_BYTES:
            body = start + _HEADER_BYTES
            end = body + int.from_bytes(data[start:body], "big")
            if end - body > self._bytes_max:
                self._break(f"a frame of {end - body} bytes, where {self._bytes_max} are allowed")
                break
            if end > size:
                break
            batch = self._read(data[body:end])
            if batch is None:
                break
            if found:
                found += batch
            else:
                found = batch
            start = end
            if self._handshake:
                break
        return (size, found) if self.broken else (start, found)

    def _read(self, body: bytes | bytearray) -> list[Envelope] | None:
        count = _declared_count(body)
        if count > self._envelopes_max:
            self._break(f"a frame of {count} envelopes, where {self._envelopes_max} are allowed")
            return None
        try:
            return _decode(body)
        except _UNREADABLE as error:
            self._break(f"a frame that can't be read: {error}")
            return None

    def _break(self, why: str) -> None:
        self.broken = MalformedMessage(f"the peer sent {why}")


def _declared_count(body: bytes | bytearray) -> int:
    """The length that the msgpack list at the start claims; 0 where there is no list."""
    first = body[0] if body else 0
    if first & 0xF0 == 0x90:
        return first & 0x0F
    if first == 0xDC:
        return int.from_bytes(body[1:3], "big")
    if first == 0xDD:
        return int.from_bytes(body[1:5], "big")
    return 0
