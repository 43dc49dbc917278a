"""Units into tables: the rows of a batch by type, one prepared statement for each type.

Measured: `executemany` is as fast as multi-row inserts and simpler; a guard is one subtraction of SQLite's own
count of changes. Units count one after another, so rows are grouped only where no two units could meet in one row,
key or name (`order_matters`); else, and to find the unit to blame after a conflict, the batch is written unit by
unit, which costs about 3 us more for each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import apsw

from holdfast.errors import Conflict, FencedOut
from holdfast.model.job import (
    ArchivedJob,
    EndStart,
    FreshJob,
    JobDiscard,
    JobEnd,
    JobReplay,
    JobRetry,
    JobRow,
    StartRecord,
)
from holdfast.model.message import (
    Consume,
    DeadMessageEnd,
    DeadMessageRow,
    DoneRow,
    InboxRow,
    MessageRetry,
    MessageRow,
    StateRow,
    Take,
    TimerCancel,
)
from holdfast.model.unit import WRITE_ORDER, Row, Unit

from .connection import Connection
from .faults import translated

Rows = list[Any]
Groups = Mapping[type[Row], Rows]
Step = Callable[[Rows], None]

_RANK: dict[type[Row], int] = {kind: rank for rank, kind in enumerate(WRITE_ORDER)}


class UnitWriter:
    """Writes units through one connection; the statements stay prepared in its cache."""

    __slots__ = ("_connection", "_executemany", "_fence", "_sql", "_steps", "_total_changes")

    def __init__(self, connection: Connection, sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._executemany = connection.executemany
        self._total_changes = connection.total_changes
        self._sql = sql
        self._fence = sql["fence"]
        self._steps: dict[type[Row], Step] = {
            Consume: self._guarded("message_consume"),
            Take: self._guarded("inbox_take"),
            DeadMessageEnd: self._guarded("dead_message_end"),
            TimerCancel: self._plain("timer_cancel"),
            StateRow: self._states,
            MessageRow: self._plain("message_insert"),
            DoneRow: self._plain("done_insert"),
            MessageRetry: self._guarded("message_retry"),
            DeadMessageRow: self._plain("dead_message_insert"),
            InboxRow: self._plain("inbox_insert"),
            JobReplay: self._guarded("job_replay"),
            FreshJob: self._fresh_jobs,
            JobRow: self._jobs,
            JobEnd: self._job_ends,
            ArchivedJob: self._plain("archive_insert"),
            JobRetry: self._guarded("job_retry"),
            JobDiscard: self._guarded("job_discard"),
            StartRecord: self._plain("start_insert"),
            EndStart: self._plain("start_end"),
        }
        assert self._steps.keys() == _RANK.keys(), "every type of row has its step"

    def commit(self, units: Sequence[Unit], incarnation: int | None) -> None:
        """Writes all units in one transaction of its own. Raises what `Journal.commit` raises."""
        groups = grouped(units)
        try:
            if len(units) == 1:
                return self._in_transaction(incarnation, lambda: self._write(groups))
            if not order_matters(groups):
                try:
                    return self._in_transaction(incarnation, lambda: self._write(groups))
                except Conflict:
                    pass
            return self._in_transaction(incarnation, lambda: self._write_in_order(units))
        except apsw.Error as error:
            raise translated(error) from error

    def apply(self, unit: Unit, incarnation: int | None) -> None:
        """Writes a unit, fenced, inside the transaction that is open. Raises as `commit`; the caller rolls back."""
        try:
            self._prove(incarnation)
            self._write(grouped([unit]))
        except apsw.Error as error:
            raise translated(error) from error

    def _in_transaction(self, incarnation: int | None, write: Callable[[], None]) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            self._prove(incarnation)
            write()
            execute("COMMIT")
        except BaseException as error:
            roll_back(self._connection)
            if isinstance(error, apsw.ConstraintError):
                raise translated(error) from error
            raise

    def _prove(self, incarnation: int | None) -> None:
        if incarnation is None:
            raise FencedOut("this process has not registered with the store, so it may not write")
        if not self._connection.execute(self._fence, (incarnation,)).fetchall():
            raise FencedOut(f"runner {incarnation} was reaped: another one has taken over")

    def _write(self, groups: Groups) -> None:
        steps = self._steps
        for kind in sorted(groups, key=_RANK.__getitem__):
            steps[kind](groups[kind])

    def _write_in_order(self, units: Sequence[Unit]) -> None:
        for index, unit in enumerate(units):
            try:
                self._write(grouped([unit]))
            except Conflict as conflict:
                conflict.unit_index = index
                raise
            except apsw.ConstraintError as error:
                fault = translated(error)
                if isinstance(fault, Conflict):
                    fault.unit_index = index
                raise fault from error

    def _plain(self, name: str) -> Step:
        sql, executemany = self._sql[name], self._executemany

        def write(rows: Rows) -> None:
            executemany(sql, rows)

        return write

    def _guarded(self, name: str) -> Step:
        sql, executemany, total_changes = self._sql[name], self._executemany, self._total_changes

        def write(rows: Rows) -> None:
            before = total_changes()
            executemany(sql, rows)
            if total_changes() - before != len(rows):
                raise Conflict(f"{name}: a row was not as its unit expected it")

        return write

    def _states(self, rows: list[StateRow]) -> None:
        """In the order given, so that an entity's first version and its second may come in one batch."""
        for is_first, run in groupby(rows, key=_is_first):
            if is_first:
                self._executemany(self._sql["state_insert"], run)
            else:
                self._update_states(list(run))

    def _update_states(self, rows: list[StateRow]) -> None:
        before = self._total_changes()
        self._executemany(self._sql["state_update"], rows)
        if self._total_changes() - before != len(rows):
            raise Conflict("state_update: a state is not at the version before")

    def _fresh_jobs(self, rows: list[FreshJob]) -> None:
        for row in rows:
            if self._connection.execute(self._sql["job_ended"], row).fetchall():
                raise Conflict(f"job_ended: job {row.id} has ended")

    def _jobs(self, rows: list[JobRow]) -> None:
        for row in rows:
            if row.key is not None and row.replay_of is None:
                name = (row.job_type, row.group, row.key)
                if self._connection.execute(self._sql["job_keys_held"], name).fetchall():
                    raise Conflict(f"job_keys_held: a job that has ended holds the key {row.key!r} of {row.job_type}")
        self._executemany(self._sql["job_insert"], rows)

    def _job_ends(self, rows: list[JobEnd]) -> None:
        before = self._total_changes()
        self._executemany(self._sql["job_archive"], rows)
        if self._total_changes() - before != len(rows):
            raise Conflict("job_archive: a job is not live, or not at the attempt that ended")
        self._executemany(self._sql["job_delete"], [(row.id,) for row in rows])


