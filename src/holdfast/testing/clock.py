"""The clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from holdfast.model.ids import SECOND_US

from .loop import EPOCH_US, LoopClock
from .time import VirtualTime


class VirtualClock(LoopClock):
    """Virtual wall time, from 2026-01-01 00:00 UTC on; the loop's timers and the runner's follow it."""

    __slots__ = ("_caught_up", "_time")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, time: VirtualTime, caught_up: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(loop, origin=loop.time())
        self._time = time
        self._caught_up = caught_up

    @property
    def now(self) -> datetime:
        """What time it is, as an aware datetime."""
        return datetime.fromtimestamp(EPOCH_US / SECOND_US, UTC) + timedelta(microseconds=self.now_us() - EPOCH_US)

    async def advance(self, seconds: float) -> None:
        """Lets so many seconds pass, with all that falls due in them, in its order; returns when it has begun.

        What then still waits for time (a handler that sleeps) goes on waiting: `settle` brings it to its end.
        """
        with self._time.moving():
            await asyncio.sleep(seconds)
            await self._caught_up()
