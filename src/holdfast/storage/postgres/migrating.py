"""The schema's history of a database by its URL, for those who migrate apart from running."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from holdfast.errors import PersistenceError, StoreUnavailable
from holdfast.storage.steps import Applied, Step

from . import schema
from .connection import Connection, PostgresOptions, open_at_start
from .faults import DRIVER_ERRORS, translated
from .pool import end


def steps() -> list[Step]:
    """All steps this version knows."""
    return schema.steps()


async def applied(url: str) -> Sequence[Applied]:
    """The steps that the database has seen. Raises StoreUnavailable."""
    async with _connected(url) as connection:
        return await schema.applied(connection)


async def apply(url: str, now_us: int) -> Sequence[Step]:
    """Applies what is missing, also beside runners at work, and returns it. Raises StoreUnavailable, SchemaMismatch."""
    async with _connected(url) as connection:
        return await schema.migrate(connection, now_us)


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[Connection, None]:
    connection = await open_at_start(PostgresOptions(url=url))
    try:
        yield connection
    except PersistenceError as error:
        raise StoreUnavailable(str(error)) from error
    except DRIVER_ERRORS as error:
        raise StoreUnavailable(str(translated(error, True))) from error
    finally:
        await end(connection)
