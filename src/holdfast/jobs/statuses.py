"""A job as users are told of it, from the rows that store it."""

from __future__ import annotations

from holdfast.model.ids import job_id
from holdfast.model.job import PRIORITIES, ArchivedJob, JobRow, JobState

from .attempt import Held
from .door import JobStatus


def live_state(row: JobRow, *, running: bool, now_us: int) -> JobState:
    """As the table in `model.job` has it."""
    if running:
        return JobState.RUNNING
    if row.due_at <= now_us:
        return JobState.AVAILABLE
    return JobState.RETRYING if row.attempt else JobState.SCHEDULED


def live_status(row: JobRow, held: Held | None, now_us: int) -> JobStatus:
    """One that has not ended; `held` where it is held here."""
    attempt = held.attempt if held is not None else None
    running = attempt is not None or (held is not None and held.away is not None)
    progress, text = (None, None) if attempt is None else attempt.progress
    return JobStatus(
        id=job_id(row.id),
        job_type=row.job_type,
        priority=PRIORITIES[row.priority],
        state=live_state(row, running=running, now_us=now_us),
        attempts=row.attempt + running,
        created_at=row.created_at,
        due_at=row.due_at or None,
        finished_at=None,
        error=row.last_error,
        reason=None,
        progress=progress,
        progress_text=text,
        replay_of=None if row.replay_of is None else job_id(row.replay_of),
    )


def archived_status(row: ArchivedJob) -> JobStatus:
    """One that has ended."""
    return JobStatus(
        id=job_id(row.id),
        job_type=row.job_type,
        priority=PRIORITIES[row.priority],
        state=JobState(row.state),
        attempts=row.attempts,
        created_at=row.created_at,
        due_at=None,
        finished_at=row.finished_at,
        error=row.error,
        reason=row.reason,
        progress=None,
        progress_text=None,
        replay_of=None if row.replay_of is None else job_id(row.replay_of),
    )
