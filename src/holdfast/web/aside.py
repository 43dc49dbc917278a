"""Blocking calls beside an event loop that must stay free.

A scrape may meet somebody else's collector that hangs, a health check a lock that is held. Each call gets a daemon
thread of its own (they are rare), so that the loop goes on and neither stopping nor the interpreter's end waits for
one that never returns. A bound on the calls under way keeps hanging ones from piling up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Semaphore, Thread
from typing import TypeVar

R = TypeVar("R")


class Busy(RuntimeError):
    """As many calls as allowed are under way, or this one took too long."""


class Aside:
    """Runs blocking calls for whichever event loop asks."""

    def __init__(self, name: str, *, calls_max: int = 4, timeout_s: float = 10.0) -> None:
        self._name = name
        self._calls_max = calls_max
        self._timeout_s = timeout_s
        self._places = Semaphore(calls_max)

    async def call(self, work: Callable[[], R]) -> R:
        """The call's result or error. Raises Busy at the bound, and when it takes too long (it is left running)."""
        if not self._places.acquire(blocking=False):
            raise Busy(f"{self._calls_max} calls of {self._name} are under way")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        Thread(target=self._run, args=(work, future), name=self._name, daemon=True).start()
        try:
            return await asyncio.wait_for(future, self._timeout_s)
        except TimeoutError as error:
            if not future.cancelled():  # the call's own
                raise
            raise Busy(f"a call of {self._name} takes more than {self._timeout_s:g} s") from error

    def _run(self, work: Callable[[], R], future: asyncio.Future[R]) -> None:
        settle = _outcome_of(work)
        self._places.release()
        try:
            future.get_loop().call_soon_threadsafe(lambda: future.done() or settle(future))
        except RuntimeError:  # the loop has ended meanwhile: nobody waits any more
            return


def _outcome_of(work: Callable[[], R]) -> Callable[[asyncio.Future[R]], None]:
    try:
        result = work()
    except Exception as error:
        failure = error
        return lambda future: future.set_exception(failure)
    return lambda future: future.set_result(result)
