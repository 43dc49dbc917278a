"""The handler's turn as the doors inside it see it.

While a handler runs, `current_turn` holds its turn. Doors (a durable send, a submit, a timer) stage rows there
instead of committing by themselves, so that they commit with the handler or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Protocol

from holdfast.model.unit import Row


class Turn(Protocol):
    @property
    def rows(self) -> Sequence[Row] | None:
        """What this run of the handler has staged; a handler that runs again has staged nothing.

        Once it is being committed these are the rows as they are written: some may have been left in the inbox.
        """
        ...

    def check_open(self) -> None:
        """Raises HandlerEnded once the handler has ended."""
        ...

    def stage(self, row: Row, size_bytes: int = 0) -> None:
        """Adds a row to what the handler commits. Raises HandlerEnded, and UsageError in a readonly handler."""
        ...

    def after_commit(self, act: Callable[[], None]) -> None:
        """Calls `act` once the handler's effects are durable; never where they are not."""
        ...


current_turn: ContextVar[Turn | None] = ContextVar("holdfast_turn", default=None)
