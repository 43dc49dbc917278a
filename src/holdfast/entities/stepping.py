"""Runs a handler's coroutine inside the task of whoever waits for it.

Creating a task and waking its waiter costs 6 us here, stepping a coroutine 0.5 us [measured]. So the first step is
taken by hand: a handler that never suspends is over with it, and only one that does suspend pays for a deadline. The
steps run in the task that awaits them, hence `asyncio.timeout`, task groups and cancellation work in handlers as
anywhere.

In a local caller's task the handler also sees the caller's context variables, as in a plain await; only the current
turn is put in place around each step. In a burst every handler has a context of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any

from holdfast.ports.turn import Turn, current_turn


def step(turn: Turn, advance: Callable[[Any], Any], passed: Any) -> Any:
    """One step of a handler: what it awaits next. Raises StopIteration when it is over."""
    token = current_turn.set(turn)
    try:
        return advance(passed)
    finally:
        current_turn.reset(token)


class Suspended:
    """The rest of a coroutine whose first step has suspended; await it for its result."""

    __slots__ = ("_awaited", "_context", "_coroutine", "_turn")

    def __init__(self, turn: Turn, coroutine: Coroutine[Any, Any, Any], awaited: Any, context: Context | None) -> None:
        self._turn = turn
        self._coroutine = coroutine
        self._awaited = awaited
        self._context = context

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, awaited = self._coroutine, self._awaited
        while True:
            advance: Callable[[Any], Any] = coroutine.send
            try:
                passed = yield awaited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                advance, passed = coroutine.throw, error
            try:
                awaited = self._step(advance, passed)
            except StopIteration as stop:
                return stop.value

    def _step(self, advance: Callable[[Any], Any], passed: Any) -> Any:
        if self._context is None:
            return step(self._turn, advance, passed)
        return self._context.run(step, self._turn, advance, passed)


class Checkpoint:
    """Gives the loop one pass: every call is a point where others get their turn, even one that never had to wait."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, None]:
        yield


CHECKPOINT = Checkpoint()
