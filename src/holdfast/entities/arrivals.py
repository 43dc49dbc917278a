"""This process's own senders, in the order in which they came to each entity.

What they send is looked up side by side, where that is needed, and comes in one after the other. Where the entity moves
while some of it waits, that is refused in whatever order, and goes on to the new owner in this one.
"""

from __future__ import annotations

import asyncio
from functools import partial

from holdfast.model.address import Address
from holdfast.model.message import MessageRow

from .admission import Admission, Admitted
from .durable import Listener
from .handler import Handler


class Place:
    """A message's place among those to one entity whose senders do not know yet what becomes of them."""

    __slots__ = ("_arrivals", "address", "first_now")

    def __init__(self, arrivals: Arrivals, address: Address) -> None:
        self._arrivals = arrivals
        self.address = address
        self.first_now: asyncio.Future[None] | None = None

    async def first(self, timeout_s: float) -> None:
        """Returns when nobody is in front any more, or when the time is over."""
        if not self._arrivals.is_first(self):
            self.first_now = asyncio.get_running_loop().create_future()
            await asyncio.wait([self.first_now], timeout=timeout_s)

    def leave(self) -> None:
        """Its sender knows, or it goes on elsewhere in the same step. Works twice."""
        self._arrivals.left(self)


class Arrivals:
    """Who is on the way in, and who has come in and waits."""

    def __init__(self, admission: Admission, loop: asyncio.AbstractEventLoop) -> None:
        self._admission = admission
        self._loop = loop
        self._last: dict[Address, asyncio.Future[None]] = {}
        """By entity: done when the last one of those on their way in has come in, or has failed to."""
        self._places: dict[Address, dict[Place, None]] = {}

    def come(self, address: Address) -> Place:
        place = Place(self, address)
        self._places.setdefault(address, {})[place] = None
        return place

    async def behind(self, address: Address, timeout_s: float) -> None:
        """Returns when those know who have come before, or when the time is over."""
        if address in self._places:
            place = self.come(address)
            try:
                await place.first(timeout_s)
            finally:
                place.leave()

    def is_first(self, place: Place) -> bool:
        return next(iter(self._places[place.address])) is place

    def left(self, place: Place) -> None:
        places = self._places.get(place.address, {})
        if place not in places:
            return
        del places[place]
        if not places:
            del self._places[place.address]
            return
        now = next(iter(places)).first_now
        if now is not None and not now.done():
            now.set_result(None)

    async def accept(self, row: MessageRow, handler: Handler, listener: Listener, *, one_way: bool) -> Admitted:
        """As `Admission.accept`, of a message that was not sent before."""
        ahead = self._last.get(row.address)
        if ahead is None and self._admission.at_once(row):
            return await self._admission.accept(row, handler, listener, retry=False, one_way=one_way)
        mine = self._last[row.address] = self._loop.create_future()
        try:
            return await self._admission.accept(
                row, handler, listener, retry=False, one_way=one_way, enter=partial(_after, ahead)
            )
        finally:
            if ahead is None or ahead.done():
                self._over(row.address, mine)
            else:  # refused, cancelled or known already: who comes behind still waits for who is in front
                ahead.add_done_callback(lambda _: self._over(row.address, mine))

    def _over(self, address: Address, mine: asyncio.Future[None]) -> None:
        mine.set_result(None)
        if self._last.get(address) is mine:
            del self._last[address]


async def _after(ahead: asyncio.Future[None] | None) -> None:
    if ahead is not None and not ahead.done():
        await asyncio.shield(ahead)
