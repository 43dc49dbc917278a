"""New jobs on their way to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from holdfast.model.job import CRITICAL, FreshJob, JobRow
from holdfast.ports.commits import CommitItem

from .straight import Start


class Submission(CommitItem):
    """Rows of new jobs on their way to the store; with `start` the only one begins to run when it is there."""

    __slots__ = ("_began", "_jobs", "_start", "_stored", "done")

    def __init__(
        self,
        jobs: Sequence[JobRow],
        fresh: Sequence[FreshJob],
        done: asyncio.Future[None],
        began: float,
        stored: Callable[[Sequence[JobRow], float, Start | None], None],
        start: Start | None,
    ) -> None:
        self.rows = [*fresh, *jobs] if start is None else [*fresh, *jobs, start.row]
        self.size_bytes = len(jobs[0].payload) if len(jobs) == 1 else sum([len(row.payload) for row in jobs])
        self.done = done
        self._began = began
        self._jobs = jobs
        self._stored = stored
        self._start = start

    @property
    def line(self) -> int:
        return self._jobs[0].shard

    @property
    def urgent(self) -> bool:
        """A critical job that is to start."""
        return self._start is not None and self._jobs[0].priority == CRITICAL

    def committed(self) -> None:
        self._stored(self._jobs, self._began, self._start)
        if not self.done.done():
            self.done.set_result(None)

    def failed(self, error: BaseException) -> None:
        if self._start is not None:
            self._start.failed()
        if not self.done.done():
            self.done.set_exception(error)
