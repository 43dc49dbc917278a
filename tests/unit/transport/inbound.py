"""A side that answers by the method's name, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

from holdfast.errors import MailboxFull
from holdfast.model.envelope import (
    Accepted,
    Call,
    Cancel,
    DeclaredError,
    Incoming,
    Request,
    Result,
    StreamOpen,
)
from holdfast.ports.transport import Identity, OutgoingStream, Peer
from holdfast.transport import failure_of

IDENTITY = Identity("shop", software="holdfast test")
SECOND_US = 1_000_000


def call(method: str = "echo", payload: bytes = b"\x91\x01", *, timeout_s: float = 10.0) -> Call:
    return Call(0, "Cart", "cart-1", method, payload, round(timeout_s * SECOND_US))


def opening(method: str = "count", *, credit: int = 4) -> StreamOpen:
    return StreamOpen(0, "Cart", "cart-1", method, b"", credit)


class Answering:
    """Answers at once what it can; streams run in tasks of their own until the test ends them."""

    def __init__(self) -> None:
        self.asked: list[Incoming] = []
        self.batches: list[int] = []
        self.lost: list[Peer] = []
        self.sent: list[int] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def on_envelopes(self, peer: Peer, batch: Sequence[Incoming]) -> None:
        self.batches.append(len(batch))
        for envelope in batch:
            self.asked.append(envelope)
            self._answer(peer, envelope)

    def on_lost(self, peer: Peer) -> None:
        self.lost.append(peer)

    @property
    def cancelled(self) -> list[int]:
        return [envelope.correlation for envelope in self.asked if isinstance(envelope, Cancel)]

    def _answer(self, peer: Peer, envelope: Incoming) -> None:
        match envelope:
            case Call(method="echo") | Request():
                peer.send(Result(envelope.correlation, envelope.payload))
            case Call(method="declared"):
                peer.send(DeclaredError(envelope.correlation, b"sold out"))
            case Call(method="store"):
                peer.send(Accepted(envelope.correlation, envelope.message_id, False))
            case Call(method="full"):
                peer.send(failure_of(MailboxFull("1000 wait"), correlation=envelope.correlation))
            case Call(method="huge"):
                peer.send(Result(envelope.correlation, bytes(17 * 1024 * 1024)))
            case Call(method="large"):
                peer.send(Result(envelope.correlation, bytes(256 * 1024)))
            case Call(method="surrogate"):
                peer.send(failure_of(MailboxFull("\ud800"), correlation=envelope.correlation))
            case Call(method="bug"):
                raise ZeroDivisionError
            case StreamOpen():
                self._start(self._produce(envelope, peer.produce(envelope)))
            case _:
                pass

    def _start(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _produce(self, envelope: StreamOpen, stream: OutgoingStream) -> None:
        for number in range(100):
            if not await stream.send(bytes([number])):
                return
            self.sent.append(number)
        match envelope.method:
            case "declared":
                stream.end(DeclaredError(0, b"sold out"))
            case "full":
                stream.end(failure_of(MailboxFull("1000 wait")))
            case _:
                stream.end()
