"""A connection that lives in a thread of its own, for what is too slow for the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import apsw

from holdfast.errors import PersistenceError

from .connection import Connection
from .faults import translated

T = TypeVar("T")


class ThreadedConnection:
    """Opens connection and thread on first use; both end with `close`."""

    def __init__(self, open_connection: Callable[[], Connection], name: str) -> None:
        self._open = open_connection
        self._name = name
        self._thread: ThreadPoolExecutor | None = None
        self._connection: Connection | None = None
        self._closed = False

    async def run(self, act: Callable[[Connection], T]) -> T:
        """Calls `act(connection)` in the thread, one after another. Raises PersistenceError for the driver's errors."""
        if self._closed:
            raise PersistenceError("the store is closed")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=self._name)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._call, act)

    def _call(self, act: Callable[[Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = self._open()
            return act(self._connection)
        except apsw.Error as error:
            raise translated(error) from error

    def close(self) -> None:
        """Interrupts what runs, and ends the thread. May be called twice."""
        self._closed = True
        if self._connection is not None:
            self._connection.interrupt()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
