"""Messages whose time has not come: the nearest in memory, the rest in the store.

Holds a bounded number of stored rows, soonest first, and one loop timer for the first. What is due beyond the farthest
row in memory (the horizon) stays in the store and is read once the near ones have gone. Where more is due at one moment
than a page holds, `crowd` is called once that moment has come: what is due is read by its id then.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Collection, Sequence

from holdfast.kit.tasks import TaskOwner
from holdfast.model.ids import SECOND_US
from holdfast.model.message import MessageRow

from .inflight import Inflight, Passed
from .insisting import until_answered
from .shards import Shards
from .surroundings import Surroundings

NEVER = 2**63
SLEEP_S_MAX = 3600.0
HEAP_SLACK = 100
"""Entries of rows that are gone which are not worth a new heap."""


class DueQueue:
    """Calls `deliver` with the rows whose time has come. Rows handed to `add` are stored already."""

    def __init__(
        self,
        around: Surroundings,
        *,
        shards: Shards,
        inflight: Inflight,
        deliver: Callable[[list[MessageRow]], None],
        crowd: Callable[[], None],
    ) -> None:
        self._reader = around.reader
        self._shards = shards
        self._inflight = inflight
        self._deliver = deliver
        self._crowd = crowd
        self._crowded_at = NEVER
        self._clock = around.clock
        self._loop = around.loop
        self._rows_max = around.settings.page_rows
        self._heap: list[tuple[int, int]] = []
        self._rows: dict[int, MessageRow] = {}
        self._names: dict[tuple[str, str, str | None], int] = {}
        self._horizon = NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = TaskOwner("holdfast-due")
        self._refilling = False

    async def adopt(self, shards: Collection[int]) -> None:
        """Reads the nearest rows of shards that have just been taken up."""
        moment = self._shards.moment
        with self._inflight.looking() as passed:
            rows = await self._reader.upcoming(due_after=self._clock.now_us(), limit=self._rows_max, shards=shards)
        self._take_in(rows, passed, moment)
        self._cut_at(self._reached(rows))
        self._trim()
        self._arm()

    def forget(self, shards: Collection[int]) -> None:
        """These shards are somebody else's now."""
        for row in [row for row in self._rows.values() if row.shard in shards]:
            self.remove(row.id)

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._tasks.stop()

    def add(self, row: MessageRow) -> None:
        """A stored row to be delivered at its `due_at`; beyond the horizon the store keeps it for later."""
        if row.id in self._rows:
            return
        if self._refilling:  # the horizon may be about to pass it
            self._push(row)
        elif row.due_at <= self._horizon:
            self._push(row)
            self._trim()
        self._arm()

    def remove(self, message_id: int) -> None:
        """The row is gone from the store, or delivered otherwise."""
        row = self._rows.pop(message_id, None)
        if row is not None:
            self._forget_name(row)

    def named(self, row: MessageRow) -> int | None:
        """The id of the timer in memory that has this one's name."""
        return self._names.get(_name(row))

    def _forget_name(self, row: MessageRow) -> None:
        if row.name is not None and self._names.get(_name(row)) == row.id:
            del self._names[_name(row)]

    @property
    def next_at(self) -> int | None:
        """When the soonest row in memory is due, in microseconds; None where there is none."""
        while self._heap and self._heap[0][1] not in self._rows:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def __len__(self) -> int:
        return len(self._rows)

    def _push(self, row: MessageRow) -> None:
        self._rows[row.id] = row
        if row.name is not None:
            self._names[_name(row)] = row.id
        heapq.heappush(self._heap, (row.due_at, row.id))
        if len(self._heap) > HEAP_SLACK + 2 * len(self._rows):  # mostly timers that were set anew since
            self._heap = [(kept.due_at, kept.id) for kept in self._rows.values()]
            heapq.heapify(self._heap)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        next_at = self.next_at
        if next_at is not None:
            wait_s = (next_at - self._clock.now_us()) / SECOND_US
            self._timer = self._loop.call_later(min(max(wait_s, 0.0), SLEEP_S_MAX), self._fire)
        if self._horizon < (NEVER if next_at is None else next_at) and not self._refilling:
            self._refilling = True  # else what is only in the store would come after what is beyond the horizon here
            self._tasks.start(self._refill(), name="refill")

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.now_us()
        due: list[MessageRow] = []
        while self._heap and self._heap[0][0] <= now:
            row = self._rows.pop(heapq.heappop(self._heap)[1], None)
            if row is not None:
                self._forget_name(row)
                due.append(row)
        if due:
            self._deliver(due)
        if self._crowded_at <= now:
            self._crowded_at = NEVER
            self._crowd()
        self._arm()

    async def _refill(self) -> None:
        """Reads on from the horizon."""
        try:
            with self._inflight.looking() as passed:
                rows, moment = await until_answered(self._read_on)
        finally:
            self._refilling = False
        if moment == self._shards.moment:
            self._horizon = NEVER
        self._cut_at(self._reached(rows))
        self._take_in(rows, passed, moment)
        self._trim()
        self._arm()

    async def _read_on(self) -> tuple[Sequence[MessageRow], int]:
        after, moment = min(self._horizon, self._clock.now_us()), self._shards.moment
        return await self._reader.upcoming(due_after=after, limit=self._rows_max, shards=self._shards.held), moment

    def _take_in(self, rows: Sequence[MessageRow], passed: Passed, moment: int) -> None:
        for row in rows:
            handled = row.id in self._inflight or passed.has(row.id)  # or cancelled, while it was read
            if row.id not in self._rows and not handled and self._shards.held_since(row.shard, moment):
                self._push(row)

    def _reached(self, rows: Sequence[MessageRow]) -> int:
        """Up to where a page of rows by their time is complete."""
        if len(rows) < self._rows_max:
            return NEVER
        first_at, last_at = rows[0].due_at, rows[-1].due_at
        if first_at < last_at:
            return last_at - 1
        self._crowded_at = min(self._crowded_at, last_at)
        return last_at

    def _cut_at(self, horizon: int) -> None:
        """Beyond this memory is not complete."""
        self._horizon = min(self._horizon, horizon)

    def _trim(self) -> None:
        """Forgets the farthest, where there are too many: the store keeps them for later."""
        if len(self._rows) > 2 * self._rows_max:
            by_time = sorted(self._rows.values(), key=lambda row: row.due_at)
            for row in by_time[self._rows_max :]:
                self.remove(row.id)
            self._cut_at(by_time[self._rows_max].due_at - 1)


def _name(row: MessageRow) -> tuple[str, str, str | None]:
    return row.entity_type, row.entity_id, row.name
