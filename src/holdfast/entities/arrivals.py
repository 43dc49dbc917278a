"""This process's own senders, in the order in which they came to each entity.

What they send is looked up side by side, where that is needed, and comes in one after the other. Where the entity moves
while some of it waits, that is refused in whatever order, and goes on to the new owner in this one.
"""

from __future__ import annotations

from holdfast.kit.lineup import Lineup, Place
from holdfast.model.address import Address
from holdfast.model.message import MessageRow

from .admission import Admission, Admitted
from .durable import Listener
from .handler import Handler


class Arrivals:
    """Who is on the way in, and who has come in and waits."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._entering: Lineup[Address] = Lineup()
        self._undecided: Lineup[Address] = Lineup()

    def come(self, address: Address) -> Place[Address]:
        """A place among those who do not know yet what becomes of their message; left once they know, or in the step in
        which it goes on elsewhere."""
        return self._undecided.come(address)

    async def behind(self, address: Address, timeout_s: float) -> None:
        """Returns when those know who have come before, or when the time is over."""
        if address in self._undecided:
            place = self.come(address)
            try:
                await place.first(timeout_s)
            finally:
                place.leave()

    async def accept(self, row: MessageRow, handler: Handler, listener: Listener, *, one_way: bool) -> Admitted:
        """As `Admission.accept`, of a message that was not sent before."""
        if row.address not in self._entering and self._admission.at_once(row):
            return await self._admission.accept(row, handler, listener, retry=False, one_way=one_way)
        place = self._entering.come(row.address)
        try:
            return await self._admission.accept(row, handler, listener, retry=False, one_way=one_way, enter=place.first)
        finally:
            place.leave()
