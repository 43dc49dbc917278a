"""A handler's own transaction: the user's statements and the unit of the message, committed together.

It has a session of its own, so nothing waits for it but rows that it has locked. The fence is taken in the last
statement, with the unit: a reaper does not wait for a user's open transaction, and what is committed is fenced.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from holdfast.errors import PersistenceError, UsageError
from holdfast.model.unit import Unit

from .batch import layers
from .connection import LOCAL_PLANS, affected, milliseconds
from .faults import DRIVER_ERRORS, Broken, translated
from .outcome import decided
from .parts import parts_of
from .sessions import Sessions, WriteSession

N = TypeVar("N")
T = TypeVar("T")

_CONTROL = re.compile(
    r"\s*(begin|start\s+transaction|commit|end|rollback(?!\s+to)|abort|prepare\s+transaction)\b", re.I
)
_ROLLBACK_S = 2.0


class PostgresTransaction:
    """`OpenTransaction` on one database."""

    def __init__(self, sessions: Sessions, session: WriteSession, timeout_s: float) -> None:
        self._sessions = sessions
        self._session = session
        self._connection = session.connection
        self._over = ""
        self._timer = asyncio.get_running_loop().call_later(timeout_s, self._expire, timeout_s)

    @classmethod
    async def open(cls, sessions: Sessions, incarnation: int | None, *, timeout_s: float) -> PostgresTransaction:
        """Waits for a free session. Raises FencedOut and PersistenceError."""
        session = await sessions.take(incarnation)
        bound = milliseconds(timeout_s)
        begin = f"BEGIN; SET LOCAL statement_timeout = {bound}; SET LOCAL idle_in_transaction_session_timeout = {bound}"
        try:
            await session.connection.execute(begin, timeout=sessions.answer_s)
        except DRIVER_ERRORS as error:
            session.connection.terminate()
            sessions.give_back(session)
            raise PersistenceError(str(translated(error, False))) from error
        except BaseException:
            session.connection.terminate()
            sessions.give_back(session)
            raise
        return cls(sessions, session, timeout_s)

    async def execute(self, sql: str, *args: object) -> int:
        self._check_statement(sql)
        return affected(await self._of_user(self._connection.execute(sql, *args)))

    async def fetch(self, sql: str, *args: object) -> Sequence[Mapping[str, object]]:
        self._check_statement(sql)
        rows: list[Any] = await self._of_user(self._connection.fetch(sql, *args))
        return [dict(row) for row in rows]

    def native(self, kind: type[N], /) -> N:
        self._check_open()
        if not isinstance(self._connection, kind):
            raise UsageError(f"this store's driver is asyncpg.Connection, not {kind.__module__}.{kind.__qualname__}")
        return self._connection

    async def commit(self, unit: Unit) -> None:
        self._check_open()
        self._end("it was committed")
        self._session.batch += 1
        try:
            await decided(self._sessions, self._session, self._send(unit))
        finally:
            self._sessions.give_back(self._session)

    async def rollback(self) -> None:
        if self._over:
            return
        self._end("it was rolled back")
        try:
            await self._connection.execute("ROLLBACK", timeout=_ROLLBACK_S)
        except DRIVER_ERRORS:
            self._connection.terminate()
        except BaseException:
            self._connection.terminate()
            raise
        finally:
            self._sessions.give_back(self._session)

    async def _send(self, unit: Unit) -> None:
        # The user's statements are planned as the server sees fit, ours as in any session that writes.
        answer_s = self._sessions.answer_s
        await self._connection.execute(LOCAL_PLANS, timeout=answer_s)
        for parts in [parts_of(layer) for layer in layers([unit])] or [[]]:
            await self._session.write(parts, timeout_s=answer_s)
        await self._connection.execute("COMMIT", timeout=answer_s)

    async def _of_user(self, statement: Awaitable[T]) -> T:
        try:
            result = await statement
        except DRIVER_ERRORS as error:
            self._check_open()
            judged = translated(error, not self._connection.is_closed())
            if isinstance(judged, Broken):
                raise PersistenceError(str(judged)) from error  # without our COMMIT nothing of it can be there
            raise  # a typo, a broken constraint: the user's to see
        if not self._connection.is_in_transaction():
            self._end("one of its statements ended it")
            self._connection.terminate()
            self._sessions.give_back(self._session)
            self._check_open()
        return result

    def _expire(self, timeout_s: float) -> None:
        if not self._over:
            self._end(f"it was open for more than {timeout_s} s and was rolled back")
            self._connection.terminate()
            self._sessions.give_back(self._session)

    def _end(self, why: str) -> None:
        self._over = self._over or why
        self._timer.cancel()

    def _check_statement(self, sql: str) -> None:
        self._check_open()
        if _CONTROL.match(sql):
            raise UsageError(f"inside a handler's transaction no statement may begin or end one: {sql}")

    def _check_open(self) -> None:
        if self._over:
            raise PersistenceError(f"the transaction is over: {self._over}")
