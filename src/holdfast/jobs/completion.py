"""From an attempt's end to the store: the outcome is decided, written in one unit, and only then counted and told.

The unit holds the job's end (or its retry), what the handler staged where it completed, and the end of the start
record with its last attempt. Each row is guarded by the number of attempts that ended before, so an attempt that was
superseded changes nothing.

Where the job's shard was given away meanwhile, the end is left for its new owner: see `abroad`.

A store that refuses does not undo what a handler did: the same end is offered again until it is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from typing import assert_never

from holdfast.errors import Conflict, FencedOut, PersistenceError
from holdfast.kit.backoff import Backoff
from holdfast.kit.batching import Closed
from holdfast.kit.tasks import TaskOwner
from holdfast.model.job import JobRow, JobState
from holdfast.model.unit import Row, Unit
from holdfast.ports.journal import OpenTransaction

from .abroad import Abroad
from .attempt import Attempt, Held, Interruption, Phase, Record
from .ending import Ending
from .outcomes import (
    AttemptEnd,
    Available,
    Cancelled,
    Completed,
    Dead,
    GivenBack,
    Interrupted,
    Outcome,
    Raised,
    Retry,
    RetryRule,
    Returned,
    TimedOut,
    Undecodable,
    Unencodable,
    decide,
    failure_of,
)
from .roster import Roster
from .rows import end_row, followed
from .surroundings import Surroundings
from .tally import Tallies
from .units import JobUnit, nothing
from .waiters import Waiters

log = logging.getLogger(__name__)

WRITE_AGAIN = Backoff(first_s=0.1, ceiling_s=5.0)
"""Pauses between two tries to write an end that the store refused."""


class Completion:
    """Writes how attempts ended."""

    def __init__(
        self,
        around: Surroundings,
        *,
        tasks: TaskOwner,
        roster: Roster,
        waiters: Waiters,
        tallies: Tallies,
        holdings: Container[int],
        over: Callable[[Held], None],
        arrived: Callable[[JobRow], None],
        finished: Callable[[JobRow], None],
    ) -> None:
        """`over` hears that a job's attempt has ended, `finished` that the job has.

        `arrived` takes a job's row when it is to run again.
        """
        self._territory = around.territory
        self._holdings = holdings
        self._finished = finished
        self._commits = around.commits
        self._clock = around.clock
        self._errors = around.metrics.errors
        self._random = around.random
        self._wheel = around.wheel
        self._tasks = tasks
        self._runner_id = around.runner_id
        self._backoff = Backoff(first_s=around.settings.retry_first, ceiling_s=around.settings.retry_max)
        self._roster = roster
        self._waiters = waiters
        self._tallies = tallies
        self._over = over
        self._arrived = arrived
        self._rules: dict[str, RetryRule] = {}
        self.unwritten = 0
        self.settling: dict[Attempt, None] = {}
        """Attempts whose own transaction is being committed, outside the group batch."""
        self.abroad = Abroad(around, tasks=tasks, reported=self.reported, dropped=self._drop, unfit=self._fail_instead)

    def ended(self, attempt: Attempt, end: AttemptEnd) -> None:
        """An attempt ended. Only the first end of an attempt counts."""
        if attempt.ended:
            return
        attempt.ended = True
        held = attempt.held
        held.phase = Phase.ENDING
        held.tally.running -= 1
        self._over(held)
        self.unwritten += 1
        now_us = self._clock.now_us()
        self._write(attempt, end, self._outcome(attempt, end, now_us), now_us)

    def _outcome(self, attempt: Attempt, end: AttemptEnd, now_us: int) -> Outcome:
        if type(end) is Returned:
            return Completed(end.result)
        if attempt.why is Interruption.CANCEL and isinstance(end, Raised | TimedOut):
            return Cancelled()  # it failed after somebody wanted it stopped: there is nothing to try again
        held = attempt.held
        return decide(
            end,
            number=attempt.number,
            max_attempts=held.row.max_attempts,
            rule=self._rule(held),
            now_us=now_us,
            random=self._random,
        )

    def _rule(self, held: Held) -> RetryRule:
        declared = held.declared
        rule = self._rules.get(declared.name)
        if rule is None:
            rule = self._rules[declared.name] = RetryRule(declared.retry_on, declared.give_up_on, self._backoff)
        return rule

    def _write(self, attempt: Attempt, end: AttemptEnd, outcome: Outcome, now_us: int) -> None:
        ending = Ending(self, attempt, end, outcome, now_us)
        ours = attempt.held.row.shard in self._holdings
        if ours:
            self._fill(ending)
        transaction = None if attempt.plain else attempt.take_transaction()
        if not ours:
            self.abroad.report(ending, transaction)
        elif transaction is None:
            self._hand_in(ending)
        else:
            self.settling[attempt] = None
            settling = self._settle_transaction(ending, transaction)
            self._tasks.start(settling, name=f"transaction of job {attempt.held.row.id}")

    def _fill(self, ending: Ending) -> None:
        attempt, outcome = ending.attempt, ending.outcome
        row = end_row(attempt.held.row, outcome, ending.finished_at, self._runner_id)
        ending.rows = [row]
        ending.size_bytes = len(outcome.result or b"") if type(outcome) is Completed else 0
        if type(outcome) is Completed and not attempt.plain:
            staged, size = attempt.settled(self._territory)
            ending.rows += staged
            ending.size_bytes += size

    async def _settle_transaction(self, ending: Ending, transaction: OpenTransaction) -> None:
        """The handler's own statements commit with the end, outside the group batch; or they are taken back first."""
        try:
            await self._commit_transaction(ending, transaction)
        finally:
            self.settling.pop(ending.attempt, None)

    async def _commit_transaction(self, ending: Ending, transaction: OpenTransaction) -> None:
        if type(ending.outcome) is not Completed:
            await transaction.rollback()
            self._offer_again(ending)
            return
        record = ending.attempt.record
        alone = len(record.attempts) == 1
        if alone:
            ending.taken()
        else:  # the other ends come in the record's line, and this commit does not: what takes it away comes after both
            record.late.append(ending.attempt)
        try:
            await transaction.commit(ending)
        except FencedOut:
            self._superseded(ending)
        except PersistenceError as error:
            await transaction.rollback()
            if alone:
                record.come_back()
            self._fail_instead(ending, error)
        else:
            self.written(ending)
            if not alone:
                self._leave(record)
        finally:
            if not alone:
                record.late.remove(ending.attempt)

    def refused(self, ending: Ending, error: BaseException) -> None:
        """The store did not write the end."""
        if isinstance(error, FencedOut):
            self._superseded(ending)
            return
        record, job = ending.attempt.record, ending.attempt.held.row.id
        record.come_back()
        if not isinstance(error, Conflict):
            ending.tries += 1
            pause = WRITE_AGAIN.delay_s(ending.tries, self._random)
            log.warning("the end of job %s was not written, again in %.1f s: %s", job, pause, error)
            ending.unsure = ending.unsure or (isinstance(error, PersistenceError) and error.executed == "unknown")
            record.late.append(ending.attempt)
            self._wheel.after(pause, lambda: self._end_again(ending))
        elif type(ending.outcome) is Completed and ending.attempt.rows:
            self._fail_instead(ending, error)
        else:
            self._drop(ending)
            log.error("job %s is not as its attempt %s left it: %s", job, ending.attempt.number, error)
            self._leave(record)

    def _superseded(self, ending: Ending) -> None:
        self._drop(ending)
        log.warning("job %s was taken over; its end is not ours to write", ending.attempt.held.row.id)

    def _leave(self, record: Record) -> None:
        """An attempt of it is over whose end did not come in the record's line, or never will."""
        if rows := record.leave():
            self._take_away(record, rows, 1)

    def _take_away(self, record: Record, rows: Sequence[Row], tries: int) -> None:
        def again(error: BaseException) -> None:
            if not isinstance(error, FencedOut):  # else its reaper takes it away
                pause = WRITE_AGAIN.delay_s(tries, self._random)
                self._wheel.after(pause, lambda: self._take_away(record, rows, tries + 1))

        unit = Unit()
        unit.rows += rows
        with suppress(Closed):
            self._commits.add(JobUnit(unit, committed=nothing, failed=again, line=record.line))

    def _end_again(self, ending: Ending) -> None:
        ending.attempt.record.late.remove(ending.attempt)
        self._offer_again(ending)

    def _offer_again(self, ending: Ending) -> None:
        if ending.attempt.held.row.shard in self._holdings:
            self._fill(ending)  # anew: shards that it was to write to may have left since
            self._hand_in(ending)
        else:
            self.abroad.report(ending, None)

    def _hand_in(self, ending: Ending) -> None:
        try:
            self._commits.add(ending)
        except Closed:  # the lease has ended: its start record tells the next owner of the attempt
            self._drop(ending)

    def _fail_instead(self, ending: Ending, error: Exception) -> None:
        """What the handler wanted to be written can't be: its attempt has failed."""
        end, now_us = Raised(error), self._clock.now_us()
        self._write(ending.attempt, end, self._outcome(ending.attempt, end, now_us), now_us)

    def _drop(self, ending: Ending) -> None:
        """The attempt was superseded: it changes nothing."""
        self.unwritten -= 1
        self._let_go(ending.attempt)
        ending.attempt.settle()

    def _let_go(self, attempt: Attempt) -> None:
        held = attempt.held
        self.abroad.remove(attempt)
        if self._roster.get(held.row.id) is held:
            self._roster.let_go(held.row.id)
        held.attempt = None  # each knows the other: a circle that the garbage collector would have to find

    def written(self, ending: Ending) -> None:
        """The end is on disk: now it counts, and everybody may know."""
        attempt, outcome = ending.attempt, ending.outcome
        held = attempt.held
        row = held.row
        self.unwritten -= 1
        self._let_go(attempt)
        if type(outcome) is Completed:
            held.tally.processed(attempt.seconds)
            held.tally.completed()
            self._count_terminal(ending)
            self._waiters.completed(row, outcome.result)
            self._finished(row)
            if attempt.plain:
                return
            for act in attempt.acts():
                act()
        else:
            self._count_failure(ending)
            self._follow(ending)
        attempt.settle()

    def reported(self, ending: Ending) -> None:
        """The end is left for the job's owner, who counts what becomes of the job."""
        attempt = ending.attempt
        self._leave(attempt.record)
        self.unwritten -= 1
        self._let_go(attempt)
        if type(ending.outcome) is Completed:
            attempt.held.tally.processed(attempt.seconds)
            for act in attempt.acts():
                act()
        else:
            self._count_failure(ending)
        attempt.settle()

    def _follow(self, ending: Ending) -> None:
        attempt, outcome = ending.attempt, ending.outcome
        row, tally = attempt.held.row, attempt.held.tally
        match outcome:
            case Completed():
                raise AssertionError("a completed job has nothing to follow")
            case Retry(_, reason, _):
                tally.retried(reason)
                self._arrived(followed(row, outcome))
            case Available():
                self._arrived(followed(row, outcome))
            case Dead(reason, error):
                tally.died(reason)
                self._tallies.died(row.job_type)
                self._count_terminal(ending)
                self._waiters.ended(row, JobState.DEAD, error, reason)
                self._finished(row)
            case Cancelled():
                tally.cancelled(self._clock.monotonic() - attempt.asked)
                self._count_terminal(ending)
                self._waiters.ended(row, JobState.CANCELLED, None, None)
                self._finished(row)
            case _:
                assert_never(outcome)

    def _count_terminal(self, ending: Ending) -> None:
        attempt = ending.attempt
        tally = attempt.held.tally
        age_us = ending.finished_at - attempt.held.row.created_at
        tally.duration(age_us / 1e6 if age_us > 0 else 0.0)
        tally.attempts(attempt.number)

    def _count_failure(self, ending: Ending) -> None:
        attempt, end = ending.attempt, ending.end
        tally = attempt.held.tally
        match end:
            case Raised() | TimedOut() | Undecodable() | Unencodable():
                if type(end) is TimedOut:
                    tally.timed_out()
                if type(end) is Raised:
                    self._errors.record(end.error)
                tally.attempt_failed(attempt.seconds, failure_of(end))
            case Interrupted() | GivenBack():
                tally.attempt_stopped(attempt.seconds)
            case Returned():
                raise AssertionError("a handler that returned has not failed")
            case _:
                assert_never(end)
