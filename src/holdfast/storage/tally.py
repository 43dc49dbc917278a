"""What a store counts, dialect aside: the ledger out of grouped rows, and what pruned rows go on counting for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from holdfast.model.ledger import JobCounts, Ledger, MessageCounts

Tally = Counter[tuple[str, str, int, str]]
"""Counts by (`job`, `message` or `counted_by`; the type or incarnation; the priority; the column)."""

_LIVE = ("scheduled", "available", "running", "retrying", "enqueued")
_ARCHIVED = ("completed", "cancelled", "dead", "replayed", "discarded", "enqueued")
_MESSAGES = ("pending", "done", "dead", "deliveries", "delivered_once")

Rows = Iterable[Any]


class LedgerCounts:
    """Adds up what the `ledger_...` statements return."""

    def __init__(self) -> None:
        self._jobs: Counter[tuple[str, int, str]] = Counter()
        self._messages: Counter[tuple[str, int, str]] = Counter()
        self._counted_by: Counter[int] = Counter()

    def live_jobs(self, rows: Rows) -> None:
        for job_type, priority, *counts in rows:
            self._add(self._jobs, job_type, priority, _LIVE, counts)

    def archived_jobs(self, rows: Rows) -> None:
        for job_type, priority, *counts in rows:
            self._add(self._jobs, job_type, priority, _ARCHIVED, counts)

    def messages(self, rows: Rows) -> None:
        for entity_type, *counts in rows:
            self._add(self._messages, entity_type, 0, _MESSAGES, counts)

    def counted_by(self, rows: Rows) -> None:
        for incarnation, count in rows:
            self._counted_by[incarnation] += count

    def tallies(self, rows: Rows) -> None:
        for kind, name, priority, what, count in rows:
            match kind:
                case "job":
                    self._jobs[name, priority, what] += count
                case "message":
                    self._messages[name, priority, what] += count
                case _:
                    self._counted_by[int(name)] += count

    def ledger(self, entities: int, inbox: int) -> Ledger:
        kinds = sorted({(name, priority) for name, priority, _ in self._jobs})
        jobs = (
            JobCounts(name, priority, *(self._jobs[name, priority, field] for field in JobCounts._fields[2:]))
            for name, priority in kinds
        )
        messages = (
            MessageCounts(name, *(self._messages[name, 0, field] for field in MessageCounts._fields[1:]))
            for name in sorted({name for name, _, _ in self._messages})
        )
        return Ledger(tuple(jobs), tuple(messages), entities, inbox, dict(self._counted_by))

    @staticmethod
    def _add(
        counts: Counter[tuple[str, int, str]], name: str, priority: int, fields: Sequence[str], values: Sequence[int]
    ) -> None:
        for field, value in zip(fields, values, strict=True):
            counts[name, priority, field] += value


def count_done(tally: Tally, facts: Sequence[Any]) -> None:
    """Adds a pruned outcome: (entity type, whether dead, deliveries, admitted by)."""
    entity_type, dead, deliveries, admitted_by = facts
    tally["message", entity_type, 0, "dead" if dead else "done"] += 1
    tally["message", entity_type, 0, "deliveries"] += deliveries
    tally["message", entity_type, 0, "delivered_once"] += deliveries > 0
    tally["counted_by", str(admitted_by), 0, "admitted"] += 1


def count_archived(tally: Tally, facts: Sequence[Any]) -> None:
    """Adds a pruned job: (type, priority, state, whether replayed, discarded, no replay itself, admitted by)."""
    job_type, priority, state, replayed, discarded, enqueued, admitted_by = facts
    tally["job", job_type, priority, state] += 1
    tally["job", job_type, priority, "replayed"] += replayed
    tally["job", job_type, priority, "discarded"] += discarded
    tally["job", job_type, priority, "enqueued"] += enqueued
    tally["counted_by", str(admitted_by), 0, "admitted"] += enqueued
