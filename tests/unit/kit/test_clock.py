"""The system clock tells microseconds of wall time and seconds that never go back."""

from __future__ import annotations

import time

from holdfast.kit.clock import SystemClock


def test_wall_time_is_in_microseconds_since_the_epoch() -> None:
    """A reading lies between two readings of the machine's own clock, in its own unit."""
    before = time.time_ns() // 1000
    assert before <= SystemClock().now_us() <= time.time_ns() // 1000


def test_monotonic_time_does_not_go_back() -> None:
    """Each reading is at least the one before it."""
    readings = [SystemClock().monotonic() for _ in range(100)]
    assert readings == sorted(readings)
