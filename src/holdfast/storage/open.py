"""A store by its URL.

sqlite:///relative.db       a file below the working directory
sqlite:////absolute.db      a file by its full path
memory:                     this process only, gone with it; for tests
postgresql://user@host/db   a PostgreSQL database, for any number of runners; needs `holdfast[postgres]`
"""

from __future__ import annotations

from holdfast.errors import ConfigurationError
from holdfast.kit.clock import Clock, SystemClock
from holdfast.ports.store import ClientStore, RunnerStore

from .memory.store import MemoryStore
from .sqlite.store import SqliteOptions, open_client, open_runner
from .urls import is_postgres, scheme, sqlite_path

_SYNCHRONOUS = frozenset({"OFF", "NORMAL", "FULL", "EXTRA"})


async def open_runner_store(
    url: str,
    *,
    clock: Clock | None = None,
    synchronous: str = "FULL",
    unsafe_synchronous: bool = False,
    direct_url: str | None = None,
    pooled: bool = False,
) -> RunnerStore:
    """The whole store, for a process that runs what is in it; it is made and migrated where needed.

    An embedded store has one such process. `synchronous` is SQLite's: below FULL it may lose acknowledged work in a
    power cut, so it needs `unsafe_synchronous`, and so does a PostgreSQL server with synchronous_commit off. `pooled`
    says that a postgresql:// URL leads to a pooler in transaction mode, and `direct_url` past it. On PostgreSQL the
    time is the database's, unless `clock` is some other than the system's. Raises ConfigurationError,
    StoreUnavailable and SchemaMismatch.
    """
    clock = clock or SystemClock()
    if scheme(url) == "memory":
        return MemoryStore(clock=clock)
    if is_postgres(url):
        from .postgres import store as postgres

        unsafe = unsafe_synchronous
        options = postgres.options(url, clock=clock, direct_url=direct_url, pooled=pooled, unsafe_synchronous=unsafe)
        return await postgres.open_runner(options)
    check_synchronous(synchronous, unsafe=unsafe_synchronous)
    return open_runner(SqliteOptions(path=sqlite_path(url), url=url, clock=clock, synchronous=synchronous))


async def open_client_store(
    url: str, *, clock: Clock | None = None, direct_url: str | None = None, pooled: bool = False
) -> ClientStore:
    """The store for a process that hosts nothing.

    Raises ConfigurationError, SchemaMismatch, and StoreUnavailable also where there is no store yet.
    """
    if scheme(url) == "memory":
        raise ConfigurationError("a memory store lives inside its runner's process: it has no clients")
    if is_postgres(url):
        from .postgres import store as postgres

        options = postgres.options(url, clock=clock or SystemClock(), direct_url=direct_url, pooled=pooled)
        return await postgres.open_client(options)
    return open_client(SqliteOptions(path=sqlite_path(url), url=url, clock=clock or SystemClock()))


def check_synchronous(synchronous: str, *, unsafe: bool) -> None:
    """Raises ConfigurationError for a setting that may lose acknowledged work, unless it was asked for."""
    if synchronous not in _SYNCHRONOUS:
        raise ConfigurationError(f"synchronous is one of {', '.join(sorted(_SYNCHRONOUS))}, not {synchronous!r}")
    if synchronous in ("OFF", "NORMAL") and not unsafe:
        raise ConfigurationError(
            f"synchronous={synchronous} may lose acknowledged work; it needs unsafe_synchronous=True"
        )
