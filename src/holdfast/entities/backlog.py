"""What waits in the store when a runner starts: handed out page by page, so that memory stays bounded."""

from __future__ import annotations

import asyncio

from holdfast.kit.service import Periodic

from .delivery import Delivery
from .inflight import Inflight
from .surroundings import Surroundings

PAGE_EVERY_S = 0.05


class Backlog:
    """Walks the stored messages once by id; a page comes when the one before it is mostly done."""

    def __init__(self, around: Surroundings, *, delivery: Delivery, inflight: Inflight) -> None:
        self._reader = around.reader
        self._clock = around.clock
        self._page_rows = around.settings.page_rows
        self._delivery = delivery
        self._inflight = inflight
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
            self._delivery.caught_up = True
        else:
            self._after = rows[-1].id
