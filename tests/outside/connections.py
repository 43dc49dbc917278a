"""A user's own transactions, with each driver: entered to begin, left to commit, left by an error to roll back."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

import apsw
import asyncpg
import django
import django.conf
import psycopg
import sqlalchemy
import sqlalchemy.ext.asyncio
import sqlalchemy.orm
from django.db.utils import ConnectionHandler

Transaction = Callable[[str], AbstractAsyncContextManager[Any]]
"""Of a store's URL; gives what `tx=` takes."""


class Undo(Exception):
    """Leaves a transaction without committing it."""


def for_libpq(url: str) -> tuple[str, str]:
    """The URL without our search_path, and libpq's option for it."""
    parts = urlsplit(url)
    schema = parse_qs(parts.query)["search_path"][0]
    query = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("search_path="))
    return urlunsplit(parts._replace(query=query)), f"-c search_path={schema}"


def connect(url: str, **options: Any) -> psycopg.Connection[Any]:
    plain, search_path = for_libpq(url)
    return psycopg.connect(plain, options=search_path, **options)


@asynccontextmanager
async def of_asyncpg(url: str) -> AsyncGenerator[Any]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def of_asyncpg_pool(url: str) -> AsyncGenerator[Any]:
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection


@asynccontextmanager
async def of_psycopg(url: str) -> AsyncGenerator[Any]:
    with connect(url, row_factory=psycopg.rows.dict_row) as connection:
        yield connection


@asynccontextmanager
async def of_psycopg_async(url: str) -> AsyncGenerator[Any]:
    plain, search_path = for_libpq(url)
    async with await psycopg.AsyncConnection.connect(plain, options=search_path) as connection:
        yield connection


def engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(url), poolclass=sqlalchemy.pool.NullPool
    )


def async_engine(url: str) -> sqlalchemy.ext.asyncio.AsyncEngine:
    return sqlalchemy.ext.asyncio.create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url), poolclass=sqlalchemy.pool.NullPool
    )


@asynccontextmanager
async def of_sqlalchemy(url: str) -> AsyncGenerator[Any]:
    with engine(url).begin() as connection:
        yield connection


@asynccontextmanager
async def of_sqlalchemy_session(url: str) -> AsyncGenerator[Any]:
    with sqlalchemy.orm.Session(engine(url)) as session, session.begin():
        yield session


@asynccontextmanager
async def of_sqlalchemy_scoped_session(url: str) -> AsyncGenerator[Any]:
    session = sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(engine(url)))
    try:
        with session.begin():
            yield session
    finally:
        session.remove()


@asynccontextmanager
async def of_sqlalchemy_async(url: str) -> AsyncGenerator[Any]:
    async with async_engine(url).begin() as connection:
        yield connection


@asynccontextmanager
async def of_sqlalchemy_async_session(url: str) -> AsyncGenerator[Any]:
    async with sqlalchemy.ext.asyncio.AsyncSession(async_engine(url)) as session, session.begin():
        yield session


def django_databases(url: str) -> ConnectionHandler:
    """Django's connections with this store as "default"."""
    if not django.conf.settings.configured:
        django.conf.settings.configure(USE_TZ=True)
        django.setup()
    if url.startswith("sqlite:"):
        default: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": sqlite_file(url)}
    else:
        plain, search_path = for_libpq(url)
        told = psycopg.conninfo.conninfo_to_dict(plain)
        default = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": told["dbname"],
            "USER": told["user"],
            "HOST": told["host"],
            "OPTIONS": {"options": search_path},
        }
    return ConnectionHandler({"default": default})


@asynccontextmanager
async def of_django(url: str) -> AsyncGenerator[Any]:
    """Django refuses its connections on a running loop unless it is told otherwise."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    connection = django_databases(url)["default"]
    try:
        connection.set_autocommit(False)
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
    finally:
        connection.close()
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def sqlite_file(url: str) -> str:
    return url.removeprefix("sqlite:///")


@asynccontextmanager
async def of_sqlite3(url: str) -> AsyncGenerator[Any]:
    connection = sqlite3.connect(sqlite_file(url), timeout=20)
    connection.row_factory = lambda _, row: {"columns": len(row)}
    try:
        with connection:
            yield connection
    finally:
        connection.close()


@asynccontextmanager
async def of_apsw(url: str) -> AsyncGenerator[Any]:
    connection = apsw.Connection(sqlite_file(url))
    connection.set_busy_timeout(20_000)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


@asynccontextmanager
async def of_sqlalchemy_sqlite(url: str) -> AsyncGenerator[Any]:
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool).begin() as connection:
        yield connection


POSTGRES: dict[str, Transaction] = {
    "asyncpg": of_asyncpg,
    "asyncpg pool": of_asyncpg_pool,
    "psycopg": of_psycopg,
    "psycopg async": of_psycopg_async,
    "sqlalchemy": of_sqlalchemy,
    "sqlalchemy session": of_sqlalchemy_session,
    "sqlalchemy scoped session": of_sqlalchemy_scoped_session,
    "sqlalchemy async": of_sqlalchemy_async,
    "sqlalchemy async session": of_sqlalchemy_async_session,
    "django": of_django,
}
BLOCKING = ("psycopg", "sqlalchemy", "sqlalchemy session", "django")
SQLITE: dict[str, Transaction] = {
    "sqlite3": of_sqlite3,
    "apsw": of_apsw,
    "sqlalchemy": of_sqlalchemy_sqlite,
    "django": of_django,
}
