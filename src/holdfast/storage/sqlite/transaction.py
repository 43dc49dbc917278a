"""A handler's own transaction: the user's statements and the unit of the message, committed together.

The statements run in one thread with a connection of its own, so that a slow one does not stop the event loop. The
transaction holds SQLite's write lock, hence the turn of the session too: one at a time, and bounded in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import apsw

from holdfast.errors import PersistenceError, UsageError
from holdfast.model.unit import Unit

from .connection import Connection
from .faults import translated
from .writer import UnitWriter, roll_back

N = TypeVar("N")
T = TypeVar("T")

STEPS_UNWATCHED = 100_000
"""Instructions of SQLite's machine from one look to the next whether the statement is to end: some milliseconds."""
_OURS = "holdfast_"
_WRITES = frozenset(
    {
        apsw.SQLITE_INSERT,
        apsw.SQLITE_UPDATE,
        apsw.SQLITE_DELETE,
        apsw.SQLITE_DROP_TABLE,
        apsw.SQLITE_DROP_INDEX,
        apsw.SQLITE_ALTER_TABLE,
        apsw.SQLITE_CREATE_INDEX,
        apsw.SQLITE_CREATE_TRIGGER,
        apsw.SQLITE_CREATE_TABLE,
    }
)
_NEVER = frozenset({apsw.SQLITE_TRANSACTION, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA})
_OF_THE_STORE = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.CorruptError,
    apsw.InterruptError,
    apsw.NoMemError,
    apsw.ConnectionClosedError,
)
"""Errors of a user's statement that are the store's; all others (a typo, a broken constraint) are the user's to see."""


