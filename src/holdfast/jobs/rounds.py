"""The engine's one loop: what has come due, what has to be read, what can start.

A round is asked for by `wake`, or by the schedule's next moment. A round that fails is logged, and the next one comes
a little later; nothing it had taken in hand is lost, since the store has it.
"""

from __future__ import annotations

import asyncio
import logging

from holdfast.kit.deadlines import Deadline

from .dispatch import Dispatcher
from .intake import Intake
from .surroundings import Surroundings

LOOK_AGAIN_S = 60.0
"""Longest sleep before the wall clock is looked at again: an operator may have set it."""
AFTER_FAILURE_S = 0.5

log = logging.getLogger(__name__)


class Rounds:
    """Runs rounds until it is cancelled."""

    def __init__(self, around: Surroundings) -> None:
        self._clock = around.clock
        self._wheel = around.wheel
        self._asked = asyncio.Event()
        self._alarm: Deadline | None = None
        self._alarm_at = 0
        self.wake = self._asked.set
        self.ready = asyncio.Event()
        """What is available has been read, as far as there is room for it."""

    async def run(self, intake: Intake, dispatcher: Dispatcher) -> None:
        self.wake()
        try:
            while True:
                await self._asked.wait()
                self._asked.clear()
                try:
                    await self._round(intake, dispatcher)
                except Exception:
                    log.exception("a round of the job engine failed; the next one comes")
                    self._wheel.after(AFTER_FAILURE_S, self.wake)
        finally:
            self._silence()

    async def _round(self, intake: Intake, dispatcher: Dispatcher) -> None:
        now_us = self._clock.now_us()
        intake.come_due(now_us)
        while intake.schedule.hungry(now_us):
            await intake.refill_schedule()
            intake.come_due(now_us)
        if intake.windows.hungry:
            await intake.refill_windows()
        self.ready.set()
        await dispatcher.start_waiting()
        next_at = intake.schedule.next_at()
        if next_at is not None:
            self._set_alarm(next_at)

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
