"""Time as something that is passed in.

Whoever needs to know what time it is takes a `Clock`, so that tests and the simulation own time. Two readings, two
purposes: `now_us` is for what is stored or shown (it may jump when an operator sets the clock), `monotonic` is for how
long something took or may still take.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now_us(self) -> int:
        """Wall time, in microseconds since the epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    __slots__ = ()

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()
