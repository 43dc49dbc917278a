"""Connections to the file, with all that every one of them needs set."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import apsw

from holdfast.errors import ConfigurationError

Bindings = Sequence[Any] | Mapping[str, Any]

FIXED_VERSION = (3, 51, 3)
"""Libraries before this one can corrupt a database when the write-ahead log restarts."""

STATEMENTS_CACHED = 128
PAGES_CACHED_KIB = 64 * 1024
LOG_BYTES_KEPT = 64 * 1024 * 1024
_BUSY_PAUSE_S = 0.0005


class Cursor(Protocol):
    """What we use of `apsw.Cursor`, with types that both checkers know on every Python."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def get_description(self) -> tuple[tuple[str, str], ...]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What we use of `apsw.Connection`."""

    in_transaction: bool
    authorizer: Callable[..., int] | None

    def execute(self, statements: str, bindings: Bindings | None = None, *, can_cache: bool = True) -> Cursor: ...
    def executemany(self, statements: str, sequenceofbindings: Iterable[Bindings]) -> Cursor: ...
    def total_changes(self) -> int: ...
    def changes(self) -> int: ...
    def interrupt(self) -> None: ...
    def set_busy_handler(self, callable: Callable[[int], bool] | None) -> None: ...
    def set_progress_handler(self, callable: Callable[[], bool] | None, nsteps: int = ...) -> None: ...
    def close(self) -> None: ...


def open_connection(path: str, *, synchronous: str = "FULL", read_only: bool = False, busy_s: float) -> Connection:
    """A connection that waits `busy_s` seconds at most for somebody else's lock.

    Raises apsw.Error, and ConfigurationError for an SQLite library that is too old.
    """
    check_library()
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    opened = apsw.Connection(path, flags=flags, statementcachesize=STATEMENTS_CACHED)
    connection = cast(Connection, opened)
    try:
        opened.set_busy_handler(bounded_patience(busy_s))
        for pragma in _pragmas(synchronous, read_only):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def check_library() -> None:
    """Raises ConfigurationError for an SQLite library that is too old."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < FIXED_VERSION:
        wanted = ".".join(map(str, FIXED_VERSION))
        raise ConfigurationError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt data; apsw with {wanted} or later is needed"
        )


def _pragmas(synchronous: str, read_only: bool) -> list[str]:
    pragmas = [f"cache_size = -{PAGES_CACHED_KIB}", "temp_store = MEMORY", "trusted_schema = OFF"]
    if not read_only:
        # `fullfsync` is the same promise on macOS, where a plain fsync does not reach the platter.
        pragmas += ["journal_mode = WAL", f"synchronous = {synchronous}", "fullfsync = ON", "checkpoint_fullfsync = ON"]
        pragmas += [f"journal_size_limit = {LOG_BYTES_KEPT}"]
    return pragmas


def bounded_patience(busy_s: float) -> Callable[[int], bool]:
    """A busy handler with short, equal pauses: SQLite's own grow to 100 ms, so that an eager neighbour starves it."""
    deadline = 0.0

    def wait(tries: int) -> bool:
        nonlocal deadline
        if tries == 0:
            deadline = time.monotonic() + busy_s
        if time.monotonic() >= deadline:
            return False
        time.sleep(_BUSY_PAUSE_S)
        return True

    return wait
