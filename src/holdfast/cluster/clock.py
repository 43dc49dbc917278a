"""What time it is for all runners of a store: the store's, as the lease hears it with each renewal.

Moments that are stored are read by others: a retry that a runner sets by its own wall clock, wrong by a day, would come
a day early or late at the next owner. Between renewals the time is carried on by this process's monotonic clock, so it
needs nobody's answer, and is behind the store's by no more than an answer takes.
"""

from __future__ import annotations

from holdfast.kit.clock import Clock
from holdfast.model.ids import micros
from holdfast.ports.membership import MembershipDesk

from .lease import Lease


class StoreClock:
    """Implements `Clock`. Before there is a lease it shows what its own process's clock shows, and always on a store
    that one process holds alone, whose clock is that one."""

    __slots__ = ("_alone", "_lease", "_own")

    def __init__(self, own: Clock, *, alone: bool) -> None:
        self._own = own
        self._alone = alone
        self._lease: Lease | None = None

    def follow(self, lease: Lease) -> None:
        """A lease that has been started."""
        if not self._alone:
            self._lease = lease

    def now_us(self) -> int:
        return self._own.now_us() if self._lease is None else self._lease.store_now_us

    def monotonic(self) -> float:
        return self._own.monotonic()


class HeardClock:
    """Implements `Clock` for a process without a lease: the store's time, heard once, as it has gone on since.

    Before that it shows what its own process's clock shows.
    """

    __slots__ = ("_ahead_us", "_own")

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead_us: int | None = None

    async def hear(self, desk: MembershipDesk) -> None:
        """Raises PersistenceError."""
        self._ahead_us = await desk.now_us() - micros(self._own.monotonic())

    def now_us(self) -> int:
        return self._own.now_us() if self._ahead_us is None else self._ahead_us + micros(self._own.monotonic())

    def monotonic(self) -> float:
        return self._own.monotonic()