class InteractiveConnection:
    """The connection and the thread in which interactive transactions run."""

    def __init__(self, connection: Connection, sql: Mapping[str, str]) -> None:
        self.connection = connection
        self.writer = UnitWriter(connection, sql)
        self.current: InteractiveTransaction | None = None
        self._ours = False
        self._stopped = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="holdfast-transaction")
        connection.authorizer = self._authorize
        connection.set_progress_handler(lambda: self._stopped and not self._ours, STEPS_UNWATCHED)

    def submit(self, act: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Runs `act` in the thread, after all that was submitted before."""
        return asyncio.get_running_loop().run_in_executor(self._thread, act, *args)

    def close(self) -> None:
        """Takes back what is open and ends the thread."""
        if self.current is not None:
            self.current.abandon()
        self.connection.interrupt()
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.connection.close()

    def begin(self) -> None:
        self._stopped = False
        self._privileged(lambda: self.connection.execute("BEGIN IMMEDIATE", can_cache=False))

    def commit(self, unit: Unit, incarnation: int | None) -> None:
        if not self.connection.in_transaction:
            raise PersistenceError("SQLite took the transaction back after an error of one of its statements")
        try:
            self._privileged(lambda: self._commit(unit, incarnation))
        except BaseException:
            self.roll_back()
            raise

    def _commit(self, unit: Unit, incarnation: int | None) -> None:
        self.writer.apply(unit, incarnation)
        self.connection.execute("COMMIT", can_cache=False)

    def roll_back(self) -> None:
        self._privileged(lambda: roll_back(self.connection))

    def execute(self, sql: str, args: Sequence[Any]) -> int:
        before = self.connection.total_changes()
        self._of_user(sql, args)
        return self.connection.changes() if self.connection.total_changes() != before else 0

    def fetch(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
        return self._of_user(sql, args)

    def stop(self) -> None:
        """Ends the user's statement that runs, or is about to; callable from any thread."""
        self._stopped = True  # an interrupt alone would miss one that has not begun
        self.connection.interrupt()

    def _of_user(self, sql: str, args: Sequence[Any]) -> list[dict[str, Any]]:
        if not self.connection.in_transaction:
            raise PersistenceError("SQLite took the transaction back after an error of one of its statements")
        try:
            cursor = self.connection.execute(sql, args)
            first = cursor.fetchone()
            if first is None:
                return []
            names = [column[0] for column in cursor.get_description()]
            return [dict(zip(names, row, strict=True)) for row in [first, *cursor.fetchall()]]
        except apsw.AuthError as error:
            raise UsageError(
                "inside a handler's transaction no statement may begin or end one, set a pragma, or write to "
                f"Holdfast's own tables: {sql}"
            ) from error
        except _OF_THE_STORE as error:
            raise translated(error) from error

    def _privileged(self, act: Callable[[], object]) -> None:
        self._ours = True
        try:
            act()
        except apsw.Error as error:
            raise translated(error) from error
        finally:
            self._ours = False

    def _authorize(self, operation: int, first: str | None, second: str | None, *_: object) -> int:
        if self._ours:
            return apsw.SQLITE_OK
        ours = any(name is not None and name.startswith(_OURS) for name in (first, second))
        if operation in _NEVER or (ours and operation in _WRITES):
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK


class InteractiveTransaction:
    """`OpenTransaction` on one file."""

    def __init__(self, where: InteractiveConnection, turn: asyncio.Lock, incarnation: int | None) -> None:
        self._where = where
        self._turn = turn
        self._incarnation = incarnation
        self._over = ""
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls, where: InteractiveConnection, turn: asyncio.Lock, incarnation: int | None, *, timeout_s: float
    ) -> InteractiveTransaction:
        """Waits for its turn, then holds it until it is over, at most `timeout_s` seconds. Raises PersistenceError."""
        await turn.acquire()
        self = cls(where, turn, incarnation)
        where.current = self
        try:
            begun = where.submit(where.begin)
        except BaseException:
            self._ended()
            raise
        try:
            await asyncio.shield(begun)
        except BaseException:
            self._end("it never began")
            where.submit(where.roll_back).add_done_callback(self._ended)
            raise
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._expire, timeout_s)
        return self

    async def execute(self, sql: str, *args: object) -> int:
        self._check_open()
        return await self._where.submit(self._where.execute, sql, args)

    async def fetch(self, sql: str, *args: object) -> Sequence[Mapping[str, object]]:
        self._check_open()
        return await self._where.submit(self._where.fetch, sql, args)

    def native(self, kind: type[N], /) -> N:
        self._check_open()
        if not isinstance(self._where.connection, kind):
            raise UsageError(f"this store's driver is apsw.Connection, not {kind.__module__}.{kind.__qualname__}")
        return self._where.connection

    async def commit(self, unit: Unit) -> None:
        self._check_open()
        self._end("it was committed")
        committed = self._where.submit(self._where.commit, unit, self._incarnation)
        committed.add_done_callback(self._ended)
        await asyncio.shield(committed)

    async def rollback(self) -> None:
        if self._over:
            return
        self._end("it was rolled back")
        await asyncio.shield(self._taken_back())

    def abandon(self) -> None:
        """Lets go without waiting: the connection is about to be closed."""
        self._end("the store was closed")

    def _taken_back(self) -> asyncio.Future[None]:
        taken_back = self._where.submit(self._where.roll_back)
        taken_back.add_done_callback(self._ended)
        return taken_back

    def _expire(self, timeout_s: float) -> None:
        if not self._over:
            self._end(f"it was open for more than {timeout_s} s and was rolled back")
            self._where.stop()
            self._taken_back()

    def _end(self, why: str) -> None:
        self._over = self._over or why
        if self._timer is not None:
            self._timer.cancel()

    def _ended(self, done: asyncio.Future[None] | None = None) -> None:
        if done is not None and not done.cancelled():
            done.exception()  # whoever waits for it sees it; nobody may be waiting any more
        self._where.current = None
        self._turn.release()

    def _check_open(self) -> None:
        if self._over:
            raise PersistenceError(f"the transaction is over: {self._over}")
