"""Group commit: what comes in during one pass of the loop is committed together.

Items come in one by one with a weight in rows and bytes. When nothing is in flight, a flush starts at the end of the
loop's current pass; while one is in flight, new items gather for the next. There is no timer: at low load an item waits
for nobody, at high load a batch grows by itself, up to a bound in rows and bytes.

The commit is given from outside. It may be finished when it returns (an embedded store commits inline: no task is made,
nothing is awaited), or return an awaitable. One commit is in flight at any time, and items are committed in the order
they came.

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
        self._empty: asyncio.Future[None] | None = None

    def add(self, item: T) -> None:
        """Takes the item into the next flush. Raises Closed after `close`."""
        if self._closed:
            raise Closed("this group commit is closed: nothing more is written")
        self._waiting.append(item)
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

    async def drain(self) -> None:
        """Returns when everything that came has been committed or has failed."""
        while self._busy:
            if self._empty is None:
                self._empty = self._loop.create_future()
            await asyncio.shield(self._empty)  # shared by all who wait: one of them cancelled must not end it

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
        if self._empty is not None:
            self._empty.set_result(None)
            self._empty = None

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

    def _fail(self, batch: Sequence[T], error: BaseException) -> None:
        if len(batch) > 1 and self._splits(error):
            middle = len(batch) // 2
            self._halves.extendleft((batch[middle:], batch[:middle]))
            return
        for item in batch:
            self._tell(item.failed, error)

    def _tell(self, hear: Callable[[BaseException], None], error: BaseException) -> None:
        try:
            hear(error)
        except Exception as raised:
            self._report(raised)

    def _report(self, error: Exception) -> None:
        context: dict[str, Any] = {"message": "an item of a group commit raised", "exception": error}
        self._loop.call_exception_handler(context)
