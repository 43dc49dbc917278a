"""The rows that say how a job goes on or ends. Pure."""

from __future__ import annotations

from typing import assert_never

from holdfast.model.job import CRASHED, JobEnd, JobRetry, JobRow, JobState

from .outcomes import Available, Cancelled, Completed, Dead, Outcome, Retry


def end_row(row: JobRow, outcome: Outcome, now_us: int, runner_id: int, *, attempted: int = 1) -> JobEnd | JobRetry:
    """What is written for the outcome of the job's next attempt; `attempted` is 0 for a job that ends without one."""
    attempts = row.attempt + attempted
    match outcome:
        case Completed(result):
            return JobEnd(row.id, row.attempt, JobState.COMPLETED, result, None, None, attempts, now_us, runner_id)
        case Retry(at_us, _, error):
            return JobRetry(attempts, row.crashes, at_us, at_us, error, row.id, row.attempt)
        case Available():
            before = _error_of_given_back(row)
            return JobRetry(row.attempt, row.crashes, row.due_at, row.eligible_at, before, row.id, row.attempt)
        case Dead(reason, error):
            return JobEnd(row.id, row.attempt, JobState.DEAD, None, error, reason, attempts, now_us, runner_id)
        case Cancelled():
            return JobEnd(
                row.id, row.attempt, JobState.CANCELLED, None, row.last_error, None, attempts, now_us, runner_id
            )
        case _:
            assert_never(outcome)


def followed(row: JobRow, outcome: Retry | Available) -> JobRow:
    """The job's stored row after such an outcome."""
    match outcome:
        case Retry(at_us, _, error):
            return row._replace(attempt=row.attempt + 1, due_at=at_us, eligible_at=at_us, last_error=error)
        case Available():
            return row._replace(last_error=_error_of_given_back(row))
        case _:
            assert_never(outcome)


def _error_of_given_back(row: JobRow) -> str | None:
    """It has been started since its last crash, so that was counted as taken back."""
    return None if row.last_error == CRASHED else row.last_error
