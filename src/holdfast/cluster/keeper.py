"""A coroutine beside everything else: in a thread with an event loop of its own, or as a task of this loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

Body = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Gets the event that `wake` sets, which belongs to the loop it runs on."""


class Keeper:
    """Starts it, wakes it, ends it. Belongs to one loop, but for `wake`."""

    def __init__(self, name: str, body: Body, *, on_thread: bool) -> None:
        self._name = name
        self._body = body
        self._on_thread = on_thread
        self._home = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._home.create_future()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event
        self._task: asyncio.Task[None]

    def start(self) -> None:
        if self._on_thread:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
            return
        self._woken, self._loop = asyncio.Event(), self._home
        self._task = self._home.create_task(self._body(self._woken), name=self._name)

    def wake(self) -> None:
        """Sets the body's event. Any thread may call it, also when the body has ended."""
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop has closed
                self._loop.call_soon_threadsafe(self._woken.set)

    async def stop(self) -> None:
        """Cancels the body and returns when it has ended. Works twice."""
        self._stopping = True
        if self._thread is not None:
            if self._loop is not None:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._task.cancel)
            await asyncio.shield(self._ended)
            self._thread.join()
        elif self._loop is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _run(self) -> None:
        try:
            asyncio.run(self._in_thread())
        finally:
            with suppress(RuntimeError):
                self._home.call_soon_threadsafe(self._mark_ended)

    async def _in_thread(self) -> None:
        self._woken = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = asyncio.get_running_loop()
        if not self._stopping:  # else nobody has seen the loop, and nobody cancels
            with suppress(asyncio.CancelledError):
                await self._body(self._woken)

    def _mark_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)
