"""What is asked of a store over somebody else's connection, one statement after another. Pure.

A visit is a generator of statements, so that it is the same for drivers that block and for those that are awaited. Two
statements leave a row: one takes an id and reads the clock, the other inserts. How many shards there are is read before
the first row for a store.

PostgreSQL takes the id from a sequence, which does not wait for anybody's transaction and gives nothing out twice
after a rollback. Each id stands somewhere in a block of its own, so that what is placed by its id is spread.
SQLite has one writer at a time anyway and takes it from the counter; a rollback takes that back too, so the step is
long and random: an id that was rolled back is not given to somebody else within millions of others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from holdfast.errors import StoreUnavailable, UsageError
from holdfast.model.cluster import GroupRow
from holdfast.ports.outside import KnownGroups, Letter, Visit
from holdfast.storage.sqlite.guard import is_guarded
from holdfast.storage.statements import load_statements

from .faults import lacks_rights, lacks_tables

T = TypeVar("T")
Rows = Sequence[Sequence[Any]]
Statement = tuple[str, tuple[object, ...]]
Steps = Generator[Statement, Rows, T]
Dialect = Literal["postgresql", "sqlite"]

POSTGRES_OFFSETS = 65_000
"""Where in its block of the sequence an id may stand."""
SQLITE_STRIDE = (2**24, 2**25)

_MIGRATE = (
    "the database of this connection holds no store of this version, or its tables are not on the connection's "
    "search_path: give `tx=` a connection to the store's own database; `holdfast db migrate` makes the tables"
)
_GRANT = (
    "the role of this connection may not leave messages: it needs SELECT on holdfast_meta and holdfast_shard_group, "
    "INSERT on holdfast_inbox and USAGE on the sequence holdfast_id"
)
_OPEN_HERE = (
    "{path} is open as a Holdfast store in this process: a handler joins its own transaction without `tx=`, and other "
    "code uses `tx=` in a process that does not have the store open"
)


def visit(dialect: Dialect, letter: Letter, known: KnownGroups) -> Steps[int]:
    """Leaves the letter and returns its id; raises as `BlockingConnection.leave`."""
    sql = _statements(dialect)
    if dialect == "sqlite":
        yield from _refuse_open_file()
    number, now_us, cluster_id = (yield from _checked(_first(dialect, sql)))[0]
    groups = known.get(cluster_id)
    if groups is None or all(group.name != letter.group for group in groups):
        groups = known[cluster_id] = yield from _groups(sql, letter.group)
    visited = Visit(int(number), int(now_us), groups)
    shard, kind, body = letter.compose(visited)
    yield from _checked((sql["outside_leave"], (visited.number, shard, int(kind), body, visited.now_us)))
    return visited.number


def drive(steps: Steps[T], run: Callable[[str, tuple[object, ...]], Rows]) -> T:
    """Runs all statements of a visit on a driver that blocks."""
    try:
        statement = next(steps)
        while True:
            try:
                rows = run(*statement)
            except Exception as error:
                statement = steps.throw(error)
            else:
                statement = steps.send(rows)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def _statements(dialect: Dialect) -> Mapping[str, str]:
    folder = "postgres" if dialect == "postgresql" else "sqlite"
    found = _loaded.get(dialect)
    if found is None:
        found = _loaded[dialect] = load_statements(f"holdfast.storage.{folder}.statements")
    return found


_loaded: dict[Dialect, Mapping[str, str]] = {}


def _first(dialect: Dialect, sql: Mapping[str, str]) -> Statement:
    ahead = random.randrange(POSTGRES_OFFSETS) if dialect == "postgresql" else random.randrange(*SQLITE_STRIDE)
    return sql["outside_visit"], (ahead,)


def _refuse_open_file() -> Steps[None]:
    """Raises UsageError where this process has the file open as a store: the audit hook sees new connections only."""
    for row in (yield "PRAGMA database_list", ()):
        if row[1] == "main" and row[2] and is_guarded(str(row[2])):
            raise UsageError(_OPEN_HERE.format(path=row[2]))


def _groups(sql: Mapping[str, str], wanted: str) -> Steps[Sequence[GroupRow]]:
    rows = yield from _checked((sql["outside_groups"], ()))
    groups = [GroupRow(str(name), int(first), int(shards), ()) for name, first, shards in rows]
    if all(group.name != wanted for group in groups):
        raise StoreUnavailable(
            f"the store does not know the shard group {wanted!r} yet: the first runner of the App makes it"
        )
    return groups


def _checked(statement: Statement) -> Steps[Rows]:
    try:
        return (yield statement)
    except Exception as error:
        if lacks_tables(error):
            raise StoreUnavailable(_MIGRATE) from error
        if lacks_rights(error):
            raise StoreUnavailable(_GRANT) from error
        raise
