"""How many local callers go on in one pass of the event loop.

Every call is a point where others get their turn, even one that never had to wait. With many callers in a tight loop
that alone makes the loop's passes long, and a durable message slow, which needs three passes from its call to its
reply. So beyond a number per pass callers wait here, in order, for a later pass.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable

from holdfast.kit.eager import CHECKPOINT

CALLERS_PER_PASS = 100


class Turnstile:
    """Lets a bounded number of callers through per pass."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._passed = 0
        self._watching = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self) -> Awaitable[None]:
        """To be awaited: the next pass, or one in which there is room."""
        if self._passed < CALLERS_PER_PASS and not self._waiting:
            self._passed += 1
            if not self._watching:
                self._watching = True
                self._loop.call_soon(self._next_pass)
            return CHECKPOINT
        turn = self._loop.create_future()
        self._waiting.append(turn)
        return turn

    def _next_pass(self) -> None:
        self._passed = 0
        self._watching = bool(self._waiting)
        if self._watching:
            self._loop.call_soon(self._next_pass)
            for _ in range(min(len(self._waiting), CALLERS_PER_PASS)):
                turn = self._waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
