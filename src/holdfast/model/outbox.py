"""What a handler or a job leaves for entities and jobs of other owners: inbox rows in place of rows in their tables.

Only the owner of a shard writes its messages and jobs. So whoever commits what a handler staged asks this at the last
moment, when it is known which shards are still its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .inbox import encode_entry
from .job import JobRow
from .message import InboxRow, MessageRow
from .unit import Row


def left(row: MessageRow | JobRow) -> InboxRow:
    """The row as it waits in the inbox for its owner, under the same id."""
    kind, body = encode_entry(row)
    return InboxRow(row.id, row.shard, kind, body, row.created_at)


def readdressed(
    rows: Sequence[Row], ours: Callable[[MessageRow | JobRow], bool], inboxes: set[int]
) -> list[Row] | None:
    """The same rows, with those that are not `ours` left in the inbox of their shard; None where all are.

    The shards in whose inbox something is left are added to `inboxes` as it comes to them, row by row. No row is a
    timer of another's: that is left in the inbox from the beginning.
    """
    foreign: set[int] = set()
    for row in rows:
        if isinstance(row, InboxRow):
            inboxes.add(row.shard)
        elif isinstance(row, MessageRow | JobRow) and not ours(row):
            inboxes.add(row.shard)
            foreign.add(row.id)
    if not foreign:
        return None
    return [left(row) if isinstance(row, MessageRow | JobRow) and row.id in foreign else row for row in rows]
