"""What waits in the store when a runner starts: handed out page by page, so that memory stays bounded."""

from __future__ import annotations

import asyncio

from holdfast.kit.clock import Clock
from holdfast.kit.service import Periodic
from holdfast.ports.reads import MessageReader

from .delivery import Delivery
from .inflight import Inflight

PAGE_EVERY_S = 0.05


class Backlog:
    """Walks the stored messages once by id; a page comes when the one before it is mostly done."""

    def __init__(
        self, *, delivery: Delivery, inflight: Inflight, reader: MessageReader, clock: Clock, page_rows: int
    ) -> None:
        self._delivery = delivery
        self._inflight = inflight
        self._reader = reader
        self._clock = clock
        self._page_rows = page_rows
        self._after = 0
        self._pages = Periodic("holdfast-backlog", self._page, every_s=PAGE_EVERY_S)
        self.done = asyncio.Event()

    async def start(self) -> None:
        await self._page()
        if not self.done.is_set():
            await self._pages.start()

    async def stop(self) -> None:
        await self._pages.stop()

    async def _page(self) -> None:
        if self.done.is_set() or len(self._inflight) > self._page_rows // 2:
            return
        rows = await self._reader.pending(after=self._after, limit=self._page_rows, due_before=self._clock.now_us())
        self._delivery.deliver_stored(rows)
        if len(rows) < self._page_rows:
            self.done.set()
        else:
            self._after = rows[-1].id
