"""What went wrong with a statement, whichever driver says so.

A driver's own error is what the user's code around it knows how to handle, so it passes as it is; only what means that
this is no store of ours gets a name of ours.
"""

from __future__ import annotations

from collections.abc import Iterator

_NO_TABLE = frozenset({"42P01", "42883", "42703", "3F000"})
"""SQLSTATEs of an undefined table, function and column, and of a schema that is not there."""
_NO_RIGHT = "42501"


def lacks_tables(error: BaseException) -> bool:
    """Whether the statement met a database without our tables, or with older ones."""
    return any(
        _state(cause) in _NO_TABLE or "no such table: holdfast_" in str(cause) or "no such column: " in str(cause)
        for cause in _causes(error)
    )


def lacks_rights(error: BaseException) -> bool:
    """Whether the connection's role may not do what was asked."""
    return any(_state(cause) == _NO_RIGHT for cause in _causes(error))


def _state(error: BaseException) -> object:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and the driver's own where a library wraps it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__
