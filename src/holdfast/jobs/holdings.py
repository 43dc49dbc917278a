"""Which shards' jobs this engine has in hand.

A shard is *held* from the end of its adoption to the beginning of its release; only while it is held does this engine
write its jobs. It is *served* while the runner's territory says so too: only then is new work admitted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from holdfast.errors import EntityNotAssignedToRunner
from holdfast.ports.territory import Territory


class Holdings:
    """The shards in hand. A shard that was released and adopted again is in another term."""

    def __init__(self, territory: Territory) -> None:
        self._territory = territory
        self._terms: dict[int, int] = {}
        self._adoptions = 0

    def __contains__(self, shard: object) -> bool:
        return shard in self._terms

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._terms))

    def __len__(self) -> int:
        return len(self._terms)

    def add(self, shards: Collection[int]) -> None:
        self._adoptions += 1
        for shard in shards:
            self._terms[shard] = self._adoptions

    def remove(self, shards: Collection[int]) -> None:
        for shard in shards:
            self._terms.pop(shard, None)

    def serves(self, shard: int) -> bool:
        """Whether new work may be admitted for it here."""
        return shard in self._terms and self._territory.serves(shard)

    def term(self, shard: int) -> int:
        """Which adoption the shard is held since, 0 where it is not."""
        return self._terms.get(shard, 0)

    def check(self, shard: int) -> None:
        """Raises EntityNotAssignedToRunner for a shard that is not served here."""
        if not self.serves(shard):
            raise moved(shard)


def moved(shard: int) -> EntityNotAssignedToRunner:
    """What is said of a shard that is not served here; nothing was done."""
    return EntityNotAssignedToRunner(f"shard {shard} is not served by this runner: ask its owner", executed="no")
