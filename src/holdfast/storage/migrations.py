"""What `holdfast db migrate|status|sql` asks for: the schema's history of a store, by its URL.

A store is migrated by itself when a runner opens it, on PostgreSQL where its role may; these are for looking first,
and for doing it apart.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from holdfast.errors import ConfigurationError
from holdfast.kit.clock import Clock, SystemClock

from .sqlite import schema
from .sqlite.connection import Connection, open_connection
from .sqlite.faults import translated_at_open
from .sqlite.guard import guard, unguard
from .sqlite.lock import RunnerLock
from .steps import Applied, Step, pending_steps
from .urls import is_postgres, scheme, sqlite_path

_BUSY_S = 5.0


class Status(NamedTuple):
    """What a store has seen, and what this version would still apply."""

    applied: Sequence[Applied]
    pending: Sequence[Step]


async def status(store_url: str) -> Status:
    """Looks and changes nothing; a file that is not there yet has seen nothing.

    Raises ConfigurationError, StoreUnavailable, and SchemaMismatch for a newer or altered schema.
    """
    if is_postgres(store_url):
        from .postgres import migrating

        seen, known = await migrating.applied(store_url), migrating.steps()
    else:
        seen, known = _seen(_path(store_url)), schema.steps()
    return Status(seen, pending_steps(known, seen))


async def pending(store_url: str) -> Sequence[Step]:
    """The steps that the store lacks, in order. Raises as `status`."""
    return (await status(store_url)).pending


async def apply(store_url: str, *, clock: Clock | None = None) -> Sequence[Step]:
    """Applies what the store lacks and returns it. Raises as `status`; StoreUnavailable while a runner holds
    an embedded one."""
    if is_postgres(store_url):
        from .postgres import migrating

        return await migrating.apply(store_url, (clock or SystemClock()).now_us())
    path = _path(store_url)
    lock = RunnerLock(path)
    lock.take()
    try:
        with _connected(path, read_only=False) as connection:
            return schema.migrate(connection, (clock or SystemClock()).now_us())
    finally:
        lock.release()


def sql(steps: Sequence[Step]) -> str:
    """The text of steps, for a reader or another tool."""
    return "\n".join(f"-- {step.name} (sha256 {step.checksum})\n{step.sql}" for step in steps)


def _seen(path: str) -> Sequence[Applied]:
    if not Path(path).exists():
        return []
    with _connected(path, read_only=True) as connection:
        return schema.applied(connection)


def _path(store_url: str) -> str:
    if scheme(store_url) == "memory":
        raise ConfigurationError("a memory store has no schema to migrate")
    return sqlite_path(store_url)


@contextmanager
def _connected(path: str, *, read_only: bool) -> Generator[Connection, None, None]:
    guard(path)
    try:
        connection = open_connection(path, read_only=read_only, busy_s=_BUSY_S)
        try:
            yield connection
        finally:
            connection.close()
    except apsw.Error as error:
        raise translated_at_open(error, path) from error
    finally:
        unguard(path)
