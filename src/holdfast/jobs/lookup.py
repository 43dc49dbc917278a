"""Finding a job by the id that people pass around."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.errors import JobNotFound
from holdfast.model.ids import JobId
from holdfast.model.inbox import InboxKind, decode_entry
from holdfast.model.job import ArchivedJob, JobRow
from holdfast.model.storable import NUMBER_MAX, shortened
from holdfast.ports.reads import InboxReader, JobReader


class LeftJob(NamedTuple):
    """A job that waits in the inbox until its owner takes it."""

    row: JobRow


def job_number(job: JobId) -> int:
    """Raises JobNotFound for what can't be a job's id."""
    text = str(job)
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= NUMBER_MAX):
        raise JobNotFound(f"no job has the id {shortened(text)}")
    return int(text)


def missing_job(number: int) -> JobNotFound:
    """What is raised where the store has nothing under this id."""
    return JobNotFound(f"no job has the id {number}, or its retention has passed")


async def archived_job(reader: JobReader, number: int) -> ArchivedJob:
    """A finished job. Raises JobNotFound."""
    archived = await reader.archived(number)
    if archived is None:
        raise missing_job(number)
    return archived


async def left_job(inbox: InboxReader, number: int) -> LeftJob | None:
    """A job in the inbox. None also for one that this version can't read."""
    entry = await inbox.entry(number)
    if entry is None or entry.kind != InboxKind.JOB:
        return None
    try:
        row = decode_entry(entry.kind, entry.body)
    except ValueError:
        return None
    return LeftJob(row) if isinstance(row, JobRow) else None
