"""What is due later: delayed jobs and retries, soonest first.

The soonest are held in memory, in a bounded heap; `horizon` says up to which moment it holds all there are. Beyond it
jobs wait in the store, and the next page is read before the horizon is reached.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Sequence

from holdfast.model.job import JobRow

from .attempt import Held, Phase

ReadUpcoming = Callable[[int, int], Awaitable[Sequence[JobRow]]]
"""Due after which moment, how many at most."""


class Schedule:
    """Held jobs whose time has not come."""

    def __init__(self, *, size_max: int, read: ReadUpcoming) -> None:
        self._size_max = size_max
        self._read = read
        self._heap: list[tuple[int, int, Held]] = []
        self._horizon = 0
        self._more = True
        self._loading = False

    def admits(self, due_at: int) -> bool:
        """Whether a job due then is to be held; the others are found in the store when their time is near."""
        return self._loading or not self._more or due_at <= self._horizon

    def add(self, held: Held) -> list[Held]:
        """Holds the job until it is due; returns those that had to make room and go on in the store only."""
        heapq.heappush(self._heap, (held.row.due_at, held.row.id, held))
        if len(self._heap) <= 2 * self._size_max or self._loading:
            return []
        return self._shrink()

    def next_at(self) -> int | None:
        """When something is to be done, in microseconds since the epoch; None while nothing is scheduled."""
        first = self._heap[0][0] if self._heap else None
        if not self._more:
            return first
        return self._horizon if first is None else min(first, max(self._horizon, 1))

    def due(self, now_us: int) -> list[Held]:
        """Takes out the jobs whose time has come; those that ended meanwhile are dropped."""
        found: list[Held] = []
        passed = self.passed(now_us)
        while self._heap and self._heap[0][0] <= passed:
            held = heapq.heappop(self._heap)[2]
            if held.phase is Phase.DUE_LATER:
                found.append(held)
        return found

    def passed(self, now_us: int) -> int:
        """Up to which moment due jobs have been handed over, or are held here."""
        return min(now_us, self._horizon) if self._more else now_us

    def hungry(self, now_us: int) -> bool:
        """Whether the next page should be read."""
        return self._more and (not self._heap or now_us >= self._horizon)

    async def refill(self, hold: Callable[[JobRow], None]) -> None:
        """Reads the next page; `hold` takes each row, and adds it. Raises PersistenceError."""
        self._loading = True  # what comes in meanwhile is held, wherever the horizon will be
        try:
            rows, whole = await self._page()
            for row in rows:
                hold(row)
        finally:
            self._loading = False
        self._more = not whole
        if rows:
            self._horizon = max(self._horizon, rows[-1].due_at)

    async def _page(self) -> tuple[Sequence[JobRow], bool]:
        """A page that does not end between jobs of one moment, which `due after` could not tell apart."""
        limit = self._size_max
        while True:
            rows = await self._read(self._horizon, limit)
            if len(rows) < limit:
                return rows, True
            kept = [row for row in rows if row.due_at < rows[-1].due_at]
            if kept:
                return kept, False
            limit *= 2

    def begin(self, now_us: int) -> None:
        """From this moment on jobs are due later; what is due already belongs to the windows."""
        self._horizon = now_us

    def _shrink(self) -> list[Held]:
        self._heap.sort()
        horizon = self._heap[self._size_max - 1][0]
        if self._more:
            horizon = min(horizon, self._horizon)
        kept = [entry for entry in self._heap if entry[0] <= horizon]
        gone = [held for due_at, _, held in self._heap if due_at > horizon]
        if gone:
            self._heap, self._horizon, self._more = kept, horizon, True
        return [held for held in gone if held.phase is Phase.DUE_LATER]
