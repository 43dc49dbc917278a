"""Those who wait for a job's end, told by the commit that made it true."""

from __future__ import annotations

import asyncio

from holdfast.model.ids import job_id
from holdfast.model.job import ArchivedJob, JobRow, JobState

from .door import FinishedJob


class LookAgain(Exception):
    """Whose job it is may have changed: who waits has to ask anew."""


class Waiters:
    """Futures by job id."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[asyncio.Future[FinishedJob]]] = {}

    def expect(self, job: int) -> asyncio.Future[FinishedJob]:
        """A future for the job's end; give it back with `forget` when nobody waits any more."""
        future: asyncio.Future[FinishedJob] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(job, []).append(future)
        return future

    def forget(self, job: int, future: asyncio.Future[FinishedJob]) -> None:
        futures = self._waiting.get(job)
        if futures is not None and future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[job]

    def completed(self, row: JobRow, result: bytes | None) -> None:
        if row.id in self._waiting:
            self._tell(FinishedJob(job_id(row.id), row.job_type, JobState.COMPLETED, result, None, None), row.id)

    def ended(self, row: JobRow, state: JobState, error: str | None, reason: str | None) -> None:
        if row.id in self._waiting:
            self._tell(FinishedJob(job_id(row.id), row.job_type, state, None, error, reason), row.id)

    def fail(self, error: BaseException) -> None:
        """Nobody will be told any more."""
        waiting, self._waiting = self._waiting, {}
        for futures in waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # nobody has to look at it

    def look_again(self) -> None:
        """Shards were given away, or attempts elsewhere are over."""
        self.fail(LookAgain())

    def _tell(self, finished: FinishedJob, job: int) -> None:
        for future in self._waiting.pop(job):
            if not future.done():
                future.set_result(finished)


def finished(archived: ArchivedJob) -> FinishedJob:
    """The same from the archive."""
    return FinishedJob(
        job_id(archived.id),
        archived.job_type,
        JobState(archived.state),
        archived.result,
        archived.error,
        archived.reason,
    )
