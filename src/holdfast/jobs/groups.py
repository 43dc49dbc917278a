"""Groups: jobs of one type and group take turns, in the order of their ids.

A group has so many *places* (one, unless the type says otherwise). A job takes a place when it goes to the slots' queue
and keeps it until it has ended for good: a job that is to be tried again holds its place while it waits, so that those
behind it stay behind it. A job with a delay joins the line when its time has come. More urgent ones of a group go
first; of one priority the smaller id does, which for jobs of one submitter is the order in which they came.

Those in line are held in memory beside the windows, up to a bound for each group; the rest waits in the store, and the
window is read again from there when the line has become short.

One owner counts the places, so the limit is exact. A new owner begins with those that the store knows to be taken: by
attempts that run elsewhere, and by jobs that have been tried before.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Collection

from holdfast.model.job import JobRow

from .attempt import Held, Phase
from .windows import Windows

GroupName = tuple[str, str]


class Line:
    """One group: the ids of those that have a place, and those behind them."""

    __slots__ = ("passed_over", "placed", "shard", "waiting")

    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.placed: set[int] = set()
        self.waiting: list[tuple[int, int, int, Held]] = []
        self.passed_over: dict[int, int] = {}
        """By priority the smallest id that had no room here."""


class Groups:
    """The lines of all groups with live jobs."""

    def __init__(self, pass_on: Callable[[Held], None], windows: Windows, *, line_max: int) -> None:
        """`pass_on` takes a job whose turn has come; of those in line at most `line_max` of a group are held."""
        self._pass_on = pass_on
        self._windows = windows
        self._line_max = line_max
        self._lines: dict[GroupName, Line] = {}
        self._entries = itertools.count()  # what was withdrawn may still be there when it comes back

    def offer(self, held: Held) -> bool:
        """A job that counts in its window waits for a slot; it goes on at once, or when its turn comes.

        False where there is no room for it: it is not to be held then, and counts no more.
        """
        row = held.row
        if row.group is None:
            self._pass_on(held)
            return True
        line = self._line(row.shard, row.job_type, row.group)
        if row.id in line.placed:
            self._pass_on(held)
            return True
        self._windows.left(row)
        if len(line.waiting) >= self._line_max:
            line.passed_over[row.priority] = min(row.id, line.passed_over.get(row.priority, row.id))
            return False
        held.phase = Phase.IN_LINE
        heapq.heappush(line.waiting, (row.priority, row.id, next(self._entries), held))
        self._advance(line)
        return True

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
        if not line.placed and not line.waiting and not line.passed_over:
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
            held = line.waiting[0][3]
            if held.phase is not Phase.IN_LINE:
                heapq.heappop(line.waiting)  # it ended meanwhile
            elif len(line.placed) < held.declared.group_limit:
                heapq.heappop(line.waiting)
                line.placed.add(held.row.id)
                held.phase = Phase.WAITING
                self._windows.returned(held.row)
                self._pass_on(held)
            else:
                break
        if line.passed_over and len(line.waiting) * 2 <= self._line_max:
            passed_over, line.passed_over = line.passed_over, {}
            for priority, job in passed_over.items():
                self._windows.read_again(line.shard, priority, job)
