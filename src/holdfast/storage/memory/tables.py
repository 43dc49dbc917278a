"""The tables, as dictionaries by id, with an undo log in place of transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, TypeVar

from holdfast.errors import Conflict
from holdfast.model.address import Address
from holdfast.model.cluster import GroupRow, RunnerRow, ShardRow
from holdfast.model.job import ArchivedJob, JobRow, StartRecord
from holdfast.model.message import DeadMessageRow, DoneRow, InboxRow, MessageRow, StateRow

K = TypeVar("K")
V = TypeVar("V")

Tally = Counter[tuple[str, str, int, str]]


class Table(Generic[K, V]):
    """Rows by key. Every change leaves on `undo` what takes it back."""

    def __init__(self, undo: list[Callable[[], object]]) -> None:
        self.rows: dict[K, V] = {}
        self._undo = undo

    def insert(self, key: K, row: V) -> None:
        """Raises Conflict when the key is taken."""
        if key in self.rows:
            raise Conflict(f"an id, a key or a name is taken already: {key!r}")
        self.put(key, row)

    def put(self, key: K, row: V) -> None:
        if key in self.rows:
            before = self.rows[key]
            self._undo.append(lambda: self.rows.__setitem__(key, before))
        else:
            self._undo.append(lambda: self.rows.pop(key))
        self.rows[key] = row

    def remove(self, key: K) -> V | None:
        row = self.rows.pop(key, None)
        if row is not None:
            self._undo.append(lambda: self.rows.__setitem__(key, row))
        return row


class Tables:
    """All of a store's tables. Outlives the stores opened on it, as a file does.

    Like a file they are for one runner at a time; `shared` ones are for several side by side, as a database is.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self._undo: list[Callable[[], object]] = []
        self.states: Table[Address, StateRow] = Table(self._undo)
        self.messages: Table[int, MessageRow] = Table(self._undo)
        self.done: Table[int, DoneRow] = Table(self._undo)
        self.dead_messages: Table[int, DeadMessageRow] = Table(self._undo)
        self.inbox: Table[int, InboxRow] = Table(self._undo)
        self.jobs: Table[int, JobRow] = Table(self._undo)
        self.archive: Table[int, ArchivedJob] = Table(self._undo)
        self.starts: Table[int, StartRecord] = Table(self._undo)
        self.runners: Table[int, RunnerRow] = Table(self._undo)
        self.groups: Table[str, GroupRow] = Table(self._undo)
        self.shards: Table[int, ShardRow] = Table(self._undo)
        self.message_keys: Table[tuple[str, str, str, str], int] = Table(self._undo)
        self.timer_names: Table[tuple[str, str, str], int] = Table(self._undo)
        self.job_keys: Table[tuple[str, str, str | None], int] = Table(self._undo)
        self.tally: Tally = Counter()
        self.next_id = 1
        self.next_runner = 1
        self.runner_open = False
        self.inbox_changes = 0

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All changes made inside, or none."""
        assert not self._undo, "transactions do not nest"
        try:
            yield
        except BaseException:
            for take_back in reversed(self._undo):
                take_back()
            raise
        finally:
            self._undo.clear()

    def copy(self) -> Tables:
        """The same data for another runner, as a copy of a file would be."""
        copied = Tables(shared=self.shared)
        for name, table in vars(self).items():
            if isinstance(table, Table):
                getattr(copied, name).rows.update(table.rows)  # pyright: ignore[reportUnknownMemberType]
        copied.tally = self.tally.copy()
        copied.next_id, copied.next_runner = self.next_id, self.next_runner
        return copied
