"""Jobs that were part of too many deaths of a runner: they end as dead, and do not start again."""

from __future__ import annotations

from functools import partial

from holdfast.kit.clock import Clock
from holdfast.model.job import JobRow, JobState
from holdfast.model.unit import Unit

from .attempt import Held
from .intake import Intake
from .outcomes import Dead
from .roster import Roster
from .rows import end_row
from .surroundings import Surroundings
from .tally import Tallies
from .units import JobUnit
from .waiters import Waiters

AGAIN_S = 0.5
REASON = "RunnerUnavailable"


class Condemned:
    """Ends them."""

    def __init__(
        self,
        around: Surroundings,
        *,
        roster: Roster,
        intake: Intake,
        tallies: Tallies,
        waiters: Waiters,
    ) -> None:
        self._around = around
        self._clock: Clock = around.clock
        self._roster = roster
        self._intake = intake
        self._tallies = tallies
        self._waiters = waiters

    def end(self, held: Held) -> None:
        """Nobody knows that its handler ever failed, so its reason is the runner's."""
        self._intake.withdraw(held)
        row, now_us, unit = held.row, self._clock.now_us(), Unit()
        text = f"{row.last_error or REASON} (death {row.crashes})"
        unit.add(end_row(row, Dead(REASON, text), now_us, self._around.runner_id, attempted=0))
        self._around.commits.add(
            JobUnit(unit, committed=partial(self._ended, held, text, now_us), failed=partial(self._refused, held))
        )

    def _ended(self, held: Held, text: str, now_us: int) -> None:
        row, tally = held.row, held.tally
        self._roster.let_go(row.id)
        held.depth.waiting -= 1
        tally.rescued()
        tally.died(REASON)
        tally.duration(max(0, now_us - row.created_at) / 1e6)
        tally.attempts(row.attempt)
        self._tallies.died(row.job_type)
        self._waiters.ended(row, JobState.DEAD, text, REASON)
        self._intake.finished(row)

    def _refused(self, held: Held, _error: BaseException) -> None:
        self._roster.let_go(held.row.id)
        self._around.wheel.after(AGAIN_S, partial(self._place_again, held.row))

    def _place_again(self, row: JobRow) -> None:
        self._intake.place(row)
