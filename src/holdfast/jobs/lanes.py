"""Waiting jobs in front of one lane's slots: who comes next. Pure, but for the queues it keeps.

Priorities share the slots 4:3:2:1. In a round of ten picks each priority has that many places, spread over the round;
a place whose queue is empty is passed on to the next, so nothing is left idle and nobody starves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from holdfast.model.job import PRIORITY_SHARES

from .attempt import Held, Phase


def spread(shares: tuple[int, ...]) -> tuple[int, ...]:
    """One round of picks: each index as often as its share, as far apart as can be; the larger share first."""
    places = [((turn + 0.5) / share, index) for index, share in enumerate(shares) for turn in range(share)]
    return tuple(index for _, index in sorted(places))


ROUND = spread(PRIORITY_SHARES)


class LaneQueue:
    """Waiting jobs of one lane by priority, and its free slots."""

    __slots__ = ("_place", "_queues", "borrowers", "free", "queued", "slots", "turned")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.free = slots
        """Below zero where more runs than there are slots: what was lent and lapsed may be used all the same."""
        self.turned = 0
        """Slots that became free since somebody last looked."""
        self.borrowers: deque[asyncio.Future[None]] = deque()
        """Those who wait to be lent a free slot."""
        self._queues: tuple[deque[Held], ...] = tuple(deque() for _ in PRIORITY_SHARES)
        self._place = 0
        self.queued = 0
        """Jobs in the queues; what was taken away meanwhile counts until it is passed over."""

    def append(self, held: Held) -> None:
        self._queues[held.row.priority].append(held)
        self.queued += 1

    def put_back(self, jobs: Iterable[Held]) -> None:
        """Taken jobs that could not be started go to the head again, in their order."""
        for held in reversed(list(jobs)):
            self._queues[held.row.priority].appendleft(held)
            self.queued += 1

    def take(self, limit: int) -> list[Held]:
        """At most `limit` waiting jobs; those that ended or left meanwhile are dropped on the way."""
        filled = [queue for queue in self._queues if queue]
        if len(filled) <= 1:
            return self._take_from(filled[0], limit) if filled else []
        taken: list[Held] = []
        while len(taken) < limit and any(self._queues):
            queue = self._queues[ROUND[self._place]]
            self._place = (self._place + 1) % len(ROUND)
            taken += self._take_from(queue, 1)
        return taken

    def heads(self, count: int) -> Iterator[Held]:
        """The first waiting jobs of each priority."""
        for queue in self._queues:
            for index, held in enumerate(queue):
                if index == count:
                    break
                if held.phase is Phase.WAITING:
                    yield held

    def _take_from(self, queue: deque[Held], limit: int) -> list[Held]:
        taken: list[Held] = []
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
