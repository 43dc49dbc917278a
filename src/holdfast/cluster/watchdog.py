"""Whether the event loop turns, seen from other threads.

The loop marks a beat every half second; whoever asks from another thread sees how long ago that was. A handler that
blocks the loop thus shows within seconds, while the operations pages still answer from a thread of their own.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from holdfast.metrics import MetricsService

BEAT_EVERY_S = 0.5


class LoopWatchdog:
    """Measures how late the loop is."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: MetricsService) -> None:
        self._loop = loop
        self._lag = metrics.runtime.loop_lag.labels()
        self._beat_at = monotonic()
        self._expected_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._expected_at = self._loop.time()
        self._beat()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def stalled_s(self) -> float:
        """Seconds for which the loop has owed a beat; 0 while it turns. Callable from any thread."""
        return max(0.0, monotonic() - self._beat_at - BEAT_EVERY_S)

    def _beat(self) -> None:
        now = self._loop.time()
        self._lag.observe(max(0.0, now - self._expected_at))
        self._beat_at = monotonic()
        self._expected_at = now + BEAT_EVERY_S
        self._timer = self._loop.call_at(self._expected_at, self._beat)
