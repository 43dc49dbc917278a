"""The shards whose entities this engine holds: taken up, and not on their way out.

The runner's territory says where new work may be admitted. This says what the engine knows of: a shard that is being
taken up is held, though not served yet, because what is stored for it is delivered. A shard that is leaving is held no
more, though what runs may still end.

A read of the store may come back after a shard has left, or has left and come back, and then tells what was. Whoever
reads remembers the `moment` before, and asks `held_since` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from holdfast.model.address import Address
from holdfast.ports.territory import Territory


class Everything:
    """The territory of a runner that is alone: whatever its engines hold is served."""

    def serves(self, shard: int) -> bool:
        return True


EVERYTHING = Everything()


class Shards:
    """Belongs to the loop's thread."""

    def __init__(self, territory: Territory, shard_of: Callable[[Address], int]) -> None:
        self.of = shard_of
        self._territory = territory
        self._held: dict[int, int] = {}
        self.moment = 0
        """Grows with each taking."""

    @property
    def held(self) -> frozenset[int]:
        return frozenset(self._held)

    def __contains__(self, shard: int) -> bool:
        return shard in self._held

    def serves(self, shard: int) -> bool:
        """Whether a sender's new message for this shard may come in."""
        return shard in self._held and self._territory.serves(shard)

    def held_since(self, shard: int, moment: int) -> bool:
        """Whether it was held at that moment and has been ever since."""
        return self._held.get(shard, moment + 1) <= moment

    def take(self, shards: Collection[int]) -> frozenset[int]:
        """Returns those that were not held before."""
        fresh = frozenset(shards) - self._held.keys()
        self.moment += 1
        self._held.update(dict.fromkeys(fresh, self.moment))
        return fresh

    def give(self, shards: Collection[int]) -> frozenset[int]:
        """Returns those that were held."""
        given = frozenset(shards) & self._held.keys()
        for shard in given:
            del self._held[shard]
        return given
