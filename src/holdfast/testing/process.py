"""Processes of a simulated cluster: all in one event loop, told apart by the context their code runs in.

Whatever a process starts inherits its context: tasks, callbacks, timers, what the network delivers to it. So any code
can be asked whose it is (`current`), and a process can be frozen as SIGSTOP does it: the loop holds its callbacks back,
and its timers as they fall due, until it is thawed.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

from holdfast.runtime.node import Node

R = TypeVar("R")

_current: ContextVar[Process | None] = ContextVar("holdfast_testing_process", default=None)


def current() -> Process | None:
    """The process whose code is running; None in the test itself."""
    return _current.get()


class Process:
    """One process: what was started through it, and all that came of that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.node: Node | None = None
        """What the App's services ask in this process."""
        self.frozen = False
        self.held: list[asyncio.Handle] = []
        self._context = Context()
        self._context.run(_current.set, self)

    @property
    def context(self) -> Context:
        """A context of its own for something of this process."""
        return self._context.copy()

    def start(self, coroutine: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        """Runs it as code of this process."""
        loop = asyncio.get_running_loop()
        return loop.create_task(coroutine, name=self.name, context=self.context)

    async def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """The same, and returns what it returns. Cancelling this cancels it."""
        return await self.start(coroutine)


class Freezer:
    """Holds back what frozen processes would do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Any = loop
        self._frozen: dict[Process, None] = {}

    def freeze(self, process: Process) -> None:
        """From the next pass of the loop on."""
        process.frozen = True
        self._frozen[process] = None

    def thaw(self, process: Process) -> None:
        process.frozen = False
        self._frozen.pop(process, None)
        held, process.held = process.held, []
        self._loop._ready.extend(held)

    def sift(self) -> None:
        """Called where a pass of the loop begins, once its time is known."""
        if self._frozen:
            self._sift_ready()
            self._sift_timers()

    def _sift_ready(self) -> None:
        ready: deque[asyncio.Handle] = self._loop._ready
        passed = [handle for handle in ready if not self._holds(handle)]
        if len(passed) < len(ready):
            ready.clear()
            ready.extend(passed)

    def _sift_timers(self) -> None:
        timers: list[asyncio.TimerHandle] = self._loop._scheduled
        now = self._loop.time() + self._loop._clock_resolution
        passed: list[asyncio.TimerHandle] = []
        while timers and timers[0].when() < now:
            timer = heapq.heappop(timers)
            if timer.cancelled() or not self._holds(timer):
                passed.append(timer)
            else:
                timer._scheduled = False  # type: ignore[attr-defined] # as the loop does with a timer that is due
        for timer in passed:
            heapq.heappush(timers, timer)

    def _holds(self, handle: Any) -> bool:
        process = handle._context.get(_current)
        if process is None or not process.frozen:
            return False
        process.held.append(handle)
        return True
