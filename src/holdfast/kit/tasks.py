"""Tasks that somebody owns.

A bare `asyncio.create_task` is forgotten by everyone: it may be garbage-collected, its exception surfaces as a warning
at some later time, and nobody waits for it at the end. A `TaskOwner` names its tasks, keeps them, logs an exception
once and tells a hook (which counts it), and `stop` returns only when all of them have ended.

Cancellation is not an error: a task that ends cancelled is just over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar, overload

R = TypeVar("R")
R1 = TypeVar("R1")
R2 = TypeVar("R2")
R3 = TypeVar("R3")
R4 = TypeVar("R4")

OnError = Callable[[str, BaseException], object]
"""Called with a task's name and the exception it ended with."""

PATIENCE_S = 5.0

log = logging.getLogger(__name__)


class TaskOwner:
    """Starts tasks of one event loop and answers for their end."""

    def __init__(self, name: str, *, on_error: OnError | None = None, patience_s: float = PATIENCE_S) -> None:
        self.name = name
        self._on_error = on_error
        self._patience_s = patience_s
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their starts, in which they are cancelled
        self._stopped = False

    def start(self, coroutine: Coroutine[Any, Any, R], *, name: str) -> asyncio.Task[R]:
        """Runs the coroutine as task `<owner>.<name>`. Raises RuntimeError once stopped."""
        if self._stopped:
            coroutine.close()
            raise RuntimeError(f"{self.name} has stopped: task {name!r} was not started")
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}.{name}")
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        return len(self._tasks)

    async def cancel(self, task: asyncio.Task[Any]) -> None:
        """Cancels one task and returns when it has ended, however it ended."""
        await self._end([task])

    async def stop(self) -> None:
        """Cancels all tasks and returns when they have ended; starts no more. Works twice, and before any start."""
        self._stopped = True
        while remaining := [task for task in self._tasks if task is not asyncio.current_task()]:
            await self._end(remaining)

    async def _end(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        while tasks:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=self._patience_s)
            tasks = [task for task in tasks if not task.done()]
            if tasks:
                names = sorted(task.get_name() for task in tasks)
                log.warning("tasks do not end when cancelled: %s; cancelling again", ", ".join(names))

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("task %s ended with an error", task.get_name(), exc_info=error)
        if self._on_error is not None:
            self._on_error(task.get_name(), error)


@overload
async def together(one: Awaitable[R1], two: Awaitable[R2], /) -> tuple[R1, R2]: ...


@overload
async def together(one: Awaitable[R1], two: Awaitable[R2], three: Awaitable[R3], /) -> tuple[R1, R2, R3]: ...


@overload
async def together(
    one: Awaitable[R1], two: Awaitable[R2], three: Awaitable[R3], four: Awaitable[R4], /
) -> tuple[R1, R2, R3, R4]: ...


async def together(*awaited: Awaitable[Any]) -> tuple[Any, ...]:
    """Their results. Raises the first error once all of them have ended: none goes on behind its asker's back."""
    results = await asyncio.gather(*awaited, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return tuple(results)
