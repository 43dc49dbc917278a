"""What the store's own eyes see: who commits, whether that is the owner, and which moves jobs make.

It looks at each commit when it has been made, with the knowledge of that moment, whatever the fence has let through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from holdfast.model.job import TERMINAL, JobEnd, JobRetry, JobRow
from holdfast.model.message import Consume, DoneRow, MessageRow, StateRow
from holdfast.model.unit import Row, Unit
from holdfast.storage.memory.tables import Tables

OWNED = (StateRow, DoneRow, MessageRow, JobRow)
"""Rows that only the owner of their shard writes."""


class Audit:
    """Collects violations of one run."""

    def __init__(self, tables: Tables, note: Callable[[str], object]) -> None:
        self._tables = tables
        self._note = note
        self.found: list[str] = []
        self._ended: set[int] = set()
        self.consumed: dict[int, int] = {}
        """Message -> how many commits consumed it."""
        self.given_back: dict[int, int] = {}
        """Job -> how many of its attempts were given back, to be started again under the same number."""
        self.reaped: list[int] = []

    def committed(self, process: str, incarnation: int | None, units: Sequence[Unit]) -> None:
        rows = [row for unit in units for row in unit.rows]
        self._note(f"{process} ({incarnation}) commits {' '.join(_brief(row) for row in rows)}")
        if incarnation not in self._tables.runners.rows:
            self.found.append(f"stale commit: {process} commits as runner {incarnation}, which was reaped")
        for row in rows:
            self._look_at(row, process, incarnation)

    def saw_reaped(self, runners: Sequence[int]) -> None:
        for runner in runners:
            self._note(f"runner {runner} is reaped")
        self.reaped += runners

    def _look_at(self, row: Row, process: str, incarnation: int | None) -> None:
        if isinstance(row, OWNED):
            owner = self._tables.shards.rows[row.shard].runner_id
            if owner != incarnation:
                what = f"{_brief(row)} of shard {row.shard}, which runner {owner} owns"
                self.found.append(f"stale commit: {process} writes as runner {incarnation} {what}")
        if isinstance(row, Consume):
            self.consumed[row.id] = self.consumed.get(row.id, 0) + 1
        if isinstance(row, JobEnd | JobRetry | JobRow) and row.id in self._ended:
            self.found.append(f"illegal transition: {_brief(row)} of a job that had ended")
        if isinstance(row, JobRetry) and row.attempt == row.expected:
            self.given_back[row.id] = self.given_back.get(row.id, 0) + 1
        if isinstance(row, JobEnd):
            self._ended.add(row.id)
            if row.state not in TERMINAL:
                self.found.append(f"illegal transition: job {row.id} ended as {row.state}")


def _brief(row: Row) -> str:
    name = type(row).__name__
    match row:
        case StateRow():
            return f"{name}:{row.entity_type}/{row.entity_id}@{row.version}"
        case JobEnd():
            return f"{name}:{row.id}={row.state}"
        case _:
            return f"{name}:{getattr(row, 'id', getattr(row, 'name', ''))}"
