"""One coarse timer for all deadlines of an event loop.

A timer per message costs the loop a heap entry each, and nearly all of them are cancelled before they fire. Here a
deadline goes into the bucket of its tick (10 ms unless said otherwise): adding and cancelling are a dictionary write
each, and the loop holds one timer for the whole wheel, only while there is something to wait for.

Promised: a deadline never fires early and at most one tick late (plus whatever the loop is late); deadlines of one
tick fire in the order they were added; a cancelled one never fires and is let go of at once; a callback that raises
goes to the loop's exception handler and the others still fire. Not promised: order inside one tick by exact time.

When the last deadline is cancelled the armed timer stays, because the next message will want it; it fires once, finds
nothing and is not armed again. Only `loop.time` and `loop.call_at` are used, so virtual time works.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable

TICK_S = 0.01

_Bucket = dict["Deadline", Callable[[], object]]


class Deadline:
    """A pending deadline; `cancel` it when what it guards has happened."""

    __slots__ = ("_bucket",)

    def __init__(self, bucket: _Bucket) -> None:
        self._bucket = bucket

    def cancel(self) -> None:
        """Makes sure the callback is not called any more; harmless when it has been, or twice."""
        self._bucket.pop(self, None)

    @property
    def pending(self) -> bool:
        """Neither fired nor cancelled."""
        return self in self._bucket


class DeadlineWheel:
    """Deadlines of one event loop; all methods belong to its thread."""

    __slots__ = ("_armed", "_buckets", "_due", "_loop", "_per_second", "_ticks", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, tick_s: float = TICK_S) -> None:
        if not 0 < tick_s < math.inf:
            raise ValueError(f"a tick lasts more than 0 s, not {tick_s}")
        self._loop = loop
        self._per_second = 1 / tick_s
        self._buckets: dict[int, _Bucket] = {}
        self._ticks: list[int] = []  # heap of the keys of _buckets
        self._due: list[_Bucket] = []  # being fired just now
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0  # the tick the timer is set for, while there is a timer

    def add(self, at: float, callback: Callable[[], object]) -> Deadline:
        """Calls `callback` once the loop's time has reached `at` (seconds, as `loop.time()`)."""
        tick = math.ceil(at * self._per_second)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._open(tick)
        deadline = Deadline(bucket)
        bucket[deadline] = callback
        return deadline

    def after(self, seconds: float, callback: Callable[[], object]) -> Deadline:
        """The same, counted from now."""
        return self.add(self._loop.time() + seconds, callback)

    def __len__(self) -> int:
        """How many deadlines are pending; counts them, so not for a hot path."""
        return sum(map(len, self._buckets.values()))

    def close(self) -> None:
        """Forgets every deadline, without calling any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for bucket in (*self._buckets.values(), *self._due):
            bucket.clear()
        self._buckets.clear()
        self._ticks.clear()

    def _open(self, tick: int) -> _Bucket:
        bucket: _Bucket = {}
        self._buckets[tick] = bucket
        heapq.heappush(self._ticks, tick)
        if self._timer is None or tick < self._armed:
            self._arm(tick)
        return bucket

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = tick
        self._timer = self._loop.call_at(tick / self._per_second, self._fire)

    def _fire(self) -> None:
        # The loop may call within its clock's resolution before the time asked for: what was armed is due.
        due = max(self._armed, math.floor(self._loop.time() * self._per_second))
        self._timer = None
        # Taken out first: a callback that adds what is already due is served in the loop's next pass, not in this one.
        while self._ticks and self._ticks[0] <= due:
            self._due.append(self._buckets.pop(heapq.heappop(self._ticks)))
        for bucket in self._due:
            self._call_all(bucket)
        self._due.clear()
        self._arm_next()

    def _arm_next(self) -> None:
        while self._ticks and not self._buckets[self._ticks[0]]:  # all cancelled: nothing to wake up for
            del self._buckets[heapq.heappop(self._ticks)]
        if self._ticks and (self._timer is None or self._ticks[0] < self._armed):
            self._arm(self._ticks[0])

    def _call_all(self, bucket: _Bucket) -> None:
        for deadline in list(bucket):
            callback = bucket.pop(deadline, None)  # None: cancelled by one that fired before it
            if callback is None:
                continue
            try:
                callback()
            except Exception as error:
                self._loop.call_exception_handler({"message": "a deadline's callback raised", "exception": error})
