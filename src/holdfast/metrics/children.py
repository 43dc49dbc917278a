"""One series each: a counter, a gauge or a histogram with its labels bound.

This is the hot path. `CounterChild` and `HistogramChild` take no lock: each has a single writer, the thread that
owns the service (see `series`). Every other thread gets a locked twin of the same series, shared by all of
them, and reading adds the two. That keeps an increment at one attribute store where it matters, is right without
leaning on what the interpreter happens to do between two bytecodes, and costs at most two children per series
however many threads come and go, which children per thread would not.

A gauge can be *set*, and two parts of a set value cannot be added; so a gauge child is one per series, always
locked. Gauges move with activations and leases, not with messages.

A scrape reads children while they are written. Each field is read once; a count and a sum read a moment apart may
differ by the observation in between, but nothing ever goes backwards.

A NaN or an infinity would spoil a sum for as long as the process lives, so it is refused, where that is free: what is
mostly added to a counter is 1, and what lies above a histogram's first bucket is looked at anyway. What does not, an
observation of minus infinity for one, goes through.
"""

import sys
from bisect import bisect_left
from itertools import accumulate
from threading import RLock

from .boundaries import Bounds

FINITE_MAX = sys.float_info.max


class CounterChild:
    """A number that only grows."""

    __slots__ = ("value",)

    value: float

    def __init__(self) -> None:
        self.value = 0

    def inc(self, n: float = 1) -> None:
        """Add n; raises ValueError if n is negative, infinite or NaN."""
        if n != 1 and not 0 <= n <= FINITE_MAX:
            raise ValueError(f"a counter only grows, by finite steps; {n} is none (use a gauge for what goes down)")
        self.value += n


class LockedCounterChild(CounterChild):
    """The same for threads that do not own the service."""

    __slots__ = ("_lock",)

    def __init__(self, lock: RLock) -> None:
        super().__init__()
        self._lock = lock

    def inc(self, n: float = 1) -> None:
        """Add n; raises ValueError if n is negative, infinite or NaN."""
        with self._lock:
            super().inc(n)


class GaugeChild:
    """A number that is what it was last set to; None until then, and such a series is not shown."""

    __slots__ = ("_lock", "value")

    value: float | None

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self.value = None

    def set(self, value: float) -> None:
        """Make it this value, which may be any: the next one takes its place."""
        with self._lock:
            self.value = value

    def inc(self, n: float = 1) -> None:
        """Add n, to zero if it was never set; raises ValueError if n is infinite or NaN."""
        if not -FINITE_MAX <= n <= FINITE_MAX:
            raise ValueError(f"a gauge goes up and down by finite steps, not by {n}; set() takes any value")
        with self._lock:
            self.value = n if self.value is None else self.value + n

    def dec(self, n: float = 1) -> None:
        """Take n away; raises as `inc`."""
        self.inc(-n)


class HistogramChild:
    """Observations counted by bucket, and their sum.

    The first bucket is a field of its own: most observations of a healthy system fall into it, and a field is
    counted in half the time of a list's element.
    """

    __slots__ = ("_bounds", "_first", "_higher", "_lowest", "sum")

    sum: float

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._first = bounds[0]
        self._lowest = 0
        self._higher = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one observation, in the metric's unit; raises ValueError if it is NaN or plus infinity."""
        if seconds <= self._first:
            self._lowest += 1
        elif seconds <= FINITE_MAX:
            self._higher[bisect_left(self._bounds, seconds)] += 1
        else:
            raise ValueError(f"{seconds} can't be observed: the sum would be {seconds} for good")
        self.sum += seconds

    def cumulated(self) -> list[int]:
        """Observations at or below each bound and, last, all of them."""
        counts = self._higher.copy()
        counts[0] = self._lowest
        return list(accumulate(counts))

    @property
    def count(self) -> int:
        """All observations."""
        return self._lowest + sum(self._higher)


class LockedHistogramChild(HistogramChild):
    """The same for threads that do not own the service."""

    __slots__ = ("_lock",)

    def __init__(self, bounds: Bounds, lock: RLock) -> None:
        super().__init__(bounds)
        self._lock = lock

    def observe(self, seconds: float) -> None:
        """Count one observation, in the metric's unit; raises ValueError if it is NaN or plus infinity."""
        with self._lock:
            super().observe(seconds)
