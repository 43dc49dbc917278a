"""Streams over a connection, with credit: the producer sends what the consumer has said it has room for.

The consumer opens a stream with some credit and grants more as it takes items, in halves of the whole so that
not every item costs an envelope. So no more than the credit is ever under way or held, however slow the consumer is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import assert_never

import msgspec

from holdfast.errors import MalformedMessage
from holdfast.model.envelope import (
    Accepted,
    Cancel,
    DeclaredError,
    Failure,
    Reply,
    Result,
    StreamCredit,
    StreamEnd,
    StreamItem,
)
from holdfast.ports.transport import StreamDeclined

from .calls import loss_error
from .errors import error_of

CREDIT_MAX = 1024
"""Items that a consumer may let be under way; a peer that grants more breaks the protocol."""

_Arriving = Reply | StreamItem | StreamEnd


class IncomingStream:
    """The consumer's end. `send` puts an envelope on the line; `forget` is called once, when the stream is over."""

    def __init__(
        self,
        correlation: int,
        *,
        credit: int,
        send: Callable[[Cancel | StreamCredit], None],
        forget: Callable[[int], None],
    ) -> None:
        self.correlation = correlation
        self._credit = credit
        self._send = send
        self._forget = forget
        self._items: deque[bytes] = deque()
        self._taken = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def __aiter__(self) -> IncomingStream:
        return self

    async def __anext__(self) -> bytes:
        while not self._items:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._ended:
                raise StopAsyncIteration
            await self._arrival()
        self._grant()
        return self._items.popleft()

    def cancel(self) -> None:
        if not self._ended:
            self._send(Cancel(self.correlation))
            self._end(None)
        self._items.clear()

    def arrived(self, envelope: _Arriving) -> None:
        """Takes what the producer sent. Raises MalformedMessage when it sent more than it was allowed."""
        match envelope:
            case StreamItem(payload=payload):
                if len(self._items) + self._taken >= self._credit:
                    raise MalformedMessage(f"the peer sent more than the {self._credit} items that it may")
                self._items.append(payload)
                self._wake()
            case StreamEnd():
                self._end(None)
            case DeclaredError(payload=payload):
                self._end(StreamDeclined(payload))
            case Failure():
                self._end(error_of(envelope))
            case Result() | Accepted():
                self._end(MalformedMessage("a stream was answered as if it were a call"))
            case _:
                assert_never(envelope)

    def lose(self, why: str, *, written: bool) -> None:
        """The connection is gone; items that have arrived are still handed out."""
        self._end(loss_error(why, written=written))

    def fail(self, error: Exception) -> None:
        """The stream could not be opened."""
        self._end(error)

    async def _arrival(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("a stream has one consumer at a time")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _grant(self) -> None:
        """Counts an item as taken, and tells the producer once half the credit is free again."""
        self._taken += 1
        if self._taken * 2 < self._credit or self._ended:
            return
        granted, self._taken = self._taken, 0
        self._send(StreamCredit(self.correlation, granted))

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended, self._error = True, error
        self._forget(self.correlation)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class OutgoingStream:
    """The producer's end."""

    def __init__(
        self,
        correlation: int,
        *,
        credit: int,
        send: Callable[[Reply | StreamItem | StreamEnd], None],
        forget: Callable[[int], object],
    ) -> None:
        self.correlation = correlation
        self._credit = credit
        self._send = send
        self._forget = forget
        self._stopped = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def stopped(self) -> bool:
        return self._stopped

    async def send(self, payload: bytes) -> bool:
        while self._credit <= 0 and not self._stopped:
            await self._room()
        if self._stopped:
            return False
        self._credit -= 1
        self._send(StreamItem(self.correlation, payload))
        return True

    def end(self, outcome: Reply | None = None) -> None:
        if self._stopped:
            return
        self.stop()
        if outcome is None:
            self._send(StreamEnd(self.correlation))
        else:
            self._send(msgspec.structs.replace(outcome, correlation=self.correlation))

    def granted(self, credit: int) -> None:
        """The consumer has room for more. Raises MalformedMessage when it can't have that much."""
        if not 0 < credit <= CREDIT_MAX or self._credit + credit > CREDIT_MAX:
            raise MalformedMessage(f"a credit of {credit} items on a stream, where {CREDIT_MAX} are allowed in all")
        self._credit += credit
        self._wake()

    def stop(self) -> None:
        """Nobody will read any more: the consumer cancelled, or the line broke."""
        self._stopped = True
        self._forget(self.correlation)
        self._wake()

    async def _room(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("a stream has one producer at a time")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
