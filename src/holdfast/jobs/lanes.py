"""Waiting jobs in front of one lane's slots: who comes next. Pure, but for the queues it keeps.

Priorities share the slots 4:3:2:1. In a round of ten picks each priority has that many places, spread over the round;
a place whose queue is empty is passed on to the next, so nobody starves.

Where critical jobs are declared, a few slots are kept for them: however much else there is to do, a critical job finds
one free. All others share the rest, and nothing of that is left idle.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from holdfast.model.job import CRITICAL, PRIORITY_SHARES

from .attempt import Held, Phase


def spread(shares: tuple[int, ...]) -> tuple[int, ...]:
    """One round of picks: each index as often as its share, as far apart as can be; the larger share first."""
    places = [((turn + 0.5) / share, index) for index, share in enumerate(shares) for turn in range(share)]
    return tuple(index for _, index in sorted(places))


ROUND = spread(PRIORITY_SHARES)
KEPT_ONE_IN = 20
"""Of so many slots one is kept for critical jobs. [M] with none, such a job waited beside a backlog for others to end
and for their ends to be written."""


class LaneQueue:
    """Waiting jobs of one lane by priority, and its free slots."""

    __slots__ = ("_kept", "_place", "_queues", "borrowers", "free", "queued", "shared", "slots", "turned")

    def __init__(self, slots: int, *, critical: bool = False) -> None:
        """`critical`: some slots are kept for critical jobs."""
        self.slots = slots
        self.free = slots
        """Below zero where more runs than there are slots: what was lent and lapsed may be used all the same."""
        self._kept = slots // KEPT_ONE_IN if critical else 0
        self.shared = slots - self._kept
        """Slots that jobs which are not critical may take, while there are free ones."""
        self.turned = 0
        """Slots that became free since somebody last looked."""
        self.borrowers: deque[asyncio.Future[None]] = deque()
        """Those who wait to be lent a free slot."""
        self._queues: tuple[deque[Held], ...] = tuple(deque() for _ in PRIORITY_SHARES)
        self._place = 0
        self.queued = 0
        """Jobs in the queues; what was taken away meanwhile counts until it is passed over."""

    @property
    def ready(self) -> bool:
        """Whether there is a free slot for one of those that wait."""
        if self.free < 1:
            return False
        return bool(self._queues[CRITICAL]) or (self.queued > 0 and self.shared > 0)

    @property
    def to_lend(self) -> int:
        """Slots that jobs of other runners may take: half of what is free, so that some are left for what comes in."""
        return 0 if self.queued else (max(min(self.free, self.shared), 0) + 1) // 2

    def open_to(self, priority: int) -> bool:
        """Whether a job of this priority that comes just now finds a slot, and nobody before it who waits for that."""
        if priority == CRITICAL and self._kept:
            return self.free > 0 and not self._queues[CRITICAL]
        return self.free > 0 and self.shared > 0 and not self.queued

    def occupy(self, priority: int) -> None:
        """A job of this priority has a slot from here on."""
        self.free -= 1
        if priority != CRITICAL:
            self.shared -= 1

    def vacate(self, priority: int) -> None:
        """It has it no more."""
        self.free += 1
        if priority != CRITICAL:
            self.shared += 1

    def lend(self, slots: int) -> None:
        """So many slots are for jobs of other runners; fewer than none: they are given back."""
        self.free -= slots
        self.shared -= slots

    def append(self, held: Held) -> None:
        self._queues[held.row.priority].append(held)
        self.queued += 1

    def put_back(self, jobs: Iterable[Held]) -> None:
        """Taken jobs that could not be started go to the head again, in their order."""
        for held in reversed(list(jobs)):
            self._queues[held.row.priority].appendleft(held)
            self.queued += 1

    def take(self, limit: int) -> list[Held]:
        """At most `limit` waiting jobs for slots that are free; what ended or left meanwhile is dropped on the way."""
        return self._take(min(self.free, limit), max(self.shared, 0))

    def take_away(self, limit: int) -> list[Held]:
        """As `take`, for slots of another runner."""
        return self._take(limit, limit)

    def _take(self, limit: int, shared: int) -> list[Held]:
        """At most `shared` of them are not critical."""
        filled = [priority for priority, queue in enumerate(self._queues) if queue]
        if len(filled) == 1:
            return self._take_from(filled[0], limit if filled[0] == CRITICAL else min(limit, shared))
        taken: list[Held] = []
        while len(taken) < limit and any(self._queues if shared else self._queues[: CRITICAL + 1]):
            priority = ROUND[self._place]
            self._place = (self._place + 1) % len(ROUND)
            if priority == CRITICAL:
                taken += self._take_from(priority, 1)
            elif shared:
                found = self._take_from(priority, 1)
                shared -= len(found)
                taken += found
        return taken

    def heads(self, count: int) -> Iterator[Held]:
        """The first waiting jobs of each priority."""
        for queue in self._queues:
            for index, held in enumerate(queue):
                if index == count:
                    break
                if held.phase is Phase.WAITING:
                    yield held

    def _take_from(self, priority: int, limit: int) -> list[Held]:
        queue, taken = self._queues[priority], list[Held]()
        while queue and len(taken) < limit:
            held = queue.popleft()
            self.queued -= 1
            if held.phase is Phase.WAITING:
                taken.append(held)
        return taken


def tell_first(borrowers: deque[asyncio.Future[None]]) -> None:
    """A slot has become free for one of them."""
    while borrowers:
        first = borrowers.popleft()
        if not first.done():
            first.set_result(None)
            return
