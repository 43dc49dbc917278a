"""The schema's history on one database: numbered steps, each in a transaction of its own, each with its checksum.

Who migrates holds an advisory lock for the length of a step, so two that start at once take turns.
"""

from __future__ import annotations

from holdfast.storage.steps import Applied, Step, check_steps, load_steps, pending_steps

from .connection import Connection
from .faults import DRIVER_ERRORS, translated

STEPS_PACKAGE = "holdfast.storage.postgres.migrations"

_STEP_S = 86_400.0
"""The longest step: one that fills a column of a large table may take hours."""
_LOCK = "SELECT pg_advisory_xact_lock(hashtext('holdfast_migration'), hashtext(current_schema()))"
_MAKE_TABLE = """CREATE TABLE IF NOT EXISTS holdfast_migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at bigint NOT NULL
)"""
# Read as rows: to_regclass() answers from the session's cache, which a wait for the lock does not bring up to date.
_HAS_TABLE = """SELECT EXISTS (
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relname = 'holdfast_migration' AND nspname = ANY (current_schemas(false))
)"""
_READ = "SELECT number, name, checksum, applied_at FROM holdfast_migration ORDER BY number"
_NOTE = "INSERT INTO holdfast_migration (number, name, checksum, applied_at) VALUES ($1, $2, $3, $4)"


def steps() -> list[Step]:
    """All steps this version knows."""
    return load_steps(STEPS_PACKAGE)


async def applied(connection: Connection) -> list[Applied]:
    """The steps that the database has seen."""
    ((there,),) = await connection.fetch(_HAS_TABLE)
    return [Applied(*row) for row in await connection.fetch(_READ)] if there else []


async def check(connection: Connection, store: str) -> None:
    """Raises StoreUnavailable where the database holds no store, and SchemaMismatch unless it is this version's."""
    check_steps(steps(), await applied(connection), store)


async def migrate(connection: Connection, now_us: int) -> list[Step]:
    """Applies what is missing and returns it. Raises SchemaMismatch for a newer or altered history."""
    done: list[Step] = []
    while pending_steps(steps(), await applied(connection)):
        step = await _apply_next(connection, now_us)
        if step is not None:
            done.append(step)
    return done


async def _apply_next(connection: Connection, now_us: int) -> Step | None:
    """Applies one step, chosen under the lock: another process may have applied it meanwhile."""
    try:
        await connection.execute("BEGIN")
        await connection.fetch(_LOCK)
        missing = pending_steps(steps(), await applied(connection))
        if missing:
            await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
            await connection.execute(_MAKE_TABLE)
            await connection.execute(missing[0].sql, timeout=_STEP_S)
            await connection.execute(_NOTE, missing[0].number, missing[0].name, missing[0].checksum, now_us)
        await connection.execute("COMMIT", timeout=_STEP_S)
    except DRIVER_ERRORS as error:
        connection.terminate()
        raise translated(error, True) from error
    except BaseException:
        connection.terminate()
        raise
    return missing[0] if missing else None
