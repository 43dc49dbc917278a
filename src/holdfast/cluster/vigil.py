"""Whether this runner's word about the others can be trusted: pure, fed by its own renewals.

A runner that declares others dead must itself have been awake. If its own renewals were late, then maybe the store was
away and everybody's lease has ended with it; if the store's clock jumped, then leases ended early by the jump. In both
cases it waits one lease's time, in which those who live renew. One that has only just registered has not seen the clock
before: where it finds a lease that has ended, it waits as long; else until those who live must have renewed once.
"""

from __future__ import annotations

ALLOWANCE = 1 / 6
"""By how much of a lease the store's clock may move unnoticed against this machine's monotonic clock: 1 s of 6.

A runner takes its own lease for shorter by as much, so that a jump too small to be noticed lets no two serve a shard.
"""


class Vigil:
    """When this runner may reap. All moments are on its monotonic clock, in seconds."""

    def __init__(self, *, ttl_s: float, first_s: float) -> None:
        """`first_s`: how long a runner that has just registered leaves the others alone."""
        self._ttl_s = ttl_s
        self._first_s = first_s
        self._asked_at: float | None = None
        self._origin = (0.0, 0.0)
        self.not_before = float("inf")

    def heard(self, *, asked_at: float, answered_at: float, now_us: int, ended: bool = False) -> None:
        """The store answered: its clock showed `now_us` at some moment between the two. `ended`: by which somebody's
        lease has ended."""
        origin = (now_us / 1e6 - answered_at, now_us / 1e6 - asked_at)
        if self._asked_at is None:
            self.not_before = answered_at + (self._ttl_s if ended else self._first_s)
        elif self._asked_at + self._ttl_s < answered_at or _apart(origin, self._origin) > self._ttl_s * ALLOWANCE:
            self.not_before = answered_at + self._ttl_s
        self._asked_at, self._origin = asked_at, origin

    def may_reap(self, now: float) -> bool:
        return self._asked_at is not None and self.not_before <= now < self._asked_at + self._ttl_s


def _apart(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The least distance between two spans; 0 where they overlap."""
    return max(one[0] - other[1], other[0] - one[1], 0.0)
