"""What the driver's errors mean to a caller: one table, used wherever PostgreSQL is called.

The question that matters about a write is whether it may have happened. An ordinary error of a statement says no: the
server has taken the transaction back and the session lives on. Everything that ends the session, or that this side
noticed first (a timeout, a broken line), leaves it open; `Broken` says so, and whoever wrote has to find out.
"""

from __future__ import annotations

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from holdfast.errors import Conflict, PersistenceError

REFUSED = "HF001"
"""The SQLSTATE that `holdfast_refuse` raises when a guard failed."""

DRIVER_ERRORS: tuple[type[Exception], ...] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    ValueError,  # what can't be encoded: a lone surrogate, a number out of range
)

_MEANING: tuple[tuple[str, str], ...] = (
    ("08", "the connection broke"),
    ("22", "a value can't be stored"),
    ("23", "a row breaks a rule of its table"),
    ("25P03", "the transaction idled for too long and was ended"),
    ("25006", "the server is read-only (a replica, or in recovery)"),
    ("28", "the server does not accept this user"),
    ("3D", "the database does not exist"),
    ("40", "the server took the transaction back (deadlock)"),
    ("42501", "the role lacks a right; see docs/postgresql.md"),
    ("42P01", "a table is missing; run `holdfast db migrate`"),
    ("53100", "the server's disk is full"),
    ("53300", "the server has no connection left"),
    ("53", "the server lacks resources"),
    ("55P03", "a lock was not free in time"),
    ("57014", "the statement ran out of time"),
    ("57P", "the server is shutting down or starting"),
    ("58", "the server met an error of its system"),
)
_TAKEN = "23505"
_ENDS_THE_SESSION = ("08", "57P", "25P03")


class Broken(PersistenceError):
    """The session is gone, and with it the knowledge of what its last statement did."""

    default_executed = "unknown"


def translated(error: Exception, connection_lives: bool) -> PersistenceError:
    """The error a caller of a port gets; chain it with `from error`."""
    if isinstance(error, PersistenceError):
        return error
    state = getattr(error, "sqlstate", None) or ""
    if state == REFUSED:
        return Conflict(f"{error}: a row was not as its unit expected it")
    if not connection_lives or not _is_answer(error, state):
        return Broken(f"{meaning(error)}")
    if state == _TAKEN:
        return Conflict(f"an id, a key or a name is taken already: {error}")
    return PersistenceError(meaning(error))


def meaning(error: Exception) -> str:
    """In words, with the server's own behind them."""
    state = getattr(error, "sqlstate", None) or ""
    words = next((words for prefix, words in _MEANING if state.startswith(prefix)), "") if state else ""
    if not words:
        words = "the server did not answer in time" if isinstance(error, TimeoutError) else "the store refused"
    return f"{words}: {str(error) or type(error).__name__}"


def _is_answer(error: Exception, state: str) -> bool:
    """Whether the server said no and lives, or nothing was sent at all because a value could not be encoded."""
    if isinstance(error, asyncpg.PostgresError):
        fatal = getattr(error, "severity", "ERROR") not in ("ERROR", None)
        return not fatal and not state.startswith(_ENDS_THE_SESSION)
    return isinstance(error, ValueError)
