"""Callers in this process that wait for a durable message; `durable.Listener` says when they are told what."""

from __future__ import annotations

import asyncio
from typing import Any

from .turns import Ending


class Accepted:
    """A local sender that waits until its durable message is on disk."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[None] = loop.create_future()

    def stored(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def refused(self, error: BaseException) -> None:
        fail(self.future, error)

    def done(self, ending: Ending, outcome: Any) -> None:
        self.stored()


class Finished:
    """A local caller that waits for the outcome of a durable message."""

    __slots__ = ("future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[tuple[Ending, Any]] = loop.create_future()

    def stored(self) -> None:
        """The outcome is what counts."""

    def refused(self, error: BaseException) -> None:
        fail(self.future, error)

    def done(self, ending: Ending, outcome: Any) -> None:
        if not self.future.done():
            self.future.set_result((ending, outcome))


def fail(future: asyncio.Future[Any], error: BaseException) -> None:
    """Ends the wait with an error, where it has not ended yet."""
    if not future.done():
        future.set_exception(error)
