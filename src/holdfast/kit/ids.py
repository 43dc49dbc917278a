"""Ids out of blocks, so that taking one costs no trip to the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

BLOCK_AGE_MAX_S = 3600.0
"""Seconds for which a block is used. Retention finds what is old by its low id: whoever took a block long ago and uses
it up slowly would give low ids to young rows, and these would hide all the old ones above them."""


class IdPool:
    """Hands out ascending ids from blocks that `allocate(count)` returns the first id of.

    An id that was taken and not used is lost, which is harmless: ids are unique and ascending, not dense.
    """

    def __init__(
        self,
        allocate: Callable[[int], Awaitable[int]],
        *,
        block: int = 4096,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allocate = allocate
        self._block = block
        self._monotonic = monotonic
        self._next = 0
        self._end = 0
        self._stale_at = 0.0
        self._renewals = 0
        self._refill_lock = asyncio.Lock()

    async def take(self) -> int:
        """One fresh id; raises whatever `allocate` raises."""
        while not (taken := self.take_now()):
            await self.fill()
        return taken

    def take_now(self) -> int:
        """One fresh id, or 0 where the next block has to be fetched first (see `fill`)."""
        if self._next >= self._end or self._monotonic() >= self._stale_at:
            return 0
        taken = self._next
        self._next += 1
        return taken

    async def fill(self) -> None:
        """Returns once `take_now` has an id to give; raises whatever `allocate` raises.

        Where a block is only old and there is no newer one to be had, it is used on.
        """
        async with self._refill_lock:
            if self._next < self._end and self._monotonic() < self._stale_at:
                return
            try:
                await self._fetch()
            except Exception:
                if self._next >= self._end:
                    raise
                self._stale_at = self._monotonic() + BLOCK_AGE_MAX_S

    async def renew(self) -> None:
        """From its first step on ids are above all that anybody has taken before; raises whatever `allocate` raises."""
        self._renewals += 1
        self._end = self._next
        async with self._refill_lock:
            await self._fetch()

    async def _fetch(self) -> None:
        while True:
            renewals = self._renewals
            first = await self._allocate(self._block)
            if renewals == self._renewals:  # else the block may have been given out before the renewal
                break
        self._next, self._end = first, first + self._block
        self._stale_at = self._monotonic() + BLOCK_AGE_MAX_S
