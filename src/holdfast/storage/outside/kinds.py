"""Which driver a connection is of, by the modules of its classes.

| given | from |
|---|---|
| asyncpg.Connection, also out of a pool | async code |
| psycopg.AsyncConnection | async code |
| psycopg.Connection | both |
| SQLAlchemy AsyncConnection, AsyncSession | async code |
| SQLAlchemy Connection, Session | both |
| a Django alias ("default"), or a connection of Django | both; Django itself refuses it on a running loop |
| sqlite3.Connection, apsw.Connection | both |
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from holdfast.errors import UsageError

from . import drivers
from .drivers import Awaited, Blocking
from .visiting import Dialect

Outside = Blocking | Awaited


def outside(connection: object) -> Outside:
    """The connection as a place to leave something. Raises UsageError for what is none."""
    if isinstance(connection, str):
        return _django_alias(connection)
    for base in type(connection).__mro__:
        make = _KINDS.get((base.__module__.partition(".")[0], base.__name__))
        if make is not None:
            return make(connection)
    kind = type(connection)
    raise UsageError(
        f"`tx=` takes a connection of asyncpg, psycopg, SQLAlchemy (or a Session), Django (or an alias), sqlite3 or "
        f"apsw, not {kind.__module__}.{kind.__qualname__}"
    )


def _django_alias(alias: str) -> Outside:
    try:
        connections: Any = import_module("django.db").connections
    except ImportError as error:
        raise UsageError(f"`tx={alias!r}` names a Django database, and Django is not installed") from error
    if alias not in connections.databases:
        raise UsageError(f"`tx={alias!r}` is no alias in Django's DATABASES")
    return _django(connections[alias])


def _django(connection: Any) -> Outside:
    return drivers.django(connection, _dialect(connection.vendor))


def _sqlalchemy(connection: Any) -> Outside:
    return drivers.sqlalchemy(connection, _dialect(connection.dialect.name))


def _sqlalchemy_session(session: Any) -> Outside:
    return _sqlalchemy(session.connection())


def _sqlalchemy_async(connection: Any) -> Outside:
    async def itself() -> Any:
        return connection

    return drivers.sqlalchemy_async(itself, _dialect(connection.dialect.name))


def _sqlalchemy_async_session(session: Any) -> Outside:
    return drivers.sqlalchemy_async(session.connection, _dialect(session.get_bind().dialect.name))


def _dialect(name: str) -> Dialect:
    match name:
        case "postgresql" | "sqlite":
            return name
        case _:
            raise UsageError(f"`tx=` is a connection to the store's own PostgreSQL or SQLite database, not to {name}")


_KINDS: dict[tuple[str, str], Callable[[Any], Outside]] = {
    ("asyncpg", "Connection"): drivers.asyncpg,
    ("asyncpg", "PoolConnectionProxy"): drivers.asyncpg,
    ("psycopg", "Connection"): drivers.psycopg,
    ("psycopg", "AsyncConnection"): drivers.psycopg_async,
    ("sqlalchemy", "Connection"): _sqlalchemy,
    ("sqlalchemy", "Session"): _sqlalchemy_session,
    ("sqlalchemy", "scoped_session"): _sqlalchemy_session,
    ("sqlalchemy", "AsyncConnection"): _sqlalchemy_async,
    ("sqlalchemy", "AsyncSession"): _sqlalchemy_async_session,
    ("sqlalchemy", "async_scoped_session"): _sqlalchemy_async_session,
    ("django", "BaseDatabaseWrapper"): _django,
    ("django", "ConnectionProxy"): _django,
    ("sqlite3", "Connection"): drivers.sqlite3,
    ("apsw", "Connection"): drivers.apsw,
}
