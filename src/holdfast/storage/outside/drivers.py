"""One small adapter per driver: how it runs a statement with our parameters and gives back its rows as sequences.

Whatever a user has set on a connection to shape rows (row factories, traces) is left as it is and not met here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.ports.outside import KnownGroups, Letter

from .placeholders import as_named, as_percent
from .visiting import Dialect, Rows, drive, visit

Run = Callable[[str, tuple[object, ...]], Rows]
AwaitedRun = Callable[[str, tuple[object, ...]], Awaitable[Rows]]


class Blocking:
    """Implements `ports.outside.BlockingConnection`."""

    def __init__(self, dialect: Dialect, run: Run) -> None:
        self._dialect: Dialect = dialect
        self._run = run

    def leave(self, letter: Letter, known: KnownGroups) -> int:
        return drive(visit(self._dialect, letter, known), self._run)


class Awaited:
    """Implements `ports.outside.AwaitedConnection`."""

    def __init__(self, dialect: Dialect, run: AwaitedRun) -> None:
        self._dialect: Dialect = dialect
        self._run = run

    async def leave(self, letter: Letter, known: KnownGroups) -> int:
        """The same steps as `drive`, awaited."""
        steps = visit(self._dialect, letter, known)
        try:
            statement = next(steps)
            while True:
                try:
                    rows = await self._run(*statement)
                except Exception as error:
                    statement = steps.throw(error)
                else:
                    statement = steps.send(rows)
        except StopIteration as end:
            return int(end.value)


def asyncpg(connection: Any) -> Awaited:
    async def run(sql: str, values: tuple[object, ...]) -> Rows:
        return await connection.fetch(sql, *values)  # type: ignore[no-any-return]

    return Awaited("postgresql", run)


def psycopg(connection: Any) -> Blocking:
    from psycopg import Cursor
    from psycopg.rows import tuple_row

    def run(sql: str, values: tuple[object, ...]) -> Rows:
        with Cursor(connection, row_factory=tuple_row) as cursor:
            cursor.execute(as_percent(sql).encode(), values)
            return cursor.fetchall() if cursor.description else ()

    return Blocking("postgresql", run)


def psycopg_async(connection: Any) -> Awaited:
    from psycopg import AsyncCursor
    from psycopg.rows import tuple_row

    async def run(sql: str, values: tuple[object, ...]) -> Rows:
        async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(as_percent(sql).encode(), values)
            return await cursor.fetchall() if cursor.description else ()

    return Awaited("postgresql", run)


def sqlalchemy(connection: Any, dialect: Dialect) -> Blocking:
    from sqlalchemy import text

    def run(sql: str, values: tuple[object, ...]) -> Rows:
        named, parameters = as_named(sql, values)
        result = connection.execute(text(named), parameters)
        return result.fetchall() if result.returns_rows else ()

    return Blocking(dialect, run)


def sqlalchemy_async(connect: Callable[[], Awaitable[Any]], dialect: Dialect) -> Awaited:
    from sqlalchemy import text

    async def run(sql: str, values: tuple[object, ...]) -> Rows:
        named, parameters = as_named(sql, values)
        result = await (await connect()).execute(text(named), parameters)
        return result.fetchall() if result.returns_rows else ()

    return Awaited(dialect, run)


def django(connection: Any, dialect: Dialect) -> Blocking:
    def run(sql: str, values: tuple[object, ...]) -> Rows:
        with connection.cursor() as cursor:
            cursor.execute(as_percent(sql), values)
            return cursor.fetchall() if cursor.description else ()

    return Blocking(dialect, run)


def sqlite3(connection: Any) -> Blocking:
    def run(sql: str, values: tuple[object, ...]) -> Rows:
        cursor = connection.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, values).fetchall()  # type: ignore[no-any-return]

    return Blocking("sqlite", run)


def apsw(connection: Any) -> Blocking:
    def run(sql: str, values: tuple[object, ...]) -> Rows:
        return connection.cursor().execute(sql, values).fetchall()  # type: ignore[no-any-return]

    return Blocking("sqlite", run)
