"""Which word about a shard is the later one.

Rows arrive from several sides and out of order: answers of statements, a reading that began before one of them, a
message of another runner that was delayed. The epoch puts them in order: it grows with each change of owner, and within
one epoch a shard only ever loses its owner. So a late word about the past is recognised, whoever brings it; without
this, a runner could take up a shard again that it has given away, and the fence, which stops only the dead, would let
it write.
"""

from __future__ import annotations

from collections.abc import Iterable

from holdfast.model.cluster import ShardRow

NOBODY = 0


class ShardKnowledge:
    """The latest known row of every shard."""

    def __init__(self) -> None:
        self.rows: dict[int, ShardRow] = {}

    def learn(self, rows: Iterable[ShardRow]) -> list[ShardRow]:
        """Takes in and returns what is news."""
        news: list[ShardRow] = []
        for row in rows:
            known = self.rows.get(row.number)
            if known != row and (known is None or _is_news(row, known)):
                self.rows[row.number] = row
                news.append(row)
        return news

    def owner(self, shard: int) -> int:
        row = self.rows.get(shard)
        return NOBODY if row is None else row.runner_id


def _is_news(row: ShardRow, known: ShardRow) -> bool:
    if row.epoch != known.epoch:
        return row.epoch > known.epoch
    return row.runner_id == NOBODY != known.runner_id
