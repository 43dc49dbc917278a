"""What a handler staged, as it is written: rows of shards that are not served here wait in the inbox of their owner."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.model.inbox import encode_entry
from holdfast.model.job import JobRow
from holdfast.model.message import InboxRow, MessageRow
from holdfast.model.unit import Row
from holdfast.ports.territory import Territory


def settled_rows(rows: Sequence[Row], territory: Territory, now_us: int) -> list[Row]:
    """The same rows, each where it belongs at this moment. Their ids stay, and with them what was promised of them."""
    return [_settled(row, territory, now_us) for row in rows]


def _settled(row: Row, territory: Territory, now_us: int) -> Row:
    if not isinstance(row, JobRow | MessageRow) or territory.serves(row.shard):
        return row
    kind, body = encode_entry(row)
    return InboxRow(row.id, row.shard, kind, body, now_us)
