"""SIGTERM and SIGINT: the first asks to drain, the second ends it now.

The handlers are the interpreter's own and not the event loop's, so that a second signal also ends a process whose loop
a handler blocks: a stop that does not come through within seconds ends the process as a kill would. The loop is told
of signals too, only to wake up: the kernel may hand one to another thread, and the main one would sleep on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from .exits import Exit

STOP_S = 3.0
"""Seconds that a stop without drain may take."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Watches while the block runs; belongs to the main thread and its running loop."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        """`task` is cancelled by the second signal."""
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._before: dict[int, Any] = {}
        self._force = threading.Timer(STOP_S, os._exit, (int(Exit.FAILED),))
        self._force.daemon = True
        self.asked = asyncio.Event()

    @property
    def insisted(self) -> bool:
        """Whether there was a second one."""
        return self._count > 1

    def ask(self) -> None:
        """The same as a first signal; callable from any thread."""
        self._loop.call_soon_threadsafe(self.asked.set)

    def __enter__(self) -> Self:
        for number in SIGNALS:
            before = signal.getsignal(number)
            self._loop.add_signal_handler(number, _wake)
            signal.signal(number, self._arrived)
            self._before[number] = before
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._force.cancel()
        for number, handler in self._before.items():
            self._loop.remove_signal_handler(number)
            signal.signal(number, handler)

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self._loop.call_soon_threadsafe(self.asked.set)
        elif self._count == 2:
            self._force.start()
            self._loop.call_soon_threadsafe(self._task.cancel)


def _wake() -> None:
    """Nothing to do: being called, the loop is awake, and the interpreter has run its handler."""
