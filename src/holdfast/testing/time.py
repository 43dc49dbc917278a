"""How the virtual time of an event loop moves.

Time moves only where the loop would sleep, because nothing can go on: it jumps to the next timer. What runs outside
the loop knows no virtual time. While functions are in an executor, or sockets are open, a jump could overtake them;
there time either stands still until the functions are back (a simulation, which has to be repeatable) or passes as it
really does (a loop that was borrowed, where neither a thread nor a socket must ever be waited for in vain).
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

Events = list[tuple[selectors.SelectorKey, int]]
Wait = Callable[[float | None], Events]
"""Waits really: at most so many seconds, for ever if None; returns what came."""

PATIENCE_S = 0.05
"""Real seconds for which a function in an executor holds up time that is being moved on purpose."""


class VirtualTime:
    """The time of one loop, in seconds."""

    def __init__(self, now: float, *, passes: bool, stalled: Callable[[], Exception], stall_limit_s: float) -> None:
        """`passes`: time passes really while something is outside, instead of standing still.

        `stalled` makes the error for a loop that waits for nothing: raised after `stall_limit_s` real seconds.
        """
        self._now = now
        self._passes = passes
        self._stalled = stalled
        self._stall_limit_s = stall_limit_s
        self._outside = 0
        self._moving = 0
        self.sift: Callable[[], None] = all_pass
        """Called where a pass of the loop begins, once its time is known, before anything of it runs."""
        self._resting: list[asyncio.Future[None]] = []

    def now(self) -> float:
        return self._now

    def went_out(self) -> None:
        """A function went into an executor."""
        self._outside += 1

    def came_back(self, _: object = None) -> None:
        self._outside -= 1

    async def rest(self) -> None:
        """Returns when nothing can go on without time passing, and nobody is in an executor. No time passes."""
        resting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._resting.append(resting)
        await resting

    @contextmanager
    def moving(self) -> Generator[None]:
        """Inside, time jumps although sockets are open, and waits for executors only so long."""
        self._moving += 1
        try:
            yield
        finally:
            self._moving -= 1

    def sleep(self, wait: Wait, timeout: float | None, *, sockets: bool) -> Events:
        """Called where the loop would sleep, `timeout` seconds at most or for ever if None."""
        if self._outside:
            return self._wait_for_executors(wait, timeout)
        if events := wait(0):
            return events
        if self._resting:
            self._rested()
        elif timeout is None:
            return self._wait_for_anything(wait)
        elif sockets and self._passes and not self._moving:
            return self._pass(wait, timeout)
        else:
            self._now += timeout
        return []

    def _wait_for_executors(self, wait: Wait, timeout: float | None) -> Events:
        if timeout is None or not self._passes:
            return wait(None)
        if not self._moving:
            return self._pass(wait, timeout)
        events = wait(min(timeout, PATIENCE_S))
        if not events:
            self._now += timeout
        return events

    def _wait_for_anything(self, wait: Wait) -> Events:
        events = wait(self._stall_limit_s)
        if not events:
            raise self._stalled()
        return events

    def _pass(self, wait: Wait, timeout: float) -> Events:
        began = monotonic()
        events = wait(timeout)
        self._now += min(monotonic() - began, timeout) if events else timeout
        return events

    def _rested(self) -> None:
        resting, self._resting = self._resting, []
        for future in resting:
            if not future.done():
                future.set_result(None)


def all_pass() -> None:
    """Nobody is frozen."""


class WatchedSelector(selectors.BaseSelector):
    """A real selector that asks what to do each time it would wait."""

    def __init__(self, real: selectors.BaseSelector, select: Callable[[Wait, float | None], Events]) -> None:
        self.real = real
        self._select = select

    def select(self, timeout: float | None = None) -> Events:
        return self._select(self.real.select, timeout)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self.real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.real.modify(fileobj, events, data)

    def close(self) -> None:
        self.real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self.real.get_map()

    @property
    def watches_sockets(self) -> bool:
        """Whether more is registered than the loop's own way to be woken by threads."""
        return len(self.real.get_map()) > 1
