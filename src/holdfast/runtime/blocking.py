"""Blocking twins: runs a coroutine for a thread that has no event loop.

Where a node of the App is open, the coroutine runs on its loop. Elsewhere one daemon thread per process keeps a loop
with a client; it is started on first use, and anew in a child process after a fork.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from holdfast.errors import BlockingCallOnLoop

T = TypeVar("T")


class Blocking:
    """One App's way to block."""

    def __init__(
        self,
        *,
        loop_in_use: Callable[[], asyncio.AbstractEventLoop | None],
        client: Callable[[], AbstractAsyncContextManager[Any]],
    ) -> None:
        self._loop_in_use = loop_in_use
        self._client = client
        self._lock = threading.Lock()
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._opened: AbstractAsyncContextManager[Any] | None = None
        self._pid = 0

    def run(self, make: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Raises BlockingCallOnLoop on a thread that runs an event loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise BlockingCallOnLoop("this thread runs an event loop: await the call instead of using `.sync`")
        loop = self._loop_in_use() or self._loop_of_thread()
        return asyncio.run_coroutine_threadsafe(_made(make), loop).result()

    def _loop_of_thread(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._own_loop is None or self._pid != os.getpid():
                self._own_loop, self._pid = self._start(), os.getpid()
            return self._own_loop

    def _start(self) -> asyncio.AbstractEventLoop:
        """A daemon thread with a loop and an open client. Raises what opening the client raises."""
        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, name="holdfast-blocking", daemon=True).start()
        self._opened = self._client()  # kept: one that is collected closes what it has opened
        try:
            asyncio.run_coroutine_threadsafe(self._opened.__aenter__(), loop).result()
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            raise
        return loop


async def _made(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return await make()
