"""Calls that wait for their answers on one connection: numbered, bounded, each with a deadline.

A waiting call is one future in one dictionary. There is no timer per call: the future carries its deadline, and the
loop holds one timer for the earliest of them, which looks through all that wait and is set again for the next. While
calls are answered in time it fires about once per deadline's length, whatever the rate.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from holdfast.errors import HoldfastError, MailboxFull, RpcClientError, RunnerUnavailable, SendTimeout
from holdfast.model.envelope import Asking, Failure, Reply

from .errors import error_of

SWEEP_PAUSE_S = 0.01
"""Seconds between two looks at what waits, at least: how late a deadline may be noticed."""

MICROSECOND = 1e-6


class PendingReply(asyncio.Future[Reply]):
    """An answer that has not come yet; cancelling it tells the peer."""

    __slots__ = ("correlation", "deadline", "on_cancel")

    correlation: int
    deadline: float
    on_cancel: Callable[[int], object]

    def cancel(self, msg: object = None) -> bool:
        if not super().cancel(msg):
            return False
        self.on_cancel(self.correlation)
        return True


class PendingCalls:
    """All calls of one connection that wait. `abandon` is called with the number of each that gave up waiting.

    `pending` is open to the connection, which settles results in the loop in which it finds them.
    """

    __slots__ = ("_abandon", "_last", "_loop", "_on_cancel", "pending", "_sweep_at", "_timer", "_window", "_written")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, window: int, abandon: Callable[[int], object]) -> None:
        self._loop = loop
        self._window = window
        self._abandon = abandon
        self._on_cancel = self._cancelled
        self.pending: dict[int, PendingReply] = {}
        self._last = 0
        self._written = 0
        self._timer: asyncio.TimerHandle | None = None
        self._sweep_at = math.inf

    def __len__(self) -> int:
        return len(self.pending)

    def number(self, others: int) -> int:
        """The next correlation. Raises MailboxFull when the window is full; `others` take up places in it too."""
        if len(self.pending) + others >= self._window:
            raise MailboxFull(f"{self._window} calls and streams of this peer have not ended: the window is full")
        self._last += 1
        return self._last

    def begin(self, asking: Asking, others: int) -> PendingReply:
        """Numbers the question; the future of its answer. Raises MailboxFull as `number`."""
        pending, loop = self.pending, self._loop
        if len(pending) + others >= self._window:
            self.number(others)  # which raises
        self._last = asking.correlation = correlation = self._last + 1
        pending[correlation] = reply = PendingReply(loop=loop)
        reply.correlation = correlation
        reply.on_cancel = self._on_cancel
        reply.deadline = deadline = loop.time() + asking.timeout_us * MICROSECOND
        if deadline < self._sweep_at:
            self._arm(deadline)
        return reply

    def written(self) -> None:
        """All calls so far have been handed to the network: whether they arrive can't be known any more."""
        self._written = self._last

    def settle(self, answer: Reply) -> None:
        """Hands the answer to whoever waits for it; one that comes too late is dropped."""
        reply = self.pending.pop(answer.correlation, None)
        if reply is None or reply.done():
            return
        if isinstance(answer, Failure):
            reply.set_exception(error_of(answer))
        else:
            reply.set_result(answer)

    def fail(self, correlation: int, error: HoldfastError) -> bool:
        """Ends one call with this error; False where nothing waits under this number."""
        reply = self.pending.pop(correlation, None)
        if reply is None:
            return False
        if not reply.done():
            reply.set_exception(error)
        return True

    def lose(self, why: str) -> None:
        """The connection is gone: ends every call, by whether it had left."""
        self._disarm()
        waiting, self.pending = self.pending, {}
        for correlation, reply in waiting.items():
            if not reply.done():
                reply.set_exception(loss_error(why, written=correlation <= self._written))

    def was_written(self, correlation: int) -> bool:
        return correlation <= self._written

    def _cancelled(self, correlation: int) -> None:
        if self.pending.pop(correlation, None) is not None:
            self._abandon(correlation)

    def _arm(self, at: float) -> None:
        self._disarm()
        self._sweep_at = at
        self._timer = self._loop.call_at(at, self._sweep)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._sweep_at = None, math.inf

    def _sweep(self) -> None:
        now = max(self._loop.time(), self._sweep_at)  # the loop may call within its clock's resolution too early
        self._timer, self._sweep_at = None, math.inf
        late = [reply for reply in self.pending.values() if reply.deadline <= now]
        for reply in late:
            self._expire(reply)
        if self.pending:
            earliest = min(reply.deadline for reply in self.pending.values())
            self._arm(max(earliest, now + SWEEP_PAUSE_S))

    def _expire(self, reply: PendingReply) -> None:
        del self.pending[reply.correlation]
        if not reply.done():
            reply.set_exception(SendTimeout("no reply came before the deadline"))
        self._abandon(reply.correlation)


def loss_error(why: str, *, written: bool) -> HoldfastError:
    """What a call ends with when its connection is lost."""
    if written:
        return RpcClientError(f"the connection broke after the message had left: {why}")
    return RunnerUnavailable(f"the connection broke before the message had left: {why}")
