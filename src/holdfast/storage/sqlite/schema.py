"""The schema's history on one file: numbered steps, each in a transaction of its own, each with its checksum."""

from __future__ import annotations

import apsw

from holdfast.storage.steps import Applied, Step, check_steps, load_steps, pending_steps

from .connection import Connection
from .faults import translated
from .writer import roll_back

STEPS_PACKAGE = "holdfast.storage.sqlite.migrations"

_MAKE_TABLE = """CREATE TABLE IF NOT EXISTS holdfast_migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT"""
_HAS_TABLE = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'holdfast_migration'"
_READ = "SELECT number, name, checksum, applied_at FROM holdfast_migration ORDER BY number"
_NOTE = "INSERT INTO holdfast_migration (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)"


def steps() -> list[Step]:
    """All steps this version knows."""
    return load_steps(STEPS_PACKAGE)


def applied(connection: Connection) -> list[Applied]:
    """The steps that the file has seen."""
    if not connection.execute(_HAS_TABLE).fetchall():
        return []
    return [Applied(*row) for row in connection.execute(_READ)]


def check(connection: Connection, store: str) -> None:
    """Raises StoreUnavailable where the file holds no store, and SchemaMismatch unless its schema is this version's."""
    check_steps(steps(), applied(connection), store)


def migrate(connection: Connection, now_us: int) -> list[Step]:
    """Applies what is missing and returns it. Raises SchemaMismatch for a newer or altered history."""
    done: list[Step] = []
    while pending_steps(steps(), applied(connection)):
        step = _apply_next(connection, now_us)
        if step is not None:
            done.append(step)
    return done


def _apply_next(connection: Connection, now_us: int) -> Step | None:
    """Applies one step, chosen under the write lock: another process may have applied it meanwhile."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            missing = pending_steps(steps(), applied(connection))
            if missing:
                connection.execute(_MAKE_TABLE)
                connection.execute(missing[0].sql)
                connection.execute(_NOTE, (missing[0].number, missing[0].name, missing[0].checksum, now_us))
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
    except apsw.Error as error:
        raise translated(error) from error
    return missing[0] if missing else None
