"""Committing to memory: inline, in the order of the units; with faults and delays where a simulation asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from holdfast.errors import Conflict, PersistenceError, UsageError
from holdfast.model.unit import Unit

from .tables import Tables
from .writes import prove, write_unit

N = TypeVar("N")


def _nothing(units: Sequence[Unit]) -> None: ...


def _nobody(incarnation: int | None, units: Sequence[Unit]) -> None: ...


@dataclass(slots=True, kw_only=True)
class StorageFaults:
    """What a simulation does to a store.

    `before_commit` and `after_commit` see the units and may raise: before, nothing is written; after, all of it is
    (the answer that got lost: raise PersistenceError with `executed="unknown"`). `latency_s` makes `commit` wait on
    the loop's clock before it writes, so that it returns an awaitable. `committed` hears of all that was written, and
    as which incarnation.
    """

    before_commit: Callable[[Sequence[Unit]], None] = _nothing
    after_commit: Callable[[Sequence[Unit]], None] = _nothing
    latency_s: Callable[[], float] | None = None
    committed: Callable[[int | None, Sequence[Unit]], None] = _nobody


class MemorySession:
    """Whose turn it is to write, and as which incarnation."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.turn = asyncio.Lock()
        self.incarnation: int | None = None
        self.closed = False


class MemoryJournal:
    """`Journal` in memory."""

    def __init__(self, session: MemorySession, faults: StorageFaults) -> None:
        self._session = session
        self._faults = faults

    def commit(self, units: Sequence[Unit]) -> Awaitable[None] | None:
        if self._session.turn.locked() or self._faults.latency_s is not None:
            return self._commit_in_turn(units, self._session.incarnation)
        self.write(units, self._session.incarnation)
        return None

    async def _commit_in_turn(self, units: Sequence[Unit], incarnation: int | None) -> None:
        if self._faults.latency_s is not None:
            await asyncio.sleep(self._faults.latency_s())  # before its turn: one that takes less may come before it
        async with self._session.turn:
            self.write(units, incarnation)

    def write(self, units: Sequence[Unit], incarnation: int | None) -> None:
        if self._session.closed:
            raise PersistenceError("the store is closed")
        self._faults.before_commit(units)
        with self._session.tables.transaction():
            prove(self._session.tables, incarnation)
            for index, unit in enumerate(units):
                try:
                    write_unit(self._session.tables, unit)
                except Conflict as conflict:
                    conflict.unit_index = index
                    raise
        self._faults.committed(incarnation, units)
        self._faults.after_commit(units)

    async def begin(self, *, timeout_s: float) -> MemoryTransaction:
        await self._session.turn.acquire()
        return MemoryTransaction(self, self._session, timeout_s)


class MemoryTransaction:
    """`OpenTransaction` in memory: it holds the turn and commits the unit, but has no SQL to offer."""

    def __init__(self, journal: MemoryJournal, session: MemorySession, timeout_s: float) -> None:
        self._journal = journal
        self._session = session
        self._incarnation = session.incarnation
        self._over = ""
        why = f"it was open for more than {timeout_s} s and was rolled back"
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._end, why)

    async def execute(self, sql: str, *args: object) -> int:
        self._refuse_sql()

    async def fetch(self, sql: str, *args: object) -> Sequence[Mapping[str, object]]:
        self._refuse_sql()

    def native(self, kind: type[N], /) -> N:
        self._refuse_sql()

    async def commit(self, unit: Unit) -> None:
        self._check_open()
        try:
            self._journal.write([unit], self._incarnation)
        finally:
            self._end("it was committed")

    async def rollback(self) -> None:
        self._end("it was rolled back")

    def _refuse_sql(self) -> NoReturn:
        self._check_open()
        raise UsageError("the memory store has no SQL: test what uses self.transaction() on sqlite:///<file>")

    def _check_open(self) -> None:
        if self._over:
            raise PersistenceError(f"the transaction is over: {self._over}")

    def _end(self, why: str) -> None:
        if not self._over:
            self._over = why
            self._timer.cancel()
            self._session.turn.release()