def grouped(units: Sequence[Unit]) -> Groups:
    """The rows of all units by type, each list in the order of the units."""
    groups: defaultdict[type[Row], Rows] = defaultdict(list)
    for unit in units:
        for row in unit.rows:
            groups[row.__class__].append(row)
    return groups


def order_matters(groups: Groups) -> bool:
    """Whether rows grouped by type could be accepted, or mean, something else than the units one after another.

    They could where one unit takes away, or changes, what another one inserts: the same id, or a key or a name that
    is free only before or after. What this passes can differ by failing a guard at worst, which is looked into then.
    """
    get = groups.get
    messages, jobs = get(MessageRow), get(JobRow)
    if TimerCancel in groups and (messages or Consume in groups or MessageRetry in groups):
        return True
    if messages and Consume in groups and any(row.key is not None or row.name is not None for row in messages):
        return True
    if jobs and JobEnd in groups and any(row.key is not None for row in jobs):
        return True
    return (
        _meet(messages, get(Consume), get(MessageRetry))
        or _meet(jobs, get(JobEnd), get(JobRetry))
        or _meet(get(InboxRow), get(Take))
        or _meet(get(JobEnd), get(ArchivedJob), get(FreshJob), get(JobReplay), get(JobDiscard))
        or _meet(get(ArchivedJob), get(FreshJob), get(JobReplay), get(JobDiscard))
        or _meet(get(StartRecord), get(EndStart))
    )


def _meet(inserted: Rows | None, *others: Rows | None) -> bool:
    """Whether rows of one type have ids in common with rows of the others."""
    if not inserted or not any(others):
        return False
    ids = {row.id for row in inserted}
    return any(not ids.isdisjoint([row.id for row in rows]) for rows in others if rows)


def _is_first(row: StateRow) -> bool:
    return row.version == 1


def roll_back(connection: Connection) -> None:
    """Ends the open transaction, where SQLite has not done so by itself already."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
