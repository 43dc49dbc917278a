"""An event loop whose time is virtual and whose schedule follows a seed.

`asyncio.sleep(3600)` returns at once and an hour has passed: when nothing is ready, time jumps to the next timer. A
seed also shuffles, in each pass, the order in which ready *tasks* take their step (never plain callbacks, whose order
asyncio promises), so that other seeds find other interleavings and the same seed finds the same one again.

What runs outside the loop has no virtual time. While functions are in an executor, time stands still until they are
back. Sockets do work, but time does not wait for what is under way in them: they do not belong in a simulation.

When every task waits, no timer is set and nothing from outside comes for a while, the program can't go on: `Stalled`
says who waits where, instead of hanging the test.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any, TypeVar

from .time import Events, VirtualTime, Wait, WatchedSelector

R = TypeVar("R")

EPOCH_US = 1_767_225_600_000_000
"""Where virtual wall time starts: 2026-01-01 00:00 UTC."""

STALL_LIMIT_S = 5.0


class Stalled(RuntimeError):
    """Every task waits, no timer is set and nothing came from outside."""


class LeftOver(RuntimeError):
    """The main coroutine ended and left tasks running."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Virtual time from 0, in seconds. With `seed=None` tasks keep their natural order."""

    def __init__(self, *, seed: int | None = 0, stall_limit_s: float = STALL_LIMIT_S) -> None:
        self.virtual_time = VirtualTime(0.0, passes=False, stalled=self._stalled, stall_limit_s=stall_limit_s)
        self._random = None if seed is None else Random(seed)
        super().__init__(WatchedSelector(selectors.DefaultSelector(), self._begin_pass))

    def time(self) -> float:
        return self.virtual_time.now()

    def run_in_executor(self, executor: Any, func: Callable[..., R], *args: Any) -> asyncio.Future[R]:  # type: ignore[override]
        future = super().run_in_executor(executor, func, *args)
        self.virtual_time.went_out()
        future.add_done_callback(self.virtual_time.came_back)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        self.virtual_time.went_out()  # its threads are joined by a thread
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self.virtual_time.came_back()

    def _begin_pass(self, wait: Wait, timeout: float | None) -> Events:
        """Called where a loop would sleep: `timeout` seconds at most, or for ever if None."""
        idle = timeout is None or timeout > 0
        events = self.virtual_time.sleep(wait, timeout, sockets=False) if idle else wait(0)
        self.virtual_time.sift()
        self._shuffle()
        return events

    def _stalled(self) -> Stalled:
        return Stalled(f"nothing can go on at {self.time()} s; waiting: {whereabouts(self)}")

    def _shuffle(self) -> None:
        ready: deque[asyncio.Handle] = getattr(self, "_ready")  # noqa: B009 - not declared, there since Python 3.4
        if self._random is None or len(ready) < 2:
            return
        places = [place for place, handle in enumerate(ready) if _is_step(handle)]
        steps = [ready[place] for place in places]
        self._random.shuffle(steps)
        for place, step in zip(places, steps, strict=True):
            ready[place] = step


class LoopClock:
    """The loop's virtual time as a `Clock`; `ahead_us` sets this clock's wall time wrong on purpose."""

    __slots__ = ("_loop", "_origin", "ahead_us")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, ahead_us: int = 0, origin: float = 0.0) -> None:
        """`origin`: the loop's time at which wall time is `EPOCH_US`."""
        self._loop = loop
        self._origin = origin
        self.ahead_us = ahead_us

    def another(self) -> LoopClock:
        """A clock that shows the same, and can be set by itself."""
        return LoopClock(self._loop, ahead_us=self.ahead_us, origin=self._origin)

    def now_us(self) -> int:
        return EPOCH_US + self.ahead_us + round((self._loop.time() - self._origin) * 1_000_000)

    def monotonic(self) -> float:
        return self._loop.time()


def run(main: Coroutine[Any, Any, R], *, seed: int | None = 0) -> R:
    """Runs the coroutine to its end in a virtual loop of its own. Raises LeftOver if it leaves tasks running."""
    with asyncio.Runner(loop_factory=partial(VirtualLoop, seed=seed)) as runner:
        result = runner.run(main)
        loop = runner.get_loop()
        if asyncio.all_tasks(loop):
            raise LeftOver(f"tasks left running: {whereabouts(loop)}")
        return result


def whereabouts(loop: asyncio.AbstractEventLoop) -> str:
    """Which tasks wait where, for error messages."""
    return ", ".join(sorted(_whereabout(task) for task in asyncio.all_tasks(loop))) or "nobody"


def _is_step(handle: asyncio.Handle) -> bool:
    return isinstance(getattr(getattr(handle, "_callback", None), "__self__", None), asyncio.Task)


def _whereabout(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    place = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "not begun"
    return f"{task.get_name()} ({place})"
