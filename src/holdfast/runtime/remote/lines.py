"""One line per entity for what this process sends durably, so that it is handled in the order it was sent.

Of a line at most one batch is on its way: what is sent in one pass of the event loop. What comes later waits until all
of the batch is answered. Messages whose connection broke, or whom the runner refused for now, keep their ids and are
sent again, in their order and before anything later, marked as retries so that the owner looks them up. To whom a batch
goes is looked up for each, so a line follows its entity when that moves.

Where the owner does not answer, one-way messages at the head of a line go into the inbox; the line remembers the last
one, and what it sends directly afterwards names it (`after`), so that the owner takes the inbox first. A message whose
sender waits for the reply is not left there: it waits for an owner, inside its deadline. Left behind, it would be
handled after its sender had been told that nobody answers; and it gains nothing, since a dead owner is soon replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from time import perf_counter
from typing import Final

from holdfast.errors import FencedOut, HoldfastError, MailboxFull, RpcClientError, RunnerUnavailable, SendTimeout
from holdfast.kit.deadlines import DeadlineWheel
from holdfast.kit.ids import IdPool
from holdfast.kit.tasks import TaskOwner
from holdfast.model.address import Address
from holdfast.model.envelope import FOLLOWS, ONE_WAY, RETRY, Call, Reply
from holdfast.model.ids import micros
from holdfast.ports.transport import Peer

from .link import NOT_EXECUTED
from .links import Link, Links

BATCH_MAX: Final = 256
"""Messages of one line that may be on their way together."""
PAUSE_S: Final = 0.02
"""Seconds after which a line tries again that met a full window, or a runner that is not ready."""

AGAIN = (*NOT_EXECUTED, RpcClientError, FencedOut)
"""After these a durable message is sent again: it was not executed, or its id will tell."""


class Left:
    """In the place of a reply: the message is in the inbox."""


LEFT: Final = Left()

Leave = Callable[[Call], "asyncio.Future[None]"]


class Waiting:
    """A message in its line, before it is on its way."""

    __slots__ = ("call", "deadline", "sent")

    def __init__(self, call: Call, deadline: float, sent: asyncio.Future[asyncio.Future[Reply] | Left]) -> None:
        self.call = call
        self.deadline = deadline
        self.sent = sent


class Line:
    """What one entity is sent.

    `peer`: to whom what is on its way was sent; `batch`: the pass in which it was. `after`: the last message that was
    left in the inbox and may still be there, `left_by` how many writes into it there had been then.
    """

    __slots__ = ("after", "batch", "failed", "leaving", "left_by", "peer", "resting", "shard", "unconfirmed", "waiting")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.unconfirmed = 0
        self.peer: Peer | None = None
        self.batch = 0
        self.after = 0
        self.left_by = 0
        self.leaving = False
        self.resting = False
        self.failed: list[Waiting] = []
        self.waiting: list[Waiting] = []

    @property
    def idle(self) -> bool:
        return not (self.unconfirmed or self.waiting or self.leaving)


class Lines:
    """All lines of a process."""

    def __init__(
        self,
        *,
        links: Links,
        shard_of: Callable[[str, str], int],
        leave: Leave,
        writes: Callable[[], int],
        ids: IdPool,
        wheel: DeadlineWheel,
    ) -> None:
        """`leave` puts a message into the inbox; `writes` counts the writes into it."""
        self._links = links
        self._shard_of = shard_of
        self._leave = leave
        self._writes = writes
        self._ids = ids
        self._wheel = wheel
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskOwner("holdfast-lines")
        self._lines: dict[Address, Line] = {}
        self._stalled: dict[Address, Line] = {}
        self._pass = 0
        self._passing = False

    def __contains__(self, address: Address) -> bool:
        """Whether something sent here has not been answered, or may still be in the inbox."""
        return address in self._lines

    async def deliver(self, address: Address, call: Call, timeout_s: float) -> Reply | Left:
        """Sends the message until it is answered, or left in the inbox.

        Raises what the owner refused it with; RunnerUnavailable or SendTimeout at the deadline.
        """
        line = self._lines.get(address)
        if line is None:
            line = self._lines[address] = Line(self._shard_of(*address))
        deadline = perf_counter() + timeout_s
        sent: asyncio.Future[Reply] | Left | None = self._send_now(line, call)
        while True:
            if sent is None:
                sent = await self._turn(address, line, call, deadline, timeout_s)
            if isinstance(sent, Left):
                return sent
            try:
                reply = await sent
            except AGAIN:
                waiting = self._failed(address, line, call, deadline)
                sent = await self._turn_of(address, line, waiting, timeout_s)
                continue
            except BaseException:
                self._confirmed(address, line)
                raise
            line.after = 0
            self._confirmed(address, line)
            return reply

    def changed(self) -> None:
        """The way to some runner has come, gone, or turned elsewhere: what is stalled looks again."""
        stalled, self._stalled = self._stalled, {}
        for address, line in stalled.items():
            self._proceed(address, line)

    def inbox_taken(self, shards: Collection[int], writes: int) -> None:
        """The owners of these shards have taken what the first so many writes left there: nobody has to name it."""
        for address, line in list(self._lines.items()):
            if line.left_by <= writes and line.shard in shards:
                line.after = 0
                if line.idle:
                    del self._lines[address]

    async def stop(self) -> None:
        await self._tasks.stop()
        stopped = RunnerUnavailable("this process is stopping")
        for line in self._lines.values():
            for waiting in line.waiting + line.failed:
                if not waiting.sent.done():
                    waiting.sent.set_exception(stopped)
                    waiting.sent.exception()

    # Sending.

    def _send_now(self, line: Line, call: Call) -> asyncio.Future[Reply] | None:
        """Sends at once, where the line is free or its batch still open; None where the message has to wait."""
        if line.unconfirmed and (line.batch != self._pass or not self._passing or line.unconfirmed >= BATCH_MAX):
            return None
        if line.waiting or line.failed or line.leaving or line.resting:
            return None
        peer = self._links.toward(line.shard).current
        if peer is None or (line.unconfirmed and peer is not line.peer):
            return None
        call.message_id = number = self._ids.take_now()
        if not number:
            return None
        call.after = line.after
        if line.unconfirmed:
            call.flags |= FOLLOWS
        try:
            sent = peer.call(call)
        except RunnerUnavailable:
            call.flags &= ~FOLLOWS
            return None
        line.peer = peer
        line.unconfirmed += 1
        if not self._passing:
            self._passing = True
            self._pass += 1
            self._loop.call_soon(self._end_pass)
        line.batch = self._pass
        return sent

    def _end_pass(self) -> None:
        self._passing = False

    async def _turn(
        self, address: Address, line: Line, call: Call, deadline: float, timeout_s: float
    ) -> asyncio.Future[Reply] | Left:
        """Waits in line until the message is on its way."""
        waiting = Waiting(call, deadline, self._loop.create_future())
        line.waiting.append(waiting)
        self._proceed(address, line)
        return await self._turn_of(address, line, waiting, timeout_s)

    async def _turn_of(
        self, address: Address, line: Line, waiting: Waiting, timeout_s: float
    ) -> asyncio.Future[Reply] | Left:
        left_s = waiting.deadline - perf_counter()
        timer = self._wheel.after(max(0.0, left_s), lambda: self._give_up(line, waiting, timeout_s))
        try:
            return await waiting.sent
        except HoldfastError:
            self._proceed(address, line)
            raise
        except asyncio.CancelledError:
            self._withdraw(address, line, waiting)
            raise
        finally:
            timer.cancel()

    def _withdraw(self, address: Address, line: Line, waiting: Waiting) -> None:
        """Its sender was cancelled, perhaps in the very pass in which it was sent."""
        sent = waiting.sent
        if sent.cancelled() or sent.exception() is not None:
            self._proceed(address, line)
        elif isinstance(reply := sent.result(), asyncio.Future):
            reply.cancel()
            self._confirmed(address, line)

    def _failed(self, address: Address, line: Line, call: Call, deadline: float) -> Waiting:
        """The message will be sent again, once all of its batch has been answered."""
        call.flags |= RETRY
        waiting = Waiting(call, deadline, self._loop.create_future())
        line.failed.append(waiting)
        self._links.astray()
        if self._links.toward(line.shard).peer is not None:  # refused for now: not asked again at once
            self._rest(address, line)
        self._confirmed(address, line)
        return waiting

    def _rest(self, address: Address, line: Line) -> None:
        if not line.resting:
            line.resting = True
            self._loop.call_later(PAUSE_S, self._rested, address, line)

    def _rested(self, address: Address, line: Line) -> None:
        line.resting = False
        self._proceed(address, line)

    def _confirmed(self, address: Address, line: Line) -> None:
        """One message less is on its way."""
        line.unconfirmed -= 1
        if line.unconfirmed:
            return
        if line.failed:
            line.failed.sort(key=_id_of)
            line.waiting = line.failed + line.waiting
            line.failed = []
        if line.waiting:
            self._proceed(address, line)
        elif not line.after:
            self._forget(address, line)

    def _forget(self, address: Address, line: Line) -> None:
        """Nothing of it is left; another one may have taken its place since."""
        if self._lines.get(address) is line:
            del self._lines[address]

    def _proceed(self, address: Address, line: Line) -> None:
        """Sends the next batch, or leaves what may be left, or waits for better times."""
        if line.unconfirmed or line.leaving or line.resting:
            return
        line.waiting = [waiting for waiting in line.waiting if not waiting.sent.done()]
        if not line.waiting:
            if not line.after:
                self._forget(address, line)
            return
        link = self._links.toward(line.shard)
        if link.peer is not None:
            self._send_batch(address, line, link)
        else:
            self._wait_or_leave(address, line, link)

    def _wait_or_leave(self, address: Address, line: Line, link: Link) -> None:
        link.open()
        self._links.astray()
        if link.unreachable:
            self._leave_head(address, line)
        else:
            self._stalled[address] = line

    def _send_batch(self, address: Address, line: Line, link: Link) -> None:
        peer, now = link.peer, perf_counter()
        waiting, line.waiting = line.waiting, []
        for place, next_one in enumerate(waiting):
            call = next_one.call
            if not call.message_id:
                call.message_id = self._ids.take_now()
            if peer is None or not call.message_id or line.unconfirmed >= BATCH_MAX:
                line.waiting = waiting[place:]
                break
            call.after = line.after
            call.flags = call.flags | FOLLOWS if line.unconfirmed else call.flags & ~FOLLOWS
            call.timeout_us = micros(max(next_one.deadline - now, 0.001))
            try:
                sent = peer.call(call)
            except MailboxFull:  # the window to the runner: what was sent before is answered first
                line.waiting = waiting[place:]
                self._rest(address, line)
                return
            except RunnerUnavailable:
                line.waiting = waiting[place:]
                break
            line.unconfirmed += 1
            line.peer = peer
            next_one.sent.set_result(sent)
        if line.waiting and not line.unconfirmed:
            self._stall(address, line, link)

    def _stall(self, address: Address, line: Line, link: Link) -> None:
        """Nothing of the line could be sent: for want of ids, or of a runner."""
        if not line.waiting[0].call.message_id and link.peer is not None:
            self._tasks.start(self._fill_ids(address, line), name="ids")
        else:
            self._wait_or_leave(address, line, link)

    async def _fill_ids(self, address: Address, line: Line) -> None:
        try:
            await self._ids.fill()
        except HoldfastError as error:
            for waiting in line.waiting:
                if not waiting.call.message_id and not waiting.sent.done():
                    waiting.sent.set_exception(error)
        self._proceed(address, line)

    # The inbox.

    def _leave_head(self, address: Address, line: Line) -> None:
        """Leaves the one-way messages at the head of the line; the first that waits for a reply stops it."""
        head: list[Waiting] = []
        for waiting in line.waiting:
            if not waiting.call.flags & ONE_WAY or len(head) == BATCH_MAX:
                break
            waiting.call.flags |= RETRY  # from here on it may be there, whatever its sender is told
            head.append(waiting)
        if head:
            line.leaving = True
            line.waiting = line.waiting[len(head) :]
            self._tasks.start(self._leave_all(address, line, head), name="inbox")
        else:
            self._stalled[address] = line

    async def _leave_all(self, address: Address, line: Line, head: list[Waiting]) -> None:
        try:
            for waiting in head:
                if not waiting.call.message_id:
                    waiting.call.message_id = await self._ids.take()
            writes = [self._leave(waiting.call) for waiting in head]
            await asyncio.wait(writes)
            for waiting, written in zip(head, writes, strict=True):
                error = written.exception()
                if error is None:
                    line.after, line.left_by = waiting.call.message_id, self._writes()
                if waiting.sent.done():
                    continue
                if error is None:
                    waiting.sent.set_result(LEFT)
                else:
                    waiting.sent.set_exception(error)
        except HoldfastError as error:
            for waiting in head:
                if not waiting.sent.done():
                    waiting.sent.set_exception(error)
        finally:
            line.leaving = False
            self._proceed(address, line)

    def _give_up(self, line: Line, waiting: Waiting, timeout_s: float) -> None:
        if waiting.sent.done():
            return
        link = self._links.toward(line.shard)
        if waiting.call.flags & RETRY:
            error: HoldfastError = SendTimeout(f"no reply within {timeout_s:g} s; it may go on, ask with the same key")
        elif link.peer is None:
            error = RunnerUnavailable(f"no runner answered within {timeout_s:g} s: {link.why}")
        else:
            error = SendTimeout(f"{timeout_s:g} s passed before the messages ahead of it were answered", executed="no")
        waiting.sent.set_exception(error)


def _id_of(waiting: Waiting) -> int:
    return waiting.call.message_id
