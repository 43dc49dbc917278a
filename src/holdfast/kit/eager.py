"""Coroutines that rarely wait, run without a task.

A task costs several microseconds, and most reads of an embedded store end without ever suspending. `begin` runs a
coroutine to its end or to where it first suspends; only then somebody has to await the rest, in a task of its own.

For coroutines that wait for futures only: `asyncio.timeout` and task groups belong to a task, and the first step has
none.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class Rest(Generic[R]):
    """A coroutine that has suspended; await it once, for its result."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, R], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, R]:
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
                awaited = advance(passed)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]

    def close(self) -> None:
        """Gives it up, where nobody will await it."""
        self._coroutine.close()


def begin(coroutine: Coroutine[Any, Any, R]) -> R | Rest[R]:
    """The coroutine's result, or what is left of it. Raises what its first step raises."""
    try:
        awaited = coroutine.send(None)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    return Rest(coroutine, awaited)
