"""Group commit: what comes in during one pass of the loop is committed together.

Items come in one by one with a weight in rows and bytes. When nothing is in flight, a flush starts at the end of the
loop's current pass; while one is in flight, new items gather for the next. There is no timer: at low load an item waits
for nobody, at high load a batch grows by itself, up to a bound in rows and bytes.

The commit is given from outside. It may be finished when it returns (an embedded store commits inline: no task is made,
nothing is awaited), or return an awaitable. One commit is in flight at any time, and items are committed in the order
they came. `Lanes` are several such queues side by side, where a store can work on several commits at a time, and one
for what is urgent.

When a batch fails with an error that `splits` (some item in it is at fault), it is halved and both halves are tried in
order, down to single items; so the guilty one fails alone. An item is never split: its rows commit together or not at
all. Any other error fails the whole batch.

Every item is told `taken` once, when a flush takes it, then either `committed` or `failed`. What an item raises there
is reported to the loop's exception handler and harms no other item. The queue itself is not bounded: whoever accepts
work bounds it before it gets here, and `waiting` tells how much there is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Sized
from typing import Any, Generic, Protocol, TypeVar

ROWS_MAX = 256
BYTES_MAX = 4 * 1024 * 1024
HELD_S_MAX = 0.02
"""Seconds that what is urgent may hold up the rest."""


class Item(Protocol):
    """Something that is committed as a whole."""

    @property
    def rows(self) -> Sized:
        """What it writes; the number of rows bounds a batch."""
        ...

    @property
    def size_bytes(self) -> int:
        """How much they hold, roughly."""
        ...

    def taken(self) -> None:
        """A flush has taken it: from here on it may be on the disk."""
        ...

    def committed(self) -> None:
        """It is on the disk."""
        ...

    def failed(self, error: BaseException) -> None:
        """Its commit raised this; what that means for the disk is for the error to say."""
        ...


T = TypeVar("T", bound=Item)

Commit = Callable[[Sequence[T]], Awaitable[None] | None]
"""Commits the items in order, as one; None says that it is done."""


class Closed(RuntimeError):
    """An item came after `close`."""


def _never(_: BaseException) -> bool:
    return False


def _nobody() -> None: ...


class GroupCommit(Generic[T]):
    """Gathers items and commits them in batches; all methods belong to the loop's thread."""

    def __init__(
        self,
        commit: Commit[T],
        *,
        loop: asyncio.AbstractEventLoop,
        splits: Callable[[BaseException], bool] = _never,
        rows_max: int = ROWS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        if rows_max < 1 or bytes_max < 1:
            raise ValueError(f"a batch holds at least one row and byte, not {rows_max} and {bytes_max}")
        self._commit = commit
        self._loop = loop
        self._splits = splits
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._waiting: list[T] = []
        self._halves: deque[Sequence[T]] = deque()  # of failed batches, to be tried before anything new
        self._busy = False  # a flush is in flight, or asked for at the end of this pass
        self._closed = False
        self._held = self._stayed = False  # is not to begin a flush, and would have begun one
        self.rested: Callable[[], object] = _nobody
        """Called each time nothing waits any more and no flush is in flight."""
        self._came = self._known = 0  # items so far, and of how many the outcome is known
        self._more_known: asyncio.Future[None] | None = None

    def add(self, item: T) -> None:
        """Takes the item into the next flush. Raises Closed after `close`."""
        if self._closed:
            raise Closed("this group commit is closed: nothing more is written")
        self._waiting.append(item)
        self._came += 1
        if not self._busy:
            self._busy = True
            self._loop.call_soon(self._flush)

    @property
    def waiting(self) -> int:
        """Items that no flush has taken yet."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether something waits for a flush, or a flush is in flight."""
        return self._busy

    @property
    def waiting_bytes(self) -> int:
        """Their bytes; adds them up, so not for a hot path."""
        return sum(item.size_bytes for item in self._waiting)

    def hold(self) -> None:
        """Begins no flush until `go_on`; one in flight goes on."""
        self._held = True

    def go_on(self) -> None:
        """Works without a `hold`."""
        self._held = False
        if self._stayed:
            self._stayed = False
            self._loop.call_soon(self._flush)

    async def settled(self) -> None:
        """Returns when everything that has come until now has been committed or has failed."""
        came = self._came
        while self._busy and self._known < came:
            await self._next_outcome()

    async def drain(self) -> None:
        """Returns when nothing waits any more and no flush is in flight."""
        while self._busy:
            await self._next_outcome()

    async def close(self) -> None:
        """Refuses new items at once and drains. Works twice."""
        self._closed = True
        await self.drain()

    def abandon(self, error: BaseException) -> None:
        """Fails what no flush has taken yet, and closes. A flush in flight keeps its items until it is known."""
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for item in waiting:
            self._tell(item.failed, error)

    def _flush(self) -> None:
        if self._held:
            self._stayed = True
            return
        batch: Sequence[T] = self._halves.popleft() if self._halves else self._take()
        if not batch:
            self._rest()
            return
        try:
            pending = self._commit(batch)
        except Exception as error:
            self._fail(batch, error)
        else:
            if pending is not None:
                self._watch(batch, pending)
                return
            self._succeed(batch)
        self._next()

    def _watch(self, batch: Sequence[T], pending: Awaitable[None]) -> None:
        def settled(future: asyncio.Future[None]) -> None:
            error = asyncio.CancelledError() if future.cancelled() else future.exception()
            if error is None:
                self._succeed(batch)
            else:
                self._fail(batch, error)
            self._next()

        asyncio.ensure_future(pending, loop=self._loop).add_done_callback(settled)

    def _next(self) -> None:
        # Never right away: those who were just told may add what they were waiting to add, in the pass between.
        if self._halves or self._waiting:
            self._loop.call_soon(self._flush)
        else:
            self._rest()

    def _rest(self) -> None:
        self._busy = False
        self._now_known(0)
        self.rested()

    def _take(self) -> list[T]:
        """The longest head of the queue inside the bounds, and at least one item: a large one goes alone."""
        batch, self._waiting = self._waiting, []
        rows = size = 0
        for count, item in enumerate(batch):
            rows += len(item.rows)
            size += item.size_bytes
            if (rows > self._rows_max or size > self._bytes_max) and count:
                batch, self._waiting = batch[:count], batch[count:] + self._waiting
                break
            try:
                item.taken()
            except Exception as error:
                self._report(error)
        return batch

    def _succeed(self, batch: Sequence[T]) -> None:
        for item in batch:
            try:
                item.committed()
            except Exception as error:
                self._report(error)
        self._now_known(len(batch))

    def _fail(self, batch: Sequence[T], error: BaseException) -> None:
        if len(batch) > 1 and self._splits(error):
            middle = len(batch) // 2
            self._halves.extendleft((batch[middle:], batch[:middle]))
            return
        for item in batch:
            self._tell(item.failed, error)
        self._now_known(len(batch))

    async def _next_outcome(self) -> None:
        if self._more_known is None:
            self._more_known = self._loop.create_future()
        await asyncio.shield(self._more_known)  # shared by all who wait: one of them cancelled must not end it

    def _now_known(self, count: int) -> None:
        self._known += count
        told, self._more_known = self._more_known, None
        if told is not None:
            told.set_result(None)

    def _tell(self, hear: Callable[[BaseException], None], error: BaseException) -> None:
        try:
            hear(error)
        except Exception as raised:
            self._report(raised)

    def _report(self, error: Exception) -> None:
        context: dict[str, Any] = {"message": "an item of a group commit raised", "exception": error}
        self._loop.call_exception_handler(context)


class Lined(Item, Protocol):
    """An item that says behind which others it has to stay."""

    @property
    def line(self) -> int:
        """Items of one line are committed in the order they came, those of different lines in any order."""
        ...

    @property
    def urgent(self) -> bool:
        """Goes before all others and stays behind none: its line does not matter."""
        ...


L = TypeVar("L", bound=Lined)


class Lanes(Generic[L]):
    """Several group commits as one: while the store is at one batch, the next of other lines is made and sent.

    What is urgent has one of its own, and while that is busy the others begin no flush, for a moment: [M] beside their
    commits, on the same disk and processors, its own took several times as long.
    """

    def __init__(self, make: Callable[[], GroupCommit[L]], lanes: int, *, loop: asyncio.AbstractEventLoop) -> None:
        """So many lanes, and one more for what is urgent, each from `make`."""
        self._lines = tuple(make() for _ in range(lanes))
        self._urgent = make()
        self._urgent.rested = self._go_on
        self._lanes = (*self._lines, self._urgent)
        self._loop = loop
        self._until: asyncio.TimerHandle | None = None

    def add(self, item: L) -> None:
        """As `GroupCommit.add`."""
        if not item.urgent:
            self._lines[item.line % len(self._lines)].add(item)
            return
        if not self._urgent.busy:  # once in a row: however much is urgent, the rest gets on
            self._hold()
        self._urgent.add(item)

    def _hold(self) -> None:
        for lane in self._lines:
            lane.hold()
        self._until = self._loop.call_later(HELD_S_MAX, self._go_on)

    def _go_on(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None
        for lane in self._lines:
            lane.go_on()

    @property
    def busy(self) -> bool:
        """Whether something waits for a flush, or a flush is in flight."""
        return any(lane.busy for lane in self._lanes)

    async def settled(self) -> None:
        """Returns when everything that has come until now has been committed or has failed."""
        await asyncio.gather(*(lane.settled() for lane in self._lanes))

    async def drain(self) -> None:
        """Returns when nothing waits any more and no flush is in flight."""
        while self.busy:
            await asyncio.gather(*(lane.drain() for lane in self._lanes))

    async def close(self) -> None:
        """Refuses new items at once and drains. Works twice."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))

    def abandon(self, error: BaseException) -> None:
        """As `GroupCommit.abandon`."""
        for lane in self._lanes:
            lane.abandon(error)
