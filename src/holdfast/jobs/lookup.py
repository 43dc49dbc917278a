"""Finding a job by the id that people pass around."""

from __future__ import annotations

from holdfast.errors import JobNotFound
from holdfast.model.ids import JobId
from holdfast.model.job import ArchivedJob
from holdfast.model.storable import NUMBER_MAX, shortened
from holdfast.ports.reads import JobReader


def job_number(job: JobId) -> int:
    """Raises JobNotFound for what can't be a job's id."""
    text = str(job)
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= NUMBER_MAX):
        raise JobNotFound(f"no job has the id {shortened(text)}")
    return int(text)


async def archived_job(reader: JobReader, number: int) -> ArchivedJob:
    """A finished job. Raises JobNotFound."""
    archived = await reader.archived(number)
    if archived is None:
        raise JobNotFound(f"no job has the id {number}, or its retention has passed")
    return archived
