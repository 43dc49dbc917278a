"""The process's one writing connection, and whose turn it is to write.

Everything that the runner writes goes through here: on the event loop's thread, inline. While an interactive
transaction of a handler is open in its own thread, it holds the turn, and whoever wants to write waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import apsw

from holdfast.kit.clock import Clock

from .connection import Connection
from .faults import translated
from .writer import roll_back

T = TypeVar("T")


class WriteSession:
    """What the writing ports of one store share."""

    def __init__(self, connection: Connection, sql: Mapping[str, str], clock: Clock) -> None:
        self.connection = connection
        self.sql = sql
        self.clock = clock
        self.turn = asyncio.Lock()
        self.incarnation: int | None = None

    async def write(self, act: Callable[[Callable[..., list[Any]]], T]) -> T:
        """Calls `act(run)` in one transaction, when it is its turn. Raises PersistenceError."""
        if not self.turn.locked():
            return self._write(act)
        async with self.turn:
            return self._write(act)

    def _write(self, act: Callable[[Callable[..., list[Any]]], T]) -> T:
        with write_transaction(self.connection):
            return act(self.run)

    def run(self, name: str, bindings: Sequence[Any] | Mapping[str, Any] = ()) -> list[Any]:
        """Runs a named statement and returns its rows."""
        return self.connection.execute(self.sql[name], bindings).fetchall()


@contextmanager
def write_transaction(connection: Connection) -> Generator[None, None, None]:
    """One transaction that holds the write lock from its start. Raises PersistenceError for the driver's errors."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
    except apsw.Error as error:
        raise translated(error) from error
