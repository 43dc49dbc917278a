"""What the driver's errors mean to a caller: one table, used wherever SQLite is called."""

from __future__ import annotations

import apsw

from holdfast.errors import Conflict, HoldfastError, PersistenceError, StoreUnavailable

_TAKEN = {apsw.SQLITE_CONSTRAINT_PRIMARYKEY, apsw.SQLITE_CONSTRAINT_UNIQUE, apsw.SQLITE_CONSTRAINT_ROWID}

_MEANING: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.BusyError, "the store is busy: another process held its write lock for too long"),
    (apsw.LockedError, "the store is busy: another connection held a lock for too long"),
    (apsw.FullError, "the disk is full"),
    (apsw.IOError, "the disk refused a read or a write"),
    (apsw.CorruptError, "the store's file is damaged"),
    (apsw.NotADBError, "the file is not an SQLite database"),
    (apsw.CantOpenError, "the store's file can't be opened"),
    (apsw.ReadOnlyError, "the store's file is read-only"),
    (apsw.PermissionsError, "the store's file may not be accessed"),
    (apsw.AuthError, "the statement is not allowed here"),
    (apsw.InterruptError, "the statement ran out of time"),
    (apsw.NoMemError, "out of memory"),
    (apsw.TooBigError, "a value is too large for the store"),
    (apsw.RangeError, "a statement was given the wrong number of values"),
    (apsw.BindingsError, "a statement was given the wrong number of values"),
    (apsw.MismatchError, "a value has the wrong type"),
    (apsw.ConstraintError, "a row breaks a rule of its table"),
)


def translated(error: apsw.Error) -> PersistenceError:
    """The error a caller of a port gets; chain it with `from error`."""
    if isinstance(error, apsw.ConstraintError) and getattr(error, "extendedresult", 0) in _TAKEN:
        return Conflict(f"an id, a key or a name is taken already: {error}")
    return PersistenceError(f"{_meaning(error)}: {error}")


def translated_at_open(error: apsw.Error, path: str) -> HoldfastError:
    """The same while a store is being opened, where it is for the operator to put right."""
    return StoreUnavailable(f"{path}: {_meaning(error)}: {error}")


def _meaning(error: apsw.Error) -> str:
    for kind, meaning in _MEANING:
        if isinstance(error, kind):
            return meaning
    return "the store refused"
