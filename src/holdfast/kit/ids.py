"""Ids out of blocks, so that taking one costs no trip to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class IdPool:
    """Hands out ascending ids from blocks that `allocate(count)` returns the first id of.

    An id that was taken and not used is lost, which is harmless: ids are unique and ascending, not dense.
    """

    def __init__(self, allocate: Callable[[int], Awaitable[int]], *, block: int = 4096) -> None:
        self._allocate = allocate
        self._block = block
        self._next = 0
        self._end = 0
        self._refill_lock = asyncio.Lock()

    async def take(self) -> int:
        """One fresh id; raises whatever `allocate` raises."""
        while self._next >= self._end:
            await self.fill()
        taken = self._next
        self._next += 1
        return taken

    def take_now(self) -> int:
        """One fresh id, or 0 where the next block has to be fetched first (see `fill`)."""
        if self._next >= self._end:
            return 0
        taken = self._next
        self._next += 1
        return taken

    async def fill(self) -> None:
        """Returns once `take_now` has an id to give; raises whatever `allocate` raises."""
        async with self._refill_lock:
            if self._next < self._end:
                return
            first = await self._allocate(self._block)
            self._next, self._end = first, first + self._block

    async def renew(self) -> None:
        """From now on ids are above all that anybody has taken before; raises whatever `allocate` raises."""
        async with self._refill_lock:
            first = await self._allocate(self._block)
            self._next, self._end = first, first + self._block
