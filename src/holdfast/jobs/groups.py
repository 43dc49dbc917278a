"""Groups: jobs of one type and group take turns, in the order of their ids.

A group has so many *places* (one, unless the type says otherwise). A job takes a place when it goes to the slots' queue
and keeps it until it has ended for good: a job that is to be tried again holds its place while it waits, so that those
behind it stay behind it. A job with a delay joins the line when its time has come. More urgent ones of a group go
first; of one priority the smaller id does, which for jobs of one submitter is the order in which they came.

One owner counts the places, so the limit is exact. A new owner begins with those that the store knows to be taken: by
attempts that run elsewhere, and by jobs that have been tried before.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection

from holdfast.model.job import JobRow

from .attempt import Held, Phase

GroupName = tuple[str, str]


class Line:
    """One group: the ids of those that have a place, and those behind them."""

    __slots__ = ("placed", "shard", "waiting")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.placed: set[int] = set()
        self.waiting: list[tuple[int, int, Held]] = []


class Groups:
    """The lines of all groups with live jobs."""

    def __init__(self, pass_on: Callable[[Held], None]) -> None:
        """`pass_on` takes a job whose turn has come."""
        self._pass_on = pass_on
        self._lines: dict[GroupName, Line] = {}

    def offer(self, held: Held) -> None:
        """A job waits for a slot; it goes on at once, or when its turn comes."""
        row = held.row
        if row.group is None:
            self._pass_on(held)
            return
        line = self._line(row.shard, row.job_type, row.group)
        if row.id in line.placed:
            self._pass_on(held)
            return
        heapq.heappush(line.waiting, (row.priority, row.id, held))
        self._advance(line)

    def place(self, job: int, shard: int, job_type: str, group: str) -> None:
        """The job has a place already, wherever it is."""
        self._line(shard, job_type, group).placed.add(job)

    def over(self, row: JobRow) -> None:
        """The job has ended for good."""
        if row.group is None:
            return
        name = (row.job_type, row.group)
        line = self._lines.get(name)
        if line is None:
            return
        line.placed.discard(row.id)
        self._advance(line)
        if not line.placed and not line.waiting:
            del self._lines[name]

    def forget(self, shards: Collection[int]) -> None:
        """These shards are somebody else's."""
        self._lines = {name: line for name, line in self._lines.items() if line.shard not in shards}

    def _line(self, shard: int, job_type: str, group: str) -> Line:
        line = self._lines.get((job_type, group))
        if line is None:
            line = self._lines[job_type, group] = Line(shard)
        return line

    def _advance(self, line: Line) -> None:
        while line.waiting:
            held = line.waiting[0][2]
            if held.phase is not Phase.WAITING or held.row.id in line.placed:
                heapq.heappop(line.waiting)
            elif len(line.placed) < held.declared.group_limit:
                heapq.heappop(line.waiting)
                line.placed.add(held.row.id)
                self._pass_on(held)
            else:
                return
