"""Bursts: one task for all turns that are ready in one pass of the loop.

A burst starts one handler after the other, each in a context of its own. The first that suspends keeps the task, which
`asyncio.timeout` and cancellation in it refer to, and the rest goes on in a new one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from typing import Any

from .turns import HandlerTurn

Start = Callable[[HandlerTurn, Context | None], Coroutine[Any, Any, None] | None]


class Bursts:
    """Runs ready turns in as few tasks as possible."""

    def __init__(self, start: Start, loop: asyncio.AbstractEventLoop) -> None:
        self._start = start
        self._loop = loop
        self._ready: deque[HandlerTurn] = deque()
        self._serving: asyncio.Task[None] | None = None
        self.tasks: dict[asyncio.Task[None], None] = {}

    def add(self, turn: HandlerTurn) -> None:
        """Runs the turn, whose activation is held for it, in a burst."""
        self._ready.append(turn)
        if self._serving is None:
            self._serve()

    def give_way(self, task: asyncio.Task[Any]) -> None:
        """A handler suspends in this task: what else is ready goes on elsewhere."""
        if task is self._serving:
            self._serving = None
            if self._ready:
                self._serve()

    def _serve(self) -> None:
        task = self._loop.create_task(self._burst(), name="holdfast-burst")
        self._serving = task
        self.tasks[task] = None
        task.add_done_callback(self.tasks.pop)

    async def _burst(self) -> None:
        me = asyncio.current_task()
        try:
            while self._ready and self._serving is me:
                turn = self._ready.popleft()
                turn.starting()
                context = copy_context()
                try:
                    rest = context.run(self._start, turn, context)
                    if rest is not None:
                        await rest
                except asyncio.CancelledError:
                    if not turn.ended or me is None:
                        raise
                    me.uncancel()
        finally:
            if self._serving is me:
                self._serving = None
                if self._ready:
                    self._serve()
