"""The engine's two loops: what has come due and can start; and beside it what has to be read from the store.

A round is asked for by `wake`, or by the schedule's next moment, and reads nothing: what can start does not wait for
the pages of what can't yet. [M] while it did, a critical job beside a backlog waited for them, too.

A loop's pass that fails is logged, and the next one comes a little later; nothing it had taken in hand is lost, since
the store has it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from holdfast.kit.deadlines import Deadline

from .dispatch import Dispatcher
from .intake import Intake
from .surroundings import Surroundings

LOOK_AGAIN_S = 60.0
"""Longest sleep before the wall clock is looked at again: an operator may have set it."""
AFTER_FAILURE_S = 0.5

log = logging.getLogger(__name__)


class Rounds:
    """Runs both until it is cancelled."""

    def __init__(self, around: Surroundings) -> None:
        self._clock = around.clock
        self._wheel = around.wheel
        self._asked = asyncio.Event()
        self._hungry = asyncio.Event()
        self._alarm: Deadline | None = None
        self._alarm_at = 0
        self.wake = self._asked.set
        self.ready = asyncio.Event()
        """What is available has been read, as far as there is room for it."""

    def look_again(self) -> None:
        """More has become available in the store: it is ready once that is read."""
        self.ready.clear()
        self._hungry.set()

    async def run(self, intake: Intake, dispatcher: Dispatcher) -> None:
        self.wake()
        self.look_again()
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._repeat(self._asked, lambda: self._round(intake, dispatcher)))
                loops.create_task(self._repeat(self._hungry, lambda: self._refill(intake)))
        finally:
            self._silence()

    async def _repeat(self, asked: asyncio.Event, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asked.wait()
            asked.clear()
            try:
                await act()
            except Exception:
                log.exception("the job engine could not go on; it tries again")
                asked.set()
                await asyncio.sleep(AFTER_FAILURE_S)

    async def _round(self, intake: Intake, dispatcher: Dispatcher) -> None:
        now_us = self._clock.now_us()
        intake.come_due(now_us)
        await dispatcher.start_waiting()
        later_unread, next_at = intake.schedule.hungry(now_us), intake.schedule.next_at()
        if later_unread or intake.windows.hungry:
            self._hungry.set()  # a round follows it
        if next_at is not None and not later_unread:
            self._set_alarm(next_at)

    async def _refill(self, intake: Intake) -> None:
        now_us = self._clock.now_us()
        intake.come_due(now_us)
        while intake.schedule.hungry(now_us):
            await intake.refill_schedule()
            intake.come_due(now_us)
        if intake.windows.hungry:
            await intake.refill_windows()
        self.ready.set()
        self.wake()

    def _set_alarm(self, at_us: int) -> None:
        if self._alarm is not None and self._alarm.pending and self._alarm_at == at_us:
            return
        self._silence()
        pause_s = min(max((at_us - self._clock.now_us()) / 1e6, 0.0), LOOK_AGAIN_S)
        self._alarm, self._alarm_at = self._wheel.after(pause_s, self.wake), at_us

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
