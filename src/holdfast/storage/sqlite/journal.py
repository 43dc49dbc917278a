"""The owner's write path on SQLite: a batch is one transaction, inline.

A writer thread beside a busy event loop starves on the interpreter's lock, so the loop's thread writes; while it
waits for the disk the lock is free for other threads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from holdfast.model.unit import Unit

from .session import WriteSession
from .transaction import InteractiveConnection, InteractiveTransaction
from .writer import UnitWriter


class SqliteJournal:
    """`Journal` on one file."""

    def __init__(self, session: WriteSession, interactive: Callable[[], InteractiveConnection]) -> None:
        self._session = session
        self._writer = UnitWriter(session.connection, session.sql)
        self._interactive = interactive

    def commit(self, units: Sequence[Unit]) -> Awaitable[None] | None:
        if self._session.turn.locked():
            return self._commit_in_turn(units, self._session.incarnation)
        self._writer.commit(units, self._session.incarnation)
        return None

    async def _commit_in_turn(self, units: Sequence[Unit], incarnation: int | None) -> None:
        async with self._session.turn:
            self._writer.commit(units, incarnation)

    async def begin(self, *, timeout_s: float) -> InteractiveTransaction:
        return await InteractiveTransaction.open(
            self._interactive(), self._session.turn, self._session.incarnation, timeout_s=timeout_s
        )
