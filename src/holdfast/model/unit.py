"""A unit: all that one handler's turn, one admission or one job's end writes, committed together or not at all.

A unit is a list of rows; the row's type says what is done with it. The guards named in the rows' docstrings fail
the whole unit with `Conflict`. Inbox rows (for a shard whose owner is somebody else) are a type of their own,
so that they could go to another store.
"""

from __future__ import annotations

from .job import ArchivedJob, EndStart, FreshJob, JobDiscard, JobEnd, JobReplay, JobRetry, JobRow, StartRecord
from .message import (
    Consume,
    DeadMessageEnd,
    DeadMessageRow,
    DoneRow,
    InboxRow,
    MessageRetry,
    MessageRow,
    StateRow,
    Take,
    TimerCancel,
)

Row = (
    Consume
    | Take
    | DeadMessageEnd
    | TimerCancel
    | StateRow
    | MessageRow
    | DoneRow
    | MessageRetry
    | DeadMessageRow
    | InboxRow
    | FreshJob
    | JobRow
    | StartRecord
    | EndStart
    | JobRetry
    | JobEnd
    | ArchivedJob
    | JobReplay
    | JobDiscard
)

WRITE_ORDER: tuple[type[Row], ...] = (
    Consume,
    Take,
    DeadMessageEnd,
    TimerCancel,
    StateRow,
    MessageRow,
    DoneRow,
    MessageRetry,
    DeadMessageRow,
    InboxRow,
    JobReplay,
    FreshJob,
    JobRow,
    JobEnd,
    ArchivedJob,
    JobRetry,
    JobDiscard,
    StartRecord,
    EndStart,
)
"""The order in which a store applies the rows of a unit: what takes a row away, and so frees its name or key, is first.

Units of a batch count one after another. A store may group their rows by type where that can't make a difference.
"""


class Unit:
    """Rows that commit together; `size_bytes` is about what they weigh and bounds a batch."""

    __slots__ = ("rows", "size_bytes")

    rows: list[Row]
    size_bytes: int

    def __init__(self) -> None:
        self.rows = []
        self.size_bytes = 0

    def add(self, row: Row, size_bytes: int = 0) -> None:
        self.rows.append(row)
        self.size_bytes += size_bytes
