"""Where what entities sent by the inbox may still wait to be taken, though what they send now could go directly.

What a handler sends to a shard of another owner, or under a key, goes by the inbox of that shard. When the shard comes
here, or the sender does, or the next message has no key, that next message could be stored at once; and it would be
handled first. So until the inbox has been read once more it goes by the inbox too, behind the others.
"""

from __future__ import annotations

from collections.abc import Iterable


class Leftovers:
    """By shard. Belongs to the loop's thread."""

    def __init__(self) -> None:
        self.moment = 0
        """Grows with each leaving."""
        self._since: dict[int, int] = {}

    def __contains__(self, shard: int) -> bool:
        return shard in self._since

    def left(self, shards: Iterable[int]) -> None:
        """What is in the inbox of these shards from before this call may be an entity's."""
        self.moment += 1
        self._since.update(dict.fromkeys(shards, self.moment))

    def taken(self, shards: Iterable[int], moment: int) -> None:
        """The inbox of these shards has been read after that moment, and what was there has been taken."""
        for shard in shards:
            if self._since.get(shard, moment + 1) <= moment:
                del self._since[shard]
