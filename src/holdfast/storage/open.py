"""A store by its URL.

sqlite:///relative.db       a file below the working directory
sqlite:////absolute.db      a file by its full path
memory:                     this process only, gone with it; for tests
postgresql://user@host/db   a PostgreSQL database, shared by any number of runners; needs `holdfast[postgres]`
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.errors import ConfigurationError
from holdfast.kit.clock import Clock, SystemClock
from holdfast.ports.store import ClientStore, RunnerStore

from .memory.store import MemoryStore
from .sqlite.store import SqliteOptions, open_client, open_runner

_SECRET = re.compile(r"([?&](?:password|sslpassword)=)[^&#]*", re.IGNORECASE)
_POSTGRES = frozenset({"postgres", "postgresql"})
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
    """The store for a process that hosts nothing. Raises ConfigurationError, StoreUnavailable and SchemaMismatch."""
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


def sqlite_path(url: str) -> str:
    """The absolute path of the file that an `sqlite:` URL names. Raises ConfigurationError for any other URL."""
    parts = urlsplit(url)
    if scheme(url) != "sqlite" or parts.netloc or len(parts.path) < 2 or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{masked(url)!r} is no store: use sqlite:///relative.db, sqlite:////absolute.db, "
            "postgresql://user@host/database or memory:"
        )
    return str(Path.cwd() / unquote(parts.path[1:]))


def masked(url: str) -> str:
    """The URL without its password, for messages and logs."""
    parts = urlsplit(url)
    url = _SECRET.sub(r"\1***", url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database. Raises ConfigurationError where it does and there is no driver."""
    if scheme(url) not in _POSTGRES:
        return False
    _require_driver()
    return True


def scheme(url: str) -> str:
    """`sqlite`, `memory`, `postgresql`..."""
    return url.partition(":")[0].lower()


def _require_driver() -> None:
    """Raises ConfigurationError where PostgreSQL's driver is not installed; only who has such a store imports it."""
    if find_spec("asyncpg") is None:
        raise ConfigurationError("a PostgreSQL store needs its driver: pip install 'holdfast[postgres]'")
