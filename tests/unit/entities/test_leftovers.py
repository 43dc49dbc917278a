"""Which inboxes may still hold what entities sent."""

from __future__ import annotations

from holdfast.entities.leftovers import Leftovers


def test_a_reading_clears_what_was_left_before_it_and_nothing_else() -> None:
    leftovers = Leftovers()
    leftovers.left([1, 2, 3])
    moment = leftovers.moment
    leftovers.left([2])
    leftovers.taken([1, 2], moment)
    assert [shard for shard in (1, 2, 3) if shard in leftovers] == [2, 3]
    leftovers.taken([1, 2], leftovers.moment)
    assert [shard for shard in (1, 2, 3) if shard in leftovers] == [3]
