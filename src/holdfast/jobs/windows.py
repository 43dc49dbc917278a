"""Which available jobs are held in memory: a bounded window per shard and priority, refilled by the store's index.

As long as everything available fits, every job goes straight to its queue and the store is never read. Once a window
is full, later jobs stay in the store; `cursor` marks the id up to which the window holds all there is, and when the
window has run half empty the next page is read from there.

A job below the cursor that stays in the store (a retry of an old job that finds the window full) pulls the cursor
back. A page may then show jobs that are held already: they are passed over by their ids.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from holdfast.model.job import PRIORITIES, JobRow

END = 2**63 - 1
PAGE_MAX = 128
"""Rows that are read at a time: all else waits while they are taken up."""

ReadPage = Callable[[int, int, int, int], Awaitable[Sequence[JobRow]]]
"""Shard, priority, after which id, how many at most."""
FindFilled = Callable[[Collection[tuple[int, int, int]]], Awaitable[Collection[tuple[int, int]]]]
"""Of shards, priorities, after which id: those for which a page would not be empty."""


def _nothing() -> None: ...


class Window:
    """Available jobs of one shard and priority."""

    __slots__ = ("cursor", "held", "more", "priority", "shard")

    def __init__(self, shard: int, priority: int) -> None:
        self.shard = shard
        self.priority = priority
        self.held = 0
        self.cursor = 0
        self.more = True
        """The store has, or may have, available jobs that are not held."""

    def admits(self, job: int, size_max: int) -> bool:
        """Whether a job that has become available is to be held; it counts as held then."""
        if self.more or self.held >= size_max:
            self.cursor = min(self.cursor, job - 1) if self.more else job - 1
            self.more = True
            return False
        self.held += 1
        return True


class Windows:
    """The windows of the owned shards."""

    def __init__(self, *, size_max: int, find: FindFilled, read: ReadPage, hold: Callable[[JobRow], None]) -> None:
        """`hold` takes a row that was read; where it is held now (it may be already) it says `returned`."""
        self._size_max = size_max
        self._find = find
        self._read = read
        self._hold = hold
        self._windows: dict[tuple[int, int], Window] = {}
        self._hungry: list[Window] = []
        self.wanted: Callable[[], None] = _nothing
        """Called when a window is to be read though nothing else has happened."""

    def own(self, shards: Collection[int]) -> None:
        """These shards' windows are to be filled."""
        for shard in shards:
            for priority in range(len(PRIORITIES)):
                window = self._windows[shard, priority] = Window(shard, priority)
                self._hungry.append(window)

    def disown(self, shards: Collection[int]) -> None:
        """These shards are somebody else's."""
        self._windows = {place: window for place, window in self._windows.items() if window.shard not in shards}
        self._hungry = [window for window in self._hungry if window.shard not in shards]

    def admits(self, row: JobRow) -> bool:
        """Whether a job that has become available is to be held."""
        window = self._windows.get((row.shard, row.priority))
        if window is None:
            return False
        admitted = window.admits(row.id, self._size_max)
        if not admitted and window.held == 0:
            self._ask(window)
        return admitted

    def complete(self, row: JobRow) -> bool:
        """Whether the window that the job belongs to holds all there is."""
        window = self._windows.get((row.shard, row.priority))
        return window is not None and not window.more

    def left(self, row: JobRow) -> None:
        """A held job started or was taken away."""
        window = self._windows.get((row.shard, row.priority))
        if window is None:
            return
        window.held -= 1
        if window.more and window.held * 2 <= self._size_max:
            self._ask(window)

    def returned(self, row: JobRow) -> None:
        """A job that had left is held again: it could not be started."""
        window = self._windows.get((row.shard, row.priority))
        if window is not None:
            window.held += 1

    def read_again(self, shard: int, priority: int, job: int) -> None:
        """There is room now for what was passed over, from this job on."""
        window = self._windows.get((shard, priority))
        if window is not None:
            window.cursor, window.more = min(window.cursor, job - 1) if window.more else job - 1, True
            self._ask(window)
            self.wanted()

    @property
    def hungry(self) -> bool:
        """Whether some window should be refilled."""
        return bool(self._hungry)

    async def refill(self) -> None:
        """Reads the next page of each window that asked before. Raises PersistenceError; those left ask again.

        Where many ask, most are empty: a runner's first shards, or those of one that has died. [M] A page for each of
        them took longer than all else that there is to read of a shard.
        """
        if len(self._hungry) > 1:
            await self._pass_over_empty()
        for window in tuple(self._hungry):
            if window in self._hungry:
                await self._load(window)
            if window not in self._hungry:
                continue  # it was given away meanwhile
            self._hungry.remove(window)
            if window.more and window.held * 2 <= self._size_max:
                self._ask(window)

    async def _pass_over_empty(self) -> None:
        asking = {(window.shard, window.priority): (window, window.cursor) for window in self._hungry}
        for window, _ in asking.values():
            window.cursor, window.more = END, True  # as when a page is read
        filled: Collection[tuple[int, int]] = asking
        try:
            filled = await self._find([(*place, after) for place, (_, after) in asking.items()])
        finally:
            for place in filled:
                window, after = asking[place]
                window.cursor = min(window.cursor, after)
        for place, (window, _) in asking.items():
            if place not in filled and window.cursor == END:
                window.more = False
        self._hungry = [window for window in self._hungry if window.more]

    def _ask(self, window: Window) -> None:
        if window not in self._hungry:
            self._hungry.append(window)

    async def _load(self, window: Window) -> None:
        after, limit = window.cursor, min(max(1, self._size_max - window.held), PAGE_MAX)
        window.cursor, window.more = END, True  # whatever becomes available from now on pulls it back
        try:
            rows = await self._read(window.shard, window.priority, after, limit)
        except BaseException:
            window.cursor = min(window.cursor, after)
            raise
        for row in rows:
            self._hold(row)
        if len(rows) == limit:
            window.cursor = min(window.cursor, rows[-1].id)
        window.more = window.cursor < END
