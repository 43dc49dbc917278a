"""Jobs that start with the very commit that stores them.

A job that finds a free slot, and nothing waiting before it, takes its start record along: one commit instead of two
lies between its submit and its start. Only where jobs come one by one: what comes in together is cheaper stored first
and started together, with one record for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from holdfast.model.job import CRITICAL, JobRow

from .attempt import Attempt, Held, Phase
from .dispatch import Dispatcher
from .job_type import JobType
from .roster import Roster
from .surroundings import Surroundings
from .tally import Tallies
from .windows import Windows

APART_S: Final = 0.002
"""Seconds since the last submit with which one counts as coming by itself: about a commit. [M] without it 64 submitters
got through a fifth fewer jobs on SQLite."""


class Start:
    """A job on its way to the store, together with its start record."""

    __slots__ = ("_attempt", "_dispatcher", "_dropped", "row")

    def __init__(self, attempt: Attempt, dispatcher: Dispatcher, dropped: Callable[[Attempt], None]) -> None:
        self.row = dispatcher.record_row(attempt.record)
        self._attempt = attempt
        self._dispatcher = dispatcher
        self._dropped = dropped

    def stored(self) -> None:
        """Both are on disk: the job runs."""
        self._dispatcher.started([self._attempt])

    def failed(self) -> None:
        """The job was not stored, so there is none."""
        self._dispatcher.take_back(self._attempt)
        self._dropped(self._attempt)


class StraightStarts:
    """Finds out which jobs may start so."""

    def __init__(
        self,
        around: Surroundings,
        *,
        types: Mapping[str, JobType],
        roster: Roster,
        windows: Windows,
        tallies: Tallies,
        dispatcher: Dispatcher,
        dropped: Callable[[Attempt], None],
    ) -> None:
        """`dropped` hears of an attempt whose job was not stored."""
        self._commits = around.commits
        self._clock = around.clock
        self._last_at = -APART_S
        self._types = types
        self._roster = roster
        self._windows = windows
        self._tallies = tallies
        self._dispatcher = dispatcher
        self._dropped = dropped

    def begin(self, row: JobRow) -> Start | None:
        """Takes a slot for a job that is about to be stored, where it may start at once."""
        last_at, self._last_at = self._last_at, self._clock.monotonic()
        if self._last_at - last_at < APART_S:
            return None
        declared = self._types.get(row.job_type)
        if declared is None or row.due_at or row.group is not None or row.id in self._roster:
            return None
        if (self._commits.busy and row.priority != CRITICAL) or not self._windows.complete(row):
            return None
        held = Held(row, declared, self._tallies.of(row.job_type, row.priority), Phase.STARTING)
        attempt = self._dispatcher.take_slot(held)
        if attempt is None:
            return None
        self._roster.hold(held)
        return Start(attempt, self._dispatcher, self._drop)

    def _drop(self, attempt: Attempt) -> None:
        self._roster.let_go(attempt.held.row.id)
        self._dropped(attempt)
