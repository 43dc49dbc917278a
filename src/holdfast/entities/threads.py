"""Threads for sync handlers that would hold up the event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter
from typing import Any

from .surroundings import Surroundings


class HandlerThreads:
    """A bounded pool, started with its first use."""

    def __init__(self, around: Surroundings) -> None:
        self._threads_max = around.settings.threads
        self._loop = around.loop
        self._pool: ThreadPoolExecutor | None = None
        workers = around.metrics.workers
        self._queued = workers.queue_depth.labels(pool="thread")
        self._active = workers.active.labels(pool="thread")
        self._completions = workers.completions.labels(pool="thread")
        self._seconds = workers.duration.labels(pool="thread")

    def run(self, function: Callable[..., Any], *args: Any) -> Awaitable[Any]:
        """Calls the function in a thread; cancelling the wait does not stop it, but takes it out of the queue."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads_max, thread_name_prefix="holdfast-handler")
        self._queued.inc()
        place = ["queued"]
        future = self._loop.run_in_executor(self._pool, self._work, place, function, args)
        future.add_done_callback(lambda _: self._leave(place))  # cancelled, maybe before a thread took it
        return future

    def _work(self, place: list[str], function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """In the thread."""
        self._leave(place)
        self._active.inc()
        began = perf_counter()
        try:
            return function(*args)
        finally:
            self._active.dec()
            self._completions.inc()
            self._seconds.observe(perf_counter() - began)

    def _leave(self, place: list[str]) -> None:
        """Whoever empties the place, the thread or the loop, counts the call out of the queue: `pop` is atomic."""
        with suppress(IndexError):
            place.pop()
            self._queued.dec()

    def close(self) -> None:
        """Waits for the threads that still work."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
