"""A store by its URL.

sqlite:///relative.db       a file below the working directory
sqlite:////absolute.db      a file by its full path
memory:                     this process only, gone with it; for tests
postgresql://...            not built yet
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from holdfast.errors import ConfigurationError
from holdfast.kit.clock import Clock, SystemClock
from holdfast.ports.store import ClientStore, RunnerStore

from .memory.store import MemoryStore
from .sqlite.store import SqliteOptions, open_client, open_runner

_POSTGRES = frozenset({"postgres", "postgresql"})
_SYNCHRONOUS = frozenset({"OFF", "NORMAL", "FULL", "EXTRA"})


async def open_runner_store(
    url: str, *, clock: Clock | None = None, synchronous: str = "FULL", unsafe_synchronous: bool = False
) -> RunnerStore:
    """The whole store, for the one process that runs it; an embedded store is made and migrated where needed.

    `synchronous` below FULL may lose acknowledged work in a power cut, so it needs `unsafe_synchronous`. Raises
    ConfigurationError, StoreUnavailable and SchemaMismatch.
    """
    clock = clock or SystemClock()
    if scheme(url) == "memory":
        return MemoryStore(clock=clock)
    check_synchronous(synchronous, unsafe=unsafe_synchronous)
    return open_runner(SqliteOptions(path=sqlite_path(url), url=url, clock=clock, synchronous=synchronous))


async def open_client_store(url: str, *, clock: Clock | None = None) -> ClientStore:
    """The store for a process that hosts nothing. Raises ConfigurationError, StoreUnavailable and SchemaMismatch."""
    if scheme(url) == "memory":
        raise ConfigurationError("a memory store lives inside its runner's process: it has no clients")
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
    if scheme(url) in _POSTGRES:
        raise ConfigurationError(
            "PostgreSQL stores are not built yet; they will need `pip install 'holdfast[postgres]'`. "
            "Use sqlite:///<file> for now"
        )
    parts = urlsplit(url)
    if scheme(url) != "sqlite" or parts.netloc or len(parts.path) < 2 or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{masked(url)!r} is no store: use sqlite:///relative.db, sqlite:////absolute.db or memory:"
        )
    return str(Path.cwd() / unquote(parts.path[1:]))


def masked(url: str) -> str:
    """The URL without its password, for messages and logs."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)


def scheme(url: str) -> str:
    """`sqlite`, `memory`, `postgresql`..."""
    return url.partition(":")[0].lower()
