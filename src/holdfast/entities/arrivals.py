"""This process's own senders: let in in the order in which they came to each entity, though some wait for the store."""

from __future__ import annotations

import asyncio
from functools import partial

from holdfast.model.address import Address
from holdfast.model.message import MessageRow

from .admission import Admission, Admitted
from .durable import Listener
from .handler import Handler


class Arrivals:
    """What is looked up is looked up side by side, and comes in one after the other."""

    def __init__(self, admission: Admission, loop: asyncio.AbstractEventLoop) -> None:
        self._admission = admission
        self._loop = loop
        self._last: dict[Address, asyncio.Future[None]] = {}
        """By entity: done when the last one of those on their way in has come in, or has failed to."""

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
