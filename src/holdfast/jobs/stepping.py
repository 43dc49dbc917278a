"""Driving a handler's coroutine inside a slot's task, in a context of its own.

A task per attempt would cost more than the rest of a short job. Here the slot's task drives the coroutine itself: the
first step is taken by a plain call, so that a handler which never waits costs no scheduling at all, and only the rest
is awaited. For the handler the slot's task is its current task throughout, so `asyncio.timeout`, task groups and
`current_task` work; only its context is the attempt's own.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any


class Rest:
    """What is left of a coroutine that has begun to wait for `waited`; awaiting it gives the coroutine's result."""

    __slots__ = ("_context", "_coroutine", "_waited")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], context: Context, waited: Any) -> None:
        self._coroutine = coroutine
        self._context = context
        self._waited = waited

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, run = self._coroutine, self._context.run
        waited = self._waited
        try:
            while True:
                try:
                    sent = yield waited
                except GeneratorExit:
                    run(coroutine.close)
                    raise
                except BaseException as error:
                    # Whatever is thrown into the slot's task is meant for the handler that runs in it.
                    waited = run(coroutine.throw, error)
                else:
                    waited = run(coroutine.send, sent)
        except StopIteration as end:
            return end.value
