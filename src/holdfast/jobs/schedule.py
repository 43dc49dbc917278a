"""What is due later: delayed jobs and retries, soonest first.

The soonest are held in memory, in a bounded heap. The horizon, a moment and a job's id, says up to where it holds all
there are: many jobs may be due at one moment. Beyond it jobs wait in the store, and the next page is read before its
moment is reached.

A shard that is adopted comes with what is due later in it up to the horizon; what was due already when it was adopted
belongs to the windows.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence

from holdfast.model.job import JobRow

from .attempt import Held, Phase

ReadUpcoming = Callable[[int, int, int], Awaitable[Sequence[JobRow]]]
"""After which moment and id, how many at most."""

ID_MAX = 2**63 - 1


class Schedule:
    """Held jobs whose time has not come."""

    def __init__(self, *, size_max: int, read: ReadUpcoming) -> None:
        self._size_max = size_max
        self._read = read
        self._heap: list[tuple[int, int, int, Held]] = []
        self._entries = itertools.count()  # what was withdrawn may still be there when it comes back
        self._begun: dict[int, int] = {}
        self._horizon = (0, 0)
        self._more = False
        self._loading = False
        self.reading = asyncio.Lock()
        """Held while pages are read, and by who changes which shards they are read of."""

    def own(self, shards: Collection[int], begun_us: int, page: Sequence[JobRow], *, full: bool) -> list[JobRow]:
        """These shards' jobs are ours from here on; returns those that are to be held of their first `page`.

        The page begins after `begun_us`; it is `full` where the store may have more. To be called under `reading`.
        """
        self._begun.update(dict.fromkeys(shards, begun_us))
        if full:
            last = (page[-1].due_at, page[-1].id)
            self._horizon = min(self._horizon, last) if self._more else last
            self._more = True
        return [row for row in page if not self._is_beyond(row)]

    def disown(self, shards: Collection[int]) -> None:
        """These shards are somebody else's."""
        for shard in shards:
            self._begun.pop(shard, None)
        self._heap = [entry for entry in self._heap if entry[3].row.shard not in shards]
        heapq.heapify(self._heap)
        if not self._begun:
            self._more = False

    def belongs(self, row: JobRow) -> bool:
        """Whether a stored job is the schedule's to bring up, and not the windows'."""
        begun_us = self._begun.get(row.shard)
        return begun_us is not None and row.due_at > begun_us

    def admits(self, row: JobRow) -> bool:
        """Whether a job that is due later is to be held; the others are found in the store when their time is near."""
        return self._loading or not self._is_beyond(row)

    def add(self, held: Held) -> list[Held]:
        """Holds the job until it is due; returns those that had to make room and go on in the store only."""
        heapq.heappush(self._heap, (held.row.due_at, held.row.id, next(self._entries), held))
        if len(self._heap) <= 2 * self._size_max or self._loading:
            return []
        return self._shrink()

    def counts_as_later(self, row: JobRow, now_us: int) -> bool:
        """Whether a job that is not held has yet to come due here, even if its moment has come."""
        return row.due_at > now_us or (self.belongs(row) and self._is_beyond(row))

    def next_at(self) -> int | None:
        """When something is to be done, in microseconds since the epoch; None while nothing is scheduled."""
        first = self._heap[0][0] if self._heap else None
        if not self._more:
            return first
        return self._horizon[0] if first is None else min(first, self._horizon[0])

    def due(self, now_us: int) -> list[Held]:
        """Takes out the jobs whose time has come; those that ended meanwhile are dropped."""
        found: list[Held] = []
        while self._heap and self._heap[0][0] <= now_us:
            if self._more and self._heap[0][:2] > self._horizon:
                break  # others, in the store, come before it
            held = heapq.heappop(self._heap)[3]
            if held.phase is Phase.DUE_LATER:
                found.append(held)
        return found

    def hungry(self, now_us: int) -> bool:
        """Whether the next page should be read, once what is due has been taken out."""
        if not self._more:
            return False
        return not self._heap or now_us >= self._horizon[0] or self._heap[0][:2] > self._horizon

    async def refill(self, hold: Callable[[JobRow], None]) -> None:
        """Reads the next page; `hold` takes each row, and adds it. Raises PersistenceError."""
        self._loading = True  # what comes in meanwhile is held, wherever the horizon will be
        try:
            rows = await self._read(*self._horizon, self._size_max)
            for row in rows:
                hold(row)
        finally:
            self._loading = False
        self._more = len(rows) == self._size_max
        if rows:
            self._horizon = max(self._horizon, (rows[-1].due_at, rows[-1].id))

    def _is_beyond(self, row: JobRow) -> bool:
        return self._more and (row.due_at, row.id) > self._horizon

    def _shrink(self) -> list[Held]:
        self._heap.sort()
        horizon = self._heap[self._size_max - 1][:2]
        if self._more:
            horizon = min(horizon, self._horizon)
        kept = [entry for entry in self._heap if entry[:2] <= horizon]
        gone = [entry[3] for entry in self._heap[len(kept) :]]
        self._heap, self._horizon, self._more = kept, horizon, True
        return [held for held in gone if held.phase is Phase.DUE_LATER]
