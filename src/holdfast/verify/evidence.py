"""What checks are told and what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .history import Event
from .subject import Books

CHECKED = (
    "lost acknowledgement",
    "duplicate effect",
    "doubled attempt",
    "stale commit",
    "order",
    "illegal transition",
    "conservation",
    "linearizability",
    "cancel",
    "schedule",
    "metrics",
    "unfinished",
    "process",
)
"""Everything that a run can violate, by the name it is reported under."""


class Violation(NamedTuple):
    kind: str
    what: str


class JobEnd(NamedTuple):
    """A finished job, as the store has it."""

    job: str
    job_type: str
    state: str
    replay_of: str | None
    key: str | None = None
    same_as: str | None = None
    """The job whose key it repeated, found out only when it came out of the inbox: its end is the end of both."""


class Ticking(NamedTuple):
    """A schedule: its occurrences from the first that fired to the last, and what became of them."""

    name: str
    due: int
    fired: int
    missed: int


class Harm(NamedTuple):
    """Something was done to a runner, or to the store and so to all, that may end what was running."""

    target: str
    began: float
    ended: float

    def touches(self, run: Event) -> bool:
        return self.target in ("store", run.sender) and self.began < run.returned and run.called < self.ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Finals:
    """What the store and its entities hold once everything has come to rest."""

    counters: Mapping[str, int] = field(default_factory=dict[str, int])
    rolls: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    books: Mapping[str, Books] = field(default_factory=dict[str, Books])
    notes: Sequence[str] = ()
    """The operations of the rows that jobs have written."""
    jobs: Mapping[str, JobEnd] = field(default_factory=dict[str, JobEnd])
    schedules: Sequence[Ticking] = ()
    stale: Sequence[str] = ()
    """Commits that were not their shard's owner's, as the store itself saw them."""
    metrics: Sequence[str] = ()
    """Numbers of runners that disagree with the store's ledger."""
    counted: int = 0
    """Runners whose numbers were held against it."""
    unfinished: Sequence[str] = ()

    def end_of(self, job: str) -> JobEnd | None:
        """Of the job that did what this one was submitted for."""
        ended = self.jobs.get(job)
        return ended if ended is None or ended.same_as is None else self.jobs.get(ended.same_as)


def by_key(events: Iterable[Event]) -> dict[str, list[Event]]:
    grouped: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        grouped[event.key].append(event)
    return grouped
